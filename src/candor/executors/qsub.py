"""What PBS Professional and OpenPBS call things in a job script.

From qsub(1B), qalter(1B), qrerun(1B) and pbs_job_attributes(7B) of OpenPBS, and from Imperial College's user guide; see
``docs/pbs.md`` for which fact is from where.
"""

from __future__ import annotations

from collections.abc import Mapping

from candor.errors import ConfigError
from candor.executors.scheduler import SCHEDULER_VARIABLE
from candor.executors.scripts import ScriptContext, Words, clock, job_name
from candor.executors.site import Request, SiteConfig
from candor.flow.attempt import JOB_VARIABLE

#: Every job has them, or gets them by lines of the script.
_ALWAYS = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH")
#: Stands on the last directive: see ``alone``.
ARRAY = "#PBS -J "
_PASSED = "#PBS -v "


class Qsub(Words):
    """See ``Words``."""

    def directives(
        self,
        context: ScriptContext,
        site: SiteConfig,
        request: Request,
        head: str,
        *,
        array: Mapping[int, str] | None = None,
        nodes: int = 1,
        exclusive: bool = False,
    ) -> list[str]:
        """The ``#PBS`` lines. ``partition`` is the queue, ``constraint`` more words of the chunk, e.g. ``cpu_type=rome``."""
        if request.qos:
            raise ConfigError("PBS has no qos", place="site preset (qos)", hint="Name a queue: partition.")
        passed = [name for name in site.pass_env if name not in _ALWAYS]
        place = ":".join(["scatter"] * (nodes > 1) + ["exclhost"] * exclusive)
        asked: list[tuple[str, object]] = [
            ("N", job_name(context.run, head)),
            ("S", "/bin/bash"),
            ("A", request.account),
            ("q", request.partition),
            ("l", f"select={nodes}:{_chunk(request)}"),
            ("l", f"place={place}" if place else None),
            ("l", f"walltime={clock(request.time_limit_min)}" if request.time_limit_min else None),
            # What PBS itself says of the job arrives here at its end; see ``identity`` for the job's own words.
            ("j", "oe"),
            ("m", "n"),
            # After a lost node or a preemption; PBS runs an array only if it may run it again.
            ("r", "y" if site.requeue or array else "n"),
            ("v", ",".join(passed) or None),
        ]
        lines = [f"#PBS -{name} {value}" for name, value in asked if value is not None]
        lines += [f"#PBS {line}" for line in site.extra]
        if array and len(array) > 1:
            # ``-J 0-3%2`` is refused by older versions.
            lines += [f"#PBS -W max_run_subjobs={site.array_limit}", f"{ARRAY}0-{max(array)}"]
        return lines

    def identity(self, context: ScriptContext, site: SiteConfig, head: str) -> list[str]:
        """See ``Words``. Output goes where it can be read while the job runs: PBS brings its own copy at the end."""
        del context
        return [
            f"export {SCHEDULER_VARIABLE}={self.scheduler}",
            "case $PBS_JOBID in",
            f"  *\\[*) export {JOB_VARIABLE}=${{PBS_JOBID%%\\[*}}_$PBS_ARRAY_INDEX;;",
            f"  *) export {JOB_VARIABLE}=${{PBS_JOBID%%.*}};;",
            "esac",
            f'cd "$PBS_O_WORKDIR" && exec >>"{head}-${JOB_VARIABLE}.out" 2>&1',
            "export OMP_NUM_THREADS=${NCPUS:-1}",
            *(f"export {v}=${{PBS_O_{v}:-${v}}}" for v in ("PATH", "LANG") if v in site.pass_env),
        ]

    def warning(self, site: SiteConfig, request: Request) -> list[str]:
        """PBS sends SIGTERM at the limit and SIGKILL seconds later, and no warning: the script keeps the time itself."""
        if request.time_limit_min is None:
            return []
        wait_s = max(60 * request.time_limit_min - site.warning_s, 1)
        return [
            f"( sleep {wait_s} & s=$!; trap 'kill $s' TERM; wait $s && kill -USR1 $$ ) & timer=$!",
        ]

    def successor(self, head: str) -> str:
        """See ``Words``."""
        alone = f"s/^{ARRAY}.*/export PBS_ARRAY_INDEX=${{PBS_ARRAY_INDEX:-0}}/"
        return f'(cd "$logs" && sed "{alone}" {head}.sh | qsub)'

    def everywhere(self, nodes: int) -> list[str]:
        """Nothing: the script's node is the only one."""
        if nodes > 1:
            raise ConfigError(
                "on PBS, Candor starts Ray on one node",
                place="--nodes",
                hint="Ask for a larger node (stages.ray), or leave --with-ray out.",
            )
        return []


def passing(script: str, environment: Mapping[str, str]) -> str:
    """``script`` without the variables that ``environment`` does not have: qsub refuses a job for one. Pure."""
    lines = []
    for line in script.splitlines():
        if line.startswith(_PASSED):
            names = [name for name in line.removeprefix(_PASSED).split(",") if name in environment]
            line = _PASSED + ",".join(names) if names else "#"
        lines.append(line)
    return "\n".join(lines) + "\n"


def alone(script: str, element: str) -> str:
    """``script``, of an array, for one element: PBS has no arrays of one. Pure."""
    lines = (f"export PBS_ARRAY_INDEX={element}" if x.startswith(ARRAY) else x for x in script.splitlines())
    return "\n".join(lines) + "\n"


QSUB = Qsub(
    scheduler="pbs",
    element="${PBS_ARRAY_INDEX:-0}",
    cpus="${NCPUS:-1}",
    restarts="0",
    # qrerun is for operators.
    requeue="",
    first_node="hostname",
    pairs=False,
    # What waits for this job waits for the successor too; at some sites qalter adds to what a job waits for, and a
    # job that waits for one that failed is deleted.
    handed_over=" && rc=0",
)


def _chunk(request: Request) -> str:
    words: list[tuple[str, object]] = [
        ("ncpus", request.cpus or 1),
        ("mem", f"{round(request.memory_gb * 1024)}mb" if request.memory_gb else None),
        ("ngpus", request.gpus),
        ("gpu_type", request.gpu_type if request.gpus else None),
    ]
    said = [f"{name}={value}" for name, value in words if value is not None]
    return ":".join([*said, *([request.constraint] if request.constraint else [])])
