"""The workers of a study as one array: each element is ``candor tune-worker STUDY --worker INDEX``.

Workers share nothing but the study's folder; see ``learn/tuning/search.py`` on why that is safe on NFS. The queue itself
is the ledger: a job's name says which study it works for, so an array that waits or runs is joined and not doubled.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from candor.errors import ConfigError
from candor.executors.job_output import end_of
from candor.executors.scheduler import Queued, Scheduler
from candor.executors.scripts import (
    SAMPLER,
    ScriptContext,
    Words,
    again,
    environment,
    job_name,
    quoted,
    supervised,
)
from candor.executors.silence import Silence, find_silent
from candor.executors.site import Request, SiteConfig, refuse_secrets
from candor.flow.attempt import JOB_VARIABLE
from candor.flow.locks import key_lock
from candor.flow.storage import write_atomic

#: Names the job, its script, and the site's ``stages`` entry with its request.
HEAD = "tune"
_CONTINUED = "continued"


def render(context: ScriptContext, site: SiteConfig, request: Request, *, workers: int, words: Words) -> str:
    """The script of an array of ``workers``; ``context.run`` is the study's folder. Pure.

    Ahead of the time limit a worker lets its trial write a checkpoint, gives it back, and goes to the queue again.
    """
    return "\n".join(
        [
            "#!/bin/bash",
            f"# Workers of study {context.run.name}. Written by `candor tune --on {words.scheduler}`.",
            *words.directives(context, site, request, HEAD, array=dict.fromkeys(range(workers), HEAD)),
            "",
            *environment(context, site, words, HEAD),
            f"study={quoted(context.run.name)}",
            f"logs={quoted(context.logs)}",
            *SAMPLER,
            *supervised(
                f'"${{candor[@]}}" tune-worker "$study" --worker "{words.element}"',
                warning=words.warning(site, request),
            ),
            'kill "$sampler" 2>/dev/null',
            *again(site, words, _successor(site, words)),
            "exit $rc",
            "",
        ]
    )


def _successor(site: SiteConfig, words: Words) -> str:
    """The command with which a worker queues the next one, so often and no more.

    Counted in a file, since a job that is no requeued one knows nothing of those before it.
    """
    counted = f'"$logs/{HEAD}-{words.element}.{_CONTINUED}"'
    return (
        f'{{ echo "${JOB_VARIABLE}" >>{counted}; if [ "$(wc -l <{counted})" -le {site.max_requeues} ]; '
        f"then {words.successor(HEAD)}; "
        f"else echo 'candor: stopped after {site.max_requeues} continuations' >&2; fi; }}"
    )


@dataclass(frozen=True)
class WorkerArray:
    """The array of one study on one site."""

    context: ScriptContext
    site: SiteConfig
    request: Request
    scheduler: Scheduler

    @property
    def script(self) -> Path:
        """Where it lies."""
        return self.context.logs / f"{HEAD}.sh"

    def text(self, workers: int) -> str:
        """The script. Raises ConfigError if it would hold a secret, or the study's name cannot name a job."""
        name = self.context.run.name
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
            raise ConfigError(
                f"'{name}' cannot name a job",
                place="--name",
                hint="Use letters, digits, dots, dashes and underscores.",
            )
        script = render(self.context, self.site, self.request, workers=workers, words=self.scheduler.words)
        refuse_secrets(script, os.environ)
        return script

    def submit(self, workers: int) -> tuple[str, bool]:
        """Queue ``workers``, or join those that are there: the array's job, and whether it is new."""
        script = self.text(workers)
        self.context.logs.mkdir(parents=True, exist_ok=True)
        with key_lock(self.context.logs / "submit.lock"):
            live = self.live()
            if live:
                return live[-1].job.partition("_")[0], False
            study = self.context.run
            # The queue, which is never late, has none of the study's workers: whatever they left undone is free. Accounts
            # say so some seconds later, on some sites never, and to nodes often not at all.
            known = _lines(study / _SUBMITTED) | self._begun()
            _add_lines(study / _GIVEN_UP, sorted(known - given_up(study)))
            for path in self.context.logs.glob(f"{HEAD}-*.{_CONTINUED}"):
                path.unlink(missing_ok=True)
            write_atomic(self.script, script)
            job = self.scheduler.submit(self.script)
            _add_lines(study / _SUBMITTED, [job])
            _take_line(study / _GIVEN_UP, job)  # Another cluster may have had a job of that number.
            return job, True

    def _begun(self) -> set[str]:
        """Arrays of which a worker began: those that workers queued to succeed them were submitted by nobody here."""
        samples = self.context.logs.glob("job-*.samples")
        return {path.stem.removeprefix("job-").partition("_")[0] for path in samples}

    def live(self) -> Sequence[Queued]:
        """Workers that wait or run, but for those that were given up."""
        gone = given_up(self.context.run)
        return [
            entry
            for entry in live_workers(self.context.run, self.scheduler)
            if not is_given_up(entry.job, gone)
        ]

    def give_up_silent(self) -> list[Silence]:
        """Give up workers that give no sign of life on a node that the scheduler does not call well; those given up now.

        Who takes the study up again does their trials anew. A twin is harmless, should one live after all: whoever holds
        the lock of a training's key is the only one who trains it.
        """
        after_s = 60.0 * self.site.silent_min
        if after_s <= 0:
            return []
        found = find_silent(self.live(), self.context.logs, self.scheduler, after_s=after_s, now=time.time())
        silent = [silence for silence in found.values() if silence.word]
        if silent:
            _add_lines(self.context.run / _GIVEN_UP, [s.job for s in silent])
            self.scheduler.cancel([s.job for s in silent])
        return silent

    def last_words(self, job: str) -> str:
        """The last line that each worker of the array ``job`` printed; empty if none printed any."""
        lines = []
        for path in sorted(self.context.logs.glob(f"{HEAD}-{job}_*.out")):
            text = end_of(path).strip()
            lines += [f"{path.name}: {text.splitlines()[-1]}"] if text else []
        return "\n".join(lines)

    def cancel(self) -> None:
        """End every worker; what it trains writes its checkpoint."""
        cancel_workers(self.context.run, self.scheduler)

    def cancelled(self) -> set[str]:
        """Arrays of this study that someone cancelled."""
        return _lines(self.context.run / _CANCELLED)


#: Below the study's folder: arrays that were submitted; those that were cancelled, so that who waits for one does not
#: queue the next; and workers, or whole arrays of them, whose trials are free, whatever the scheduler says of them.
_SUBMITTED, _CANCELLED, _GIVEN_UP = "workers-submitted.txt", "workers-cancelled.txt", "workers-given-up.txt"


def given_up(study: Path) -> set[str]:
    """Jobs of workers of the study in the folder ``study`` that were given up, and arrays of which none is left."""
    return _lines(study / _GIVEN_UP)


def is_given_up(job: str, gone: Collection[str]) -> bool:
    """Whether a worker's job, or the array that it belongs to, is among those given up."""
    return job in gone or job.partition("_")[0] in gone


def _lines(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return set()


def _add_lines(path: Path, words: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as f:
        f.write("".join(f"{word}\n" for word in words))


def _take_line(path: Path, word: str) -> None:
    left = _lines(path)
    if word in left:
        write_atomic(path, "".join(f"{line}\n" for line in sorted(left - {word})))


def live_workers(study: Path, scheduler: Scheduler) -> list[Queued]:
    """Workers of the study in the folder ``study`` that wait or run."""
    name = job_name(study, HEAD)
    return [entry for entry in scheduler.queue() if entry.name == name]


def cancel_workers(study: Path, scheduler: Scheduler) -> list[str]:
    """End every worker of a study; what it trains writes its checkpoint. Their jobs."""
    jobs = sorted({entry.job for entry in live_workers(study, scheduler)})
    if jobs:
        arrays = sorted({job.partition("_")[0] for job in jobs})
        _add_lines(study / _CANCELLED, arrays)
        scheduler.cancel(jobs)
    return jobs
