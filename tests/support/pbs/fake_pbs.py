"""A PBS that is none: qsub, qselect, qstat, qdel, qalter and pbsnodes over a folder, and a server that runs the scripts.

No real PBS could be had for these tests. This one speaks what qsub(1B), qstat(1B), qdel(1B) and qalter(1B) of OpenPBS
say, as far as Candor uses it, and runs job scripts as processes of this machine, in sessions of their own, with
dependencies, arrays, walltime, and SIGTERM before SIGKILL. What it cannot show is whether a real PBS does as its manual says.

``FAKE_PBS`` names the folder. ``fake_pbs.py serve`` is the server; links called ``qsub`` and so on are the commands.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HOME = Path(os.environ.get("FAKE_PBS", "/nonexistent"))
SERVER = "fakepbs"
SLOTS = 4
#: From SIGTERM to SIGKILL (a server's kill_delay): only for what hangs, since what is stopped writes its record meanwhile.
KILL_DELAY_S = 60.0
Job = dict[str, Any]


@contextmanager
def state() -> Iterator[dict[str, Any]]:
    """All jobs, for one who reads and writes at a time."""
    with (HOME / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = HOME / "state.json"
        told = json.loads(path.read_text()) if path.exists() else {"next": 1, "jobs": {}}
        yield told
        path.with_suffix(".new").write_text(json.dumps(told))
        path.with_suffix(".new").replace(path)


def stamp() -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y")


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def fail(text: str, code: int = 1) -> None:
    sys.stderr.write(text + "\n")
    sys.exit(code)


# ---- commands


def options(words: list[str], with_value: str) -> tuple[list[tuple[str, str]], list[str]]:
    """getopt, as PBS has it."""
    found, rest, i = [], [], 0
    while i < len(words):
        word = words[i]
        if re.fullmatch(r"-[A-Za-z].*", word):
            letter, value = word[1], word[2:]
            if letter in with_value and not value:
                i += 1
                value = words[i]
            found.append((letter, value))
        else:
            rest.append(word)
        i += 1
    return found, rest


_QSUB = "AJlNSjmoqrvW"


def qsub(words: list[str]) -> None:
    told, rest = options(words, _QSUB)
    text = Path(rest[0]).read_text() if rest else sys.stdin.read()
    for line in text.splitlines()[1:]:
        if line.startswith("#PBS "):
            parts = line[5:].split(None, 1) if line[5] == "-" else [line[5:]]
            directive, strange = options(parts, _QSUB)
            if strange or not directive or directive[0][0] not in _QSUB + "h":
                fail(f"qsub: directive error: {line[5:]} ")
            told = directive + told
        elif line.strip() and not line.startswith("#"):
            break
    asked: dict[str, Any] = {}
    job: Job = {"job_state": "Q", "Resource_List": asked, "ctime": stamp(), "qtime": stamp(), "run_count": 0}
    variables, indices = {}, None
    for letter, value in told:
        if letter == "N":
            job["Job_Name"] = value
        elif letter == "q" and value != "workq":
            fail("qsub: Unknown queue")
        elif letter == "l":
            for part in value.split(","):
                name, _, amount = part.partition("=")
                asked[name] = amount
                if name == "select":
                    for chunk in amount.split(":")[1:]:
                        key, _, size = chunk.partition("=")
                        asked[key] = int(size) if size.isdigit() else size
        elif letter == "v":
            for name in value.split(","):
                if name not in os.environ:
                    fail("qsub: cannot send environment with the job")
                variables[name] = os.environ[name]
        elif letter == "W" and value.startswith("depend="):
            job["depend"] = value.partition("=")[2]
        elif letter == "J":
            first, last = (int(x) for x in value.split("-"))
            if last <= first:
                fail("qsub: illegal -J value")
            indices = range(first, last + 1)
        elif letter == "h":
            job["Hold_Types"] = "u"
    if "select" not in asked:
        fail("qsub: Job violates queue and/or server resource limits")
    names = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL")
    variables |= {f"PBS_O_{n}": os.environ[n] for n in names if n in os.environ}
    variables["PBS_O_WORKDIR"] = os.getcwd()
    job |= {"Variable_List": variables, "_script": text, "Job_Owner": f"{getpass.getuser()}@{SERVER}"}
    with state() as told_state:
        jobs, number = told_state["jobs"], told_state["next"]
        for other in _others(job):
            if other not in {key.split("[")[0] for key in jobs}:
                fail(f"qsub: Unknown Job Id {other}")
        told_state["next"] += 1
        if indices is None:
            jobs[f"{number}"] = job
        for index in indices or ():
            jobs[f"{number}[{index}]"] = {**job, "array_index": index, "_array": str(number)}
    print(f"{number}[].{SERVER}" if indices is not None else f"{number}.{SERVER}")


def _others(job: Job) -> list[str]:
    return [
        j.split(".")[0].split("[")[0] for j in str(job.get("depend", "")).partition(":")[2].split(":") if j
    ]


def _named(number: str, jobs: dict[str, Job]) -> list[str]:
    """The job, or all elements of an array ``123[]``."""
    return [k for k in jobs if k == number or number == f"{k.partition('[')[0]}[]"]


def qselect(words: list[str]) -> None:
    with state() as told:
        live = {key.partition("[")[0]: "[" in key for key, j in told["jobs"].items() if j["job_state"] != "F"}
    for number, array in live.items():
        print(f"{number}[].{SERVER}" if array else f"{number}.{SERVER}")


def qstat(words: list[str]) -> None:
    told, ids = options(words, "F")
    flags = dict(told)
    if "Q" in flags:
        return None if ids == ["workq"] else fail(f"qstat: Unknown queue {ids[0]}", 170)
    found: dict[str, Job] = {}
    code = 0
    with state() as all_jobs:
        jobs = all_jobs["jobs"]
        for name in ids:
            number = name.split(".")[0]
            mine = _named(number, jobs)
            if number.endswith("[]"):
                found[f"{number}.{SERVER}"] = {"job_state": "B", "array": "True"}
            over = [k for k in mine if jobs[k]["job_state"] == "F" and "x" not in flags]
            if not mine or (over and len(over) == len(mine) and not number.endswith("[]")):
                why = f"{name} Job has finished, use -x or -H" if mine else f"Unknown Job Id {name}"
                sys.stderr.write(f"qstat: {why}\n")
                code = 35 if mine else 153
                continue
            for key in mine:
                shown = {k: v for k, v in jobs[key].items() if not k.startswith("_")}
                found[f"{key}.{SERVER}"] = {**shown, "job_state": "X"} if over and key in over else shown
    if flags.get("F") == "json":
        print(json.dumps({"pbs_version": "fake", "pbs_server": SERVER, "Jobs": found}, indent=4))
    else:
        for key, job in found.items():
            print(f"Job Id: {key}")
            print(
                "".join(
                    f"    {name} = {value}\n" for name, value in job.items() if isinstance(value, (str, int))
                )
            )
    sys.exit(code)


def qdel(words: list[str]) -> None:
    code = 0
    with state() as told:
        for name in options(words, "W")[1]:
            number = name.split(".")[0]
            mine = _named(number, told["jobs"])
            live = [k for k in mine if told["jobs"][k]["job_state"] != "F"]
            if not live:
                sys.stderr.write(f"qdel: {'Job has finished' if mine else 'Unknown Job Id'} {name}\n")
                code = 35
            for key in live:
                told["jobs"][key]["_delete"] = time.time()
    sys.exit(code)


def qalter(words: list[str]) -> None:
    """Adds to what a job waits for, as seen at one site: the worse of two ways to read the manual."""
    told, ids = options(words, "W")
    with state() as all_jobs:
        for name in ids:
            number = name.split(".")[0].replace("[]", "")
            for key, job in all_jobs["jobs"].items():
                if key.partition("[")[0] == number:
                    new = dict(told)["W"].partition("=")[2]
                    job["depend"] = ":".join(
                        dict.fromkeys(f"{job.get('depend', 'afterok')}:{new.partition(':')[2]}".split(":"))
                    )


def pbsnodes(words: list[str]) -> None:
    print(f"{SERVER}\n     Mom = {SERVER}\n     state = {os.environ.get('FAKE_PBS_NODE', 'free')}\n")


# ---- the server


def serve() -> None:
    """Start, watch and end jobs, until told to stop by SIGTERM."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            with state() as told:
                for key, job in told["jobs"].items():
                    _step(key, job, told["jobs"], running)
            time.sleep(0.05)
    finally:
        for process in running.values():
            os.killpg(process.pid, signal.SIGKILL)


def _step(key: str, job: Job, jobs: dict[str, Job], running: dict[str, subprocess.Popen[bytes]]) -> None:
    if job["job_state"] == "F":
        return
    if key in running:
        _watch(key, job, running)
        return
    if "_delete" in job:
        job |= {"job_state": "F", "comment": "Job deleted", "mtime": stamp()}
        return
    parents = [j for k, j in jobs.items() if k.partition("[")[0] in _others(job)]
    if any(p["job_state"] == "F" and p.get("Exit_status") != 0 for p in parents):
        job |= {"job_state": "F", "comment": "Job deleted as result of dependency", "mtime": stamp()}
        return
    waits = any(p["job_state"] != "F" for p in parents)
    job["job_state"] = "H" if waits or "Hold_Types" in job else "Q"
    if job["job_state"] == "Q" and len(running) < SLOTS:
        _start(key, job, running)


def _start(key: str, job: Job, running: dict[str, subprocess.Popen[bytes]]) -> None:
    script = HOME / f"{key}.SC"
    script.write_text(job["_script"])
    variables = job["Variable_List"]
    environment = {
        "HOME": os.environ["HOME"],
        "PATH": "/usr/bin:/bin",
        "USER": getpass.getuser(),
        **variables,
        "PBS_JOBID": f"{key}.{SERVER}",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "NCPUS": str(job["Resource_List"].get("ncpus", 1)),
        "FAKE_PBS": str(HOME),
    }
    if "array_index" in job:
        environment["PBS_ARRAY_INDEX"] = str(job["array_index"])
    with (HOME / f"{key}.OU").open("ab") as spool:
        running[key] = subprocess.Popen(
            ["/bin/bash", str(script)],
            env=environment,
            cwd=environment["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=spool,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    job |= {
        "job_state": "R",
        "stime": stamp(),
        "_began": time.time(),
        "exec_host": f"{os.uname().nodename}/0",
    }
    job["run_count"] += 1


def _watch(key: str, job: Job, running: dict[str, subprocess.Popen[bytes]]) -> None:
    process, used_s = running[key], time.time() - job["_began"]
    limit = job["Resource_List"].get("walltime")
    limit_s = sum(60**i * int(x) for i, x in enumerate(reversed(limit.split(":")))) if limit else None
    if limit_s and used_s > limit_s and "_delete" not in job:
        job["_delete"], job["_over"] = time.time(), True
    code = process.poll()
    if code is None:
        if "_delete" in job and "_term" not in job:
            job["_term"] = time.time()
            _signal(process, signal.SIGTERM)
        elif "_term" in job and time.time() - job["_term"] > KILL_DELAY_S:
            _signal(process, signal.SIGKILL)
        return
    _signal(process, signal.SIGKILL)  # What the script left in its session.
    del running[key]
    job |= {
        "job_state": "F",
        "Exit_status": -29 if "_over" in job else 256 - code if code < 0 else code,
        "resources_used": {"walltime": clock(used_s), "cput": "00:00:01", "mem": "2048kb", "ncpus": 1},
        "obittime": stamp(),
        "mtime": stamp(),
        "comment": "Job run and finished",
    }


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    if name == "fake_pbs.py":
        serve()
    else:
        globals()[name](sys.argv[1:])
