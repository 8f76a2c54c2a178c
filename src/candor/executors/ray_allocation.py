"""One allocation of one or more nodes that boots Ray by ``ray symmetric-run`` and runs the whole plan inside."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from candor.errors import SchedulerError
from candor.executors import ledger
from candor.executors.base import JobResult, RunReport, Skipped
from candor.executors.batches import Batch
from candor.executors.queue import QueueExecutor
from candor.executors.scheduler import Scheduler
from candor.executors.scripts import SAMPLER, ScriptContext, Words, again, environment, quoted, supervised
from candor.executors.settling import explain_all, settle
from candor.executors.silence import Silence
from candor.executors.site import SiteConfig, refuse_secrets
from candor.flow.attempt import JOB_VARIABLE
from candor.flow.locks import key_lock
from candor.flow.plan import Plan
from candor.flow.recording import record_cached
from candor.flow.run import Run
from candor.flow.storage import write_atomic

log = logging.getLogger(__name__)

#: Names the job, its script, and the site's ``stages`` entry with its request.
HEAD = "ray"


def script(executor: QueueExecutor, run: Run, *, nodes: int) -> str:
    """The script of the allocation. The token that Ray's processes know each other by is drawn when the job starts.

    Raises ConfigError if it would hold a secret of this environment.
    """
    text = render(executor.context(run), executor.site, nodes=nodes, words=executor.scheduler.words)
    refuse_secrets(text, os.environ, HEAD)
    return text


def render(context: ScriptContext, site: SiteConfig, *, nodes: int, words: Words) -> str:
    """See ``script``; pure."""
    request = site.named(HEAD)
    resources = f"--num-cpus={words.cpus}" + (f" --num-gpus={request.gpus}" if request.gpus else "")
    ray = [
        *words.everywhere(nodes),
        f'  ray symmetric-run --address "$address" --min-nodes {nodes} {resources} --temp-dir "$temp" \\',
        '  -- bash "$inside"',
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            f"# All tasks of run {context.run.name} on Ray. Written by `candor run --on {words.scheduler} --with-ray`.",
            # symmetric-run refuses to start beside another Ray, and ends every Ray of its node.
            *words.directives(context, site, request, HEAD, nodes=nodes, exclusive=True),
            "",
            *environment(context, site, words, HEAD),
            f"plan={quoted(context.plan)}",
            f"logs={quoted(context.logs)}",
            f"job=${JOB_VARIABLE}",
            f"head=$({words.first_node})",
            *SAMPLER,
            *_SETUP,
            # The script runs on the first node, as the head of Ray and the plan's process do.
            *supervised(
                "\n".join(ray),
                warning=words.warning(site, request),
                stop=_STOP,
            ),
            '[ ! -f "$pid.rc" ] || rc=$(cat "$pid.rc")',
            'kill "$sampler" 2>/dev/null',
            'sample >>"$samples"',
            'rm -f "$pid" "$pid.rc" "$pid.stop" "$inside"',
            '[ "$rc" != 0 ] || rm -rf "$temp"',  # Else Ray's own logs may tell why.
            *again(site, words, _successor(site)),
            f'"${{candor[@]}}" cluster epilog "$plan" {HEAD} --job "$job"',
            "exit $rc",
            "",
        ]
    )


def _successor(site: SiteConfig) -> str:
    """With what the allocation queues the next one, so that whoever waits for it, and ``candor cancel``, know that one."""
    return f'"${{candor[@]}}" cluster resubmit-allocation "$plan" "$logs/{HEAD}.sh" --at-most {site.max_requeues}'


#: Stops the plan; also one that is only about to start, and has no number yet.
_STOP = 'touch "$pid.stop"; kill -TERM "$(cat "$pid" 2>/dev/null)" 2>/dev/null'
_SETUP = [
    "host=$(getent hosts \"$head\" | awk '{print $1; exit}')",
    # Jobs whose numbers differ share no port.
    "address=${host:-$head}:$((20000 + job % 20000))",
    # Not below /tmp/ray: whoever comes first owns that, and nobody else may enter.
    "temp=${RAY_TMPDIR:-/tmp}/candor-$UID-$job",
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n')",
    "export RAY_gcs_rpc_server_reconnect_timeout_s=20 RAY_USAGE_STATS_ENABLED=0",
    # While it waits for the other nodes, symmetric-run calls ray.init() without an address: it must find its own cluster.
    "export RAY_ADDRESS=$address RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300",
    "pid=$logs/ray-$job.pid inside=$logs/ray-$job.inside",
    'rm -f "$pid.stop"',  # Of an earlier start of this job, whose node went down.
    # symmetric-run takes words, not shell; its own exit code is not the plan's.
    "printf '%s\\n' \"$(declare -p candor plan pid address)\" \\",
    '  \'"${candor[@]}" task run-plan "$plan" --on ray --address "$address" & echo $! >"$pid"; [ ! -e "$pid.stop" ] || kill -TERM $!; wait $!; echo $? >"$pid.rc"; exit "$(cat "$pid.rc")"\' >"$inside"',
]


def submit(
    executor: QueueExecutor, plan: Plan, run: Run, todo: Sequence[str], *, nodes: int
) -> tuple[str, bool]:
    """Queue the allocation, or join the one that is there: its job, and whether it is new."""
    folder = executor.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    with key_lock(folder / "submit.lock"):
        queue = executor.scheduler.queue()
        ledger.recover(run, queue)
        live = ledger.live_jobs(run, queue)
        if live:
            return Counter(entry.job for entry in live.values()).most_common(1)[0][0], False
        path = folder / f"{HEAD}.sh"
        write_atomic(path, script(executor, run, nodes=nodes))
        ledger.note_intent(run, Batch({0: HEAD}))
        job = executor.scheduler.submit(path)
        ledger.note_shared(run, HEAD, todo, job)
        return job, True


def wait(executor: QueueExecutor, plan: Plan, run: Run, todo: Sequence[str], job: str) -> RunReport:
    """How the tasks ended, after all of them succeeded or the allocation left the queue."""
    left = list(reversed(todo))
    while True:
        entry = next((entry for entry in executor.scheduler.queue() if entry.job == job), None)
        if entry is None:
            # Near its time limit it may have submitted its own successor, before it left the queue.
            now = ledger.jobs_of(run).get(HEAD, job)
            if now == job:
                break
            job = now
            continue
        for silence in executor.silences.look(run, [entry]):
            job = _anew(executor, run, todo, silence)
        while left and executor.succeeded(plan, run, left[-1]):
            left.pop()
        if not left:
            break
        time.sleep(executor.site.poll_s)
    results: dict[str, JobResult] = {}
    for task in [t for t in plan.tasks if t.id in todo]:
        failed = [s for s in task.inputs.values() if s in results and not _ok(results[s])]
        attempts = explain_all(
            run, task, [a for a in run.attempts(task.id) if a.record.key == task.key], executor.scheduler
        )
        mine = [a for a in attempts if a.record.job == job or a.ok]
        if mine:
            results[task.id] = mine[-1]
        elif executor.published(plan, task.id):
            results[task.id] = record_cached(run, task)  # By another run, before the allocation looked.
        elif failed:
            first = results[failed[0]]
            results[task.id] = Skipped(task.id, first.cause if isinstance(first, Skipped) else failed[0])
        else:
            results[task.id] = settle(run, task, job, executor.scheduler) or executor.lost(run, task, job)
        executor.display.finished(results[task.id])
    return RunReport(results)


def _anew(executor: QueueExecutor, run: Run, todo: Sequence[str], silence: Silence) -> str:
    """Queue the allocation again in place of one that is silent; the job to wait for. What is published is not redone."""
    with key_lock(executor.folder(run) / "submit.lock"):
        now = ledger.jobs_of(run)[HEAD]
        if now != silence.job:  # Another process that waits was first.
            return now
        ledger.note_intent(run, Batch({0: HEAD}))
        job = executor.scheduler.submit(executor.folder(run) / f"{HEAD}.sh")
        ledger.note_shared(run, HEAD, todo, job)
    run.journal.append("jobs_replaced", task=HEAD, job=silence.job, by=job, why=silence.told())
    log.warning("%s; the allocation was submitted anew as job %s", silence.told(), job)
    executor.silences.cancel(silence)
    return job


def go_on(run: Run, script: Path, scheduler: Scheduler, *, at_most: int = 50) -> str:
    """Queue the allocation's successor, from inside the allocation; its job. What is published is not redone.

    Raises SchedulerError if that was done ``at_most`` times already since a person submitted the run.
    """
    with key_lock(run.path / scheduler.words.scheduler / "submit.lock"):
        if ledger.continuations_of(run, HEAD) >= at_most:
            raise SchedulerError(
                f"{run.id} is not finished after {at_most} continuations (max_requeues)",
                hint=f"Give it more time: --site-set stages.{HEAD}.time_limit_min=...",
            )
        before = ledger.jobs_of(run)
        tasks = [task for task, job in before.items() if job == before.get(HEAD) and task != HEAD]
        ledger.note_intent(run, Batch({0: HEAD}))
        job = scheduler.submit(script)
        ledger.note_shared(run, HEAD, tasks, job, continued=True)
    return job


def _ok(result: JobResult) -> bool:
    return not isinstance(result, Skipped) and result.ok
