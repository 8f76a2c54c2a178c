from __future__ import annotations

from candor.cluster.epilog import Asked, advice, lines, measure

GB = 1024**3
IDLE = "cpu 100 0 100 1000 0 0 0 0\n0, 0, 10, 40960\ncpu 200 0 200 1800 0 0 0 0\n0, 2, 2048, 40960\n"
BUSY_DISK = "cpu 0 0 0 0 0\ncpu 50 0 0 0 50\n"


def measured(samples: str = "", **more: object):
    facts = {"asked": Asked(memory_bytes=16 * GB, limit_s=36000, cpus=4), "elapsed_s": 600.0, "cpu_s": 590.0}
    return measure(task="t", job="7", attempts=[], samples=samples, **{**facts, **more})  # type: ignore[arg-type]


def test_gpus_and_disks_are_read_from_the_samples() -> None:
    found = measured(IDLE)
    assert found.gpus[0].utilisation == 0.01
    assert found.gpus[0].peak_memory_bytes == 2 * GB
    assert found.io_wait == 0
    assert measured(BUSY_DISK).io_wait == 0.5


def test_a_job_that_moved_to_another_node_does_not_count_backwards() -> None:
    moved = "cpu 900 0 0 9000 900\ncpu 10 0 0 100 0\ncpu 20 0 0 180 10\n"
    assert measured(moved).io_wait == 0.1


def test_a_request_that_was_far_too_large_is_told_smaller() -> None:
    told = " ".join(advice(measured(IDLE, scheduler_peak_bytes=GB), stage="gat"))
    assert "stages.gat.memory_gb=1" in told
    assert "stages.gat.time_limit_min=15" in told
    assert "stages.gat.cpus=1" in told
    assert "stages.gat.gpus=0" in told


def test_a_request_that_barely_fitted_is_told_larger() -> None:
    told = advice(
        measured(scheduler_peak_bytes=int(15.9 * GB), elapsed_s=35000.0, cpu_s=130000.0), stage="gat"
    )
    assert told == [
        "memory was nearly used up: --site-set stages.gat.memory_gb=21",
        "time was nearly used up: --site-set stages.gat.time_limit_min=875",
    ]


def test_a_request_that_fitted_gets_no_advice() -> None:
    assert advice(measured(scheduler_peak_bytes=10 * GB, elapsed_s=20000.0, cpu_s=70000.0), stage="gat") == []


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    found = measure(task="t", job="", asked=Asked(), attempts=[], samples="")
    assert "unknown" in "\n".join(lines(found, stage="gat"))
    assert advice(found, stage="gat") == []
