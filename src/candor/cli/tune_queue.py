"""``candor tune --on slurm|pbs``: a study's workers as an array of jobs, queued once, waited for or not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from candor.cli import output
from candor.cli.session import Session
from candor.errors import StageFailed

if TYPE_CHECKING:
    from candor.cli.executors import Where
    from candor.executors.worker_array import WorkerArray
    from candor.learn.tuning.study import Study, StudyInfo, TrialRecord


def array_of(state: Session, info: StudyInfo, where: Where, *, cpus: float, gpus: float) -> WorkerArray:
    """The array of a study at the site that ``where`` names. Raises ConfigError if that cannot be submitted to."""
    from candor.cli.queue import program, roots
    from candor.executors.scheduler import scheduler_named
    from candor.executors.scripts import ScriptContext
    from candor.executors.site import check_submittable, load_site
    from candor.executors.worker_array import HEAD, WorkerArray

    site = load_site(where.site, data_root=state.settings.data_root, sets=where.site_sets)
    check_submittable(where.site, site, where.on)
    words, own = program()
    folder = state.settings.run_root / "studies" / info.study
    logs = folder / where.on
    context = ScriptContext(folder, folder / "study.json", logs, roots(state), words, site.venv or own)
    # Schedulers hand out whole processors and GPUs. One processor is what nobody asked for: the site's default knows better.
    stated = {
        "cpus": None if cpus == 1 and site.defaults.cpus else math.ceil(cpus),
        "gpus": math.ceil(gpus) or None,
    }
    request = site.named(info.space.stage, HEAD, own=stated)
    return WorkerArray(context, site, request, scheduler_named(where.on))


#: A node may be out of order, or a file system away, for some seconds.
_PAUSE_S, _BARREN_ARRAYS = 10.0, 3


#: How often who waits looks for workers that give no sign of life.
_LOOK_S = 15.0


def search(
    array: WorkerArray, study: Study, where: Where, *, at_most: int, told: Callable[[TrialRecord], None]
) -> bool:
    """Queue the workers or join them, and wait until the study has its trials; False if nobody waits for that.

    Workers that were killed leave trials undone: the array is queued again, as long as one brings any further.

    Raises:
        StageFailed: several arrays on end brought no trial.
        KeyboardInterrupt: waiting was interrupted, or someone cancelled the array.
    """
    seen = {t.number for t in study.trials() if t.state != "running"}
    barren = 0
    while (missing := study.info().trials - len(seen)) > 0:
        job, fresh = array.submit(min(at_most, missing))
        output.note(f"{'Queued' if fresh else 'Joined'} job {job}, which works on {study.info().study}.")
        if not where.wait:
            output.note(
                f"`candor study {study.info().study}` shows how far it is, `candor cancel {study.info().study}` ends it."
            )
            return False
        before, cancelled = len(seen), array.cancelled()
        try:
            _wait(array, study, seen, told)
        except KeyboardInterrupt:
            if array.site.on_stop == "cancel":
                array.cancel()
            else:
                output.note(
                    f"Stopped waiting; job {job} goes on. `candor cancel {study.info().study}` ends it."
                )
            raise
        if array.cancelled() - cancelled and study.info().trials > len(seen):
            output.note(f"The workers of {study.info().study} were cancelled.")
            raise KeyboardInterrupt
        if len(seen) > before or not fresh:
            barren = 0
            continue
        barren += 1
        if barren < _BARREN_ARRAYS:
            time.sleep(_PAUSE_S)
        else:
            said = array.last_words(job) or "Its workers printed nothing."
            raise StageFailed(
                f"{barren} arrays on end, the last of them job {job}, ended without a trial",
                place=str(array.context.logs),
                hint=f"Read what their workers printed there. At the end:\n{said}",
            )
    return True


def _wait(array: WorkerArray, study: Study, seen: set[int], told: Callable[[TrialRecord], None]) -> None:
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked >= _LOOK_S:
            looked = time.monotonic()
            for silence in array.give_up_silent():
                output.note(f"{silence.told()}. It is given up; its trial is done anew.")
        over = not array.live()
        for trial in study.trials():
            if trial.state != "running" and trial.number not in seen:
                seen.add(trial.number)
                told(trial)
        # Enough trials are enough, whatever the scheduler says of a worker whose node it cannot reach.
        if over or len(seen) >= study.info().trials:
            return
        time.sleep(array.site.poll_s)
