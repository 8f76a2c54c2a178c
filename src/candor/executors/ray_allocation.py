"""One allocation of one or more nodes that boots Ray by ``ray symmetric-run`` and runs the whole plan inside."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Sequence

from candor.executors import ledger
from candor.executors.base import JobResult, RunReport, Skipped
from candor.executors.batches import Batch
from candor.executors.sbatch import SAMPLER, ScriptContext, directives, environment, quoted
from candor.executors.settling import explain_all, settle
from candor.executors.silence import Silence
from candor.executors.site import refuse_secrets
from candor.executors.slurm import SlurmExecutor
from candor.flow.locks import key_lock
from candor.flow.plan import Plan
from candor.flow.run import Run
from candor.flow.storage import write_atomic

log = logging.getLogger(__name__)

#: Names the job, its script, and the site's ``stages`` entry with its request.
HEAD = "ray"


def script(slurm: SlurmExecutor, plan: Plan, run: Run, *, nodes: int) -> str:
    """The script of the allocation. The token that Ray's processes know each other by is drawn when the job starts.

    Raises ConfigError if it would hold a secret of this environment.
    """
    text = render(slurm.context(run), slurm, nodes=nodes)
    refuse_secrets(text, os.environ, HEAD)
    return text


def render(context: ScriptContext, slurm: SlurmExecutor, *, nodes: int) -> str:
    """See ``script``; pure."""
    site = slurm.site
    request = site.named(HEAD)
    resources = "--num-cpus=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}"
    resources += f" --num-gpus={request.gpus}" if request.gpus else ""
    return "\n".join(
        [
            "#!/bin/bash",
            f"# All tasks of run {context.run.name} on Ray. Written by `candor run --on slurm --with-ray`.",
            # symmetric-run refuses to start beside another Ray, and ends every Ray of its node.
            *directives(context, site, request, HEAD, nodes=nodes),
            "#SBATCH --exclusive",
            "",
            *environment(context, site),
            f"plan={quoted(context.plan)}",
            f"logs={quoted(context.logs)}",
            *SAMPLER,
            *_SETUP,
            "warned= woken= child=",
            # The batch script runs on the first node, as the head of Ray and the plan's process do.
            'trap \'warned=1 woken=1; kill -TERM "$(cat "$pid")"\' USR1',
            "trap 'woken=1' TERM",
            f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=0 "
            '--cpus-per-task="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" \\',
            f'  ray symmetric-run --address "$address" --min-nodes {nodes} {resources} --temp-dir "/tmp/ray/$SLURM_JOB_ID" \\',
            '  -- bash "$inside" & child=$!',
            "while :; do",
            "  woken=",
            '  wait "$child"; rc=$?',
            '  [ -n "$woken" ] || break',
            "done",
            '[ ! -f "$pid.rc" ] || rc=$(cat "$pid.rc")',
            'kill "$sampler" 2>/dev/null',
            'rm -f "$pid" "$pid.rc" "$inside"',
            'if [ -n "$warned" ] && [ "$rc" = 130 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt '
            + str(site.max_requeues)
            + " ]; then",
            f'  if scontrol requeue "$SLURM_JOB_ID"; then sleep 120; else {_SUCCESSOR}; fi'
            if site.requeue
            else f"  {_SUCCESSOR}",
            "fi",
            "exit $rc",
            "",
        ]
    )


_SUCCESSOR = f'sbatch --chdir="$logs" "$logs/{HEAD}.sh"'
_SETUP = [
    'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    "host=$(getent hosts \"$head\" | awk '{print $1; exit}')",
    # Jobs whose numbers differ share no port.
    "address=${host:-$head}:$((20000 + SLURM_JOB_ID % 20000))",
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n')",
    "export RAY_gcs_rpc_server_reconnect_timeout_s=20 RAY_USAGE_STATS_ENABLED=0",
    # While it waits for the other nodes, symmetric-run calls ray.init() without an address: it must find its own cluster.
    "export RAY_ADDRESS=$address RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300",
    "pid=$logs/ray-$SLURM_JOB_ID.pid inside=$logs/ray-$SLURM_JOB_ID.inside",
    # symmetric-run takes words, not shell; its own exit code is not the plan's.
    "printf '%s\\n' \"$(declare -p candor plan pid address)\" \\",
    '  \'"${candor[@]}" task run-plan "$plan" --on ray --address "$address" & echo $! >"$pid"; wait $!; echo $? >"$pid.rc"; exit "$(cat "$pid.rc")"\' >"$inside"',
]


def submit(
    slurm: SlurmExecutor, plan: Plan, run: Run, todo: Sequence[str], *, nodes: int
) -> tuple[str, bool]:
    """Queue the allocation, or join the one that is there: its job, and whether it is new."""
    folder = run.path / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    with key_lock(folder / "submit.lock"):
        queue = slurm.slurm.queue()
        ledger.recover(run, queue)
        live = ledger.live_jobs(run, queue)
        if live:
            return Counter(entry.job for entry in live.values()).most_common(1)[0][0], False
        path = folder / f"{HEAD}.sh"
        write_atomic(path, script(slurm, plan, run, nodes=nodes))
        ledger.note_intent(run, Batch({0: HEAD}))
        job = slurm.slurm.submit(path)
        ledger.note_shared(run, HEAD, todo, job)
        return job, True


def wait(slurm: SlurmExecutor, plan: Plan, run: Run, todo: Sequence[str], job: str) -> RunReport:
    """How the tasks ended, after all of them succeeded or the allocation left the queue."""
    left = list(reversed(todo))
    while entry := next((entry for entry in slurm.slurm.queue() if entry.job == job), None):
        for silence in slurm.silences.look(run, [entry]):
            job = _anew(slurm, run, todo, silence)
        while left and slurm.succeeded(plan, run, left[-1]):
            left.pop()
        if not left:
            break
        time.sleep(slurm.site.poll_s)
    results: dict[str, JobResult] = {}
    for task in [t for t in plan.tasks if t.id in todo]:
        failed = [s for s in task.inputs.values() if s in results and not _ok(results[s])]
        attempts = explain_all(
            run, task, [a for a in run.attempts(task.id) if a.record.key == task.key], slurm.slurm
        )
        mine = [a for a in attempts if a.record.job == job or a.ok]
        if mine:
            results[task.id] = mine[-1]
        elif failed:
            first = results[failed[0]]
            results[task.id] = Skipped(task.id, first.cause if isinstance(first, Skipped) else failed[0])
        else:
            results[task.id] = settle(run, task, job, slurm.slurm) or slurm.lost(run, task, job)
        slurm.display.finished(results[task.id])
    return RunReport(results)


def _anew(slurm: SlurmExecutor, run: Run, todo: Sequence[str], silence: Silence) -> str:
    """Queue the allocation again in place of one that is silent; the job to wait for. What is published is not redone."""
    with key_lock(run.path / "slurm" / "submit.lock"):
        now = ledger.jobs_of(run)[HEAD]
        if now != silence.job:  # Another process that waits was first.
            return now
        ledger.note_intent(run, Batch({0: HEAD}))
        job = slurm.slurm.submit(run.path / "slurm" / f"{HEAD}.sh")
        ledger.note_shared(run, HEAD, todo, job)
    run.journal.append("slurm_replaced", task=HEAD, job=silence.job, by=job, why=silence.told())
    log.warning("%s; the allocation was submitted anew as job %s", silence.told(), job)
    slurm.silences.cancel(silence)
    return job


def _ok(result: JobResult) -> bool:
    return not isinstance(result, Skipped) and result.ok
