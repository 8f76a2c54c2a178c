"""Do the roots take what candor does in them, and is there space?"""

from __future__ import annotations

from candor.cluster.doctor.findings import Finding, failed, ok, skipped
from candor.cluster.doctor.patient import Chart, Patient

_GB = 1024**3
#: A root with fewer free files than this fills up with checkpoints and records within days.
_MIN_FREE_FILES = 10_000
_HINTS_OF_ROOTS = {
    "be looked at": "No Python ran there; see environment.",
    "make a folder": "Point CANDOR_{name} to a folder that you may write to.",
    "write": "Point CANDOR_{name} to a disk that is writable and has space.",
    "lock": "Locks do not work there (an NFS mounted with `nolock`?): put the cache elsewhere, CANDOR_{name}.",
    "link": "Symbolic links do not work there; studies need them: CANDOR_{name}.",
    "reserve": "The disk or your quota is full: free some space, or point CANDOR_{name} elsewhere.",
}


def check_roots(patient: Patient, chart: Chart) -> Finding:
    """In each root, what candor does there."""
    if not chart.roots:
        return skipped("nobody said where they are")
    trouble, todo = [], ""
    for name, root in chart.roots.items():
        told, ran = patient.probe("root", root)
        steps = told["failed"] if told else {"be looked at": ran.said}
        trouble += [f"{root}: cannot {step}: {why}" for step, why in steps.items() if step != "reserve"]
        first = next((step for step in steps if step != "reserve"), None)
        todo = todo or (_HINTS_OF_ROOTS[first].format(name=name.upper()) if first else "")
    if trouble:
        return failed("; ".join(trouble), todo)
    return ok(
        "written, forced, renamed, locked and linked in " + ", ".join(dict.fromkeys(chart.roots.values()))
    )


def check_space(patient: Patient, chart: Chart) -> Finding:
    """Free space and files of each root, space that is really taken, and quotas."""
    if not chart.roots:
        return skipped("nobody said where the roots are")
    trouble, seen = [], []
    for root in dict.fromkeys(chart.roots.values()):
        told, ran = patient.probe("root", root)
        if "free_bytes" not in told:
            trouble.append(f"{root}: {'; '.join(told.get('failed', {}).values()) or ran.said}")
            continue
        free, files = told["free_bytes"] / _GB, told["free_files"]
        seen.append(f"{root}: {free:.0f} GB free")
        if "reserve" in told["failed"]:
            trouble.append(f"{root}: 64 MB cannot be taken: {told['failed']['reserve']}")
        if free < patient.min_free_gb:
            trouble.append(f"{root}: {free:.1f} GB are free, {patient.min_free_gb:g} are wanted")
        if files is not None and files < _MIN_FREE_FILES:
            trouble.append(f"{root}: only {files} more files fit")
    quota = patient.shell("command -v quota >/dev/null && quota -w 2>&1")
    # A star marks what is over its limit; the last lines are one per file system.
    trouble += [
        f"over quota: {' '.join(line.split())}" for line in quota.out.splitlines() if _over_quota(line)
    ]
    if trouble:
        return failed(
            "; ".join(trouble),
            "Free some space, ask for a larger quota, or point CANDOR_CACHE_ROOT elsewhere.",
        )
    return ok("; ".join(seen))


def _over_quota(line: str) -> bool:
    return any(word.endswith("*") and word[:-1].rstrip("kKMGT").isdigit() for word in line.split()[1:])
