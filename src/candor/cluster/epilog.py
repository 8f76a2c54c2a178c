"""What a job asked for, what it used, and what to ask for next time. Pure: measured elsewhere, judged here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from candor.config.base import Config
from candor.flow.attempt import AttemptRecord

#: Fields of ``/proc/stat``'s first line after its name: user nice system idle iowait irq softirq steal ...
_IDLE, _IOWAIT = 3, 4
#: Advice adds this much on top of what was used.
_MEMORY_MARGIN, _TIME_MARGIN = 1.3, 1.5
_GB = 1024**3


class Asked(Config):
    """What the job reserved; None where SLURM does not say."""

    memory_bytes: int | None = None
    limit_s: float | None = None
    cpus: int | None = None


class GpuUse(Config):
    """One GPU: mean of its utilisation samples (0 to 1), peak memory and its size in bytes."""

    index: int
    utilisation: float
    peak_memory_bytes: int
    memory_bytes: int


class Epilog(Config):
    """What one job came to. ``io_wait``: share of the node's processor time that waited for disks (0 to 1); of the whole
    node, other jobs included. ``cpu_share``: processor time used of that reserved (0 to 1)."""

    task: str
    job: str
    asked: Asked
    elapsed_s: float | None
    peak_memory_bytes: int | None
    cpu_share: float | None
    io_wait: float | None
    gpus: tuple[GpuUse, ...] = ()
    samples: int = 0


@dataclass(frozen=True)
class _Samples:
    io_wait: float | None
    gpus: tuple[GpuUse, ...]
    count: int


def measure(
    *,
    task: str,
    job: str,
    asked: Asked,
    attempts: Sequence[AttemptRecord],
    samples: str,
    scheduler_peak_bytes: int | None = None,
    elapsed_s: float | None = None,
    cpu_s: float | None = None,
) -> Epilog:
    """Put together what SLURM, the attempts' records and the samples of the job script say.

    Args:
        samples: lines of ``/proc/stat`` (``cpu ...``) and of ``nvidia-smi`` (index, %, MiB, MiB) in order.
        elapsed_s, cpu_s: of the job by SLURM's accounts; without them the attempts' own durations count.
    """
    told = _parse(samples)
    peaks = [p for p in (scheduler_peak_bytes, *(a.peak_memory_bytes for a in attempts)) if p]
    durations = [a.duration_s for a in attempts if a.duration_s is not None]
    elapsed = elapsed_s or (sum(durations) if durations else None)
    reserved = (elapsed or 0.0) * (asked.cpus or 0)
    return Epilog(
        task=task,
        job=job,
        asked=asked,
        elapsed_s=elapsed,
        peak_memory_bytes=max(peaks) if peaks else None,
        cpu_share=min(1.0, cpu_s / reserved) if cpu_s and reserved else None,
        io_wait=told.io_wait,
        gpus=told.gpus,
        samples=told.count,
    )


def _parse(text: str) -> _Samples:
    stats: list[list[int]] = []
    by_gpu: dict[int, list[tuple[float, int, int]]] = {}
    for line in text.splitlines():
        if line.startswith("cpu "):
            stats.append([int(v) for v in line.split()[1:] if v.isdigit()])
            continue
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and all(p.replace(".", "", 1).isdigit() for p in parts):
            by_gpu.setdefault(int(parts[0]), []).append((float(parts[1]), int(parts[2]), int(parts[3])))
    gpus = tuple(
        GpuUse(
            index=index,
            utilisation=sum(u for u, _, _ in rows) / len(rows) / 100,
            peak_memory_bytes=max(m for _, m, _ in rows) * 1024**2,
            memory_bytes=rows[0][2] * 1024**2,
        )
        for index, rows in sorted(by_gpu.items())
    )
    return _Samples(_io_wait(stats), gpus, len(stats))


def _io_wait(stats: Sequence[Sequence[int]]) -> float | None:
    """Share of the ticks between the first and the last sample; a requeued job may have moved to another node, whose
    counters start elsewhere: steps backwards are left out."""
    waited = total = 0
    for before, after in zip(stats, stats[1:], strict=False):
        ticks = [b - a for a, b in zip(before, after, strict=False)]
        if len(ticks) > _IOWAIT and min(ticks) >= 0:
            waited, total = waited + ticks[_IOWAIT], total + sum(ticks)
    return waited / total if total else None


def advice(found: Epilog, *, stage: str) -> list[str]:
    """What to change in the next request, each with its setting; empty if it fitted."""
    lines = []
    peak, asked = found.peak_memory_bytes, found.asked
    if peak and asked.memory_bytes:
        fitting = max(1.0, _MEMORY_MARGIN * peak / _GB)
        if peak > 0.9 * asked.memory_bytes:
            lines.append(f"memory was nearly used up: --site-set stages.{stage}.memory_gb={fitting:.0f}")
        elif fitting < 0.5 * asked.memory_bytes / _GB:
            lines.append(
                f"less memory would do, and start sooner: --site-set stages.{stage}.memory_gb={fitting:.0f}"
            )
    if found.elapsed_s and asked.limit_s:
        minutes = max(1, round(_TIME_MARGIN * found.elapsed_s / 60))
        if found.elapsed_s > 0.9 * asked.limit_s:
            lines.append(f"time was nearly used up: --site-set stages.{stage}.time_limit_min={minutes}")
        elif minutes * 60 < 0.25 * asked.limit_s:
            lines.append(
                f"less time would do, and start sooner: --site-set stages.{stage}.time_limit_min={minutes}"
            )
    if found.cpu_share is not None and (asked.cpus or 1) > 1 and found.cpu_share * (asked.cpus or 1) < 1.2:
        lines.append(f"it kept about one processor busy: --site-set stages.{stage}.cpus=1")
    idle = [gpu for gpu in found.gpus if gpu.utilisation < 0.05]
    if idle and len(idle) == len(found.gpus):
        lines.append(
            f"the GPU was idle: --site-set stages.{stage}.gpus=0, or look whether training.device is cpu"
        )
    elif found.gpus and max(g.utilisation for g in found.gpus) < 0.4:
        lines.append(
            "the GPU was mostly waiting: larger batches, or more workers to load them, would use it better"
        )
    if found.io_wait is not None and found.io_wait > 0.2:
        lines.append("much time went into waiting for disks: put the cache root on the scratch disk")
    return lines


def lines(found: Epilog, *, stage: str) -> list[str]:
    """The report for people."""
    asked = found.asked
    told = [f"{found.task}, job {found.job or '?'}:"]
    told.append(f"  time    {_span(found.elapsed_s)} of {_span(asked.limit_s)} asked for")
    told.append(
        f"  memory  {_size(found.peak_memory_bytes)} at its peak, {_size(asked.memory_bytes)} asked for"
    )
    if found.cpu_share is not None:
        told.append(f"  cpu     {100 * found.cpu_share:.0f} % of {asked.cpus} reserved")
    if found.io_wait is not None:
        told.append(f"  disks   {100 * found.io_wait:.1f} % of the node's processor time waited for them")
    told += [
        f"  gpu {gpu.index}   {100 * gpu.utilisation:.0f} % busy, {_size(gpu.peak_memory_bytes)} of {_size(gpu.memory_bytes)}"
        for gpu in found.gpus
    ]
    return [*told, *(f"  next    {line}" for line in advice(found, stage=stage))]


def _span(duration_s: float | None) -> str:
    if duration_s is None:
        return "unknown"
    return f"{duration_s:.0f} s" if duration_s < 120 else f"{duration_s / 60:.0f} min"


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / 1024**2:.0f} MB"
