"""What SLURM calls things in a job script."""

from __future__ import annotations

from collections.abc import Mapping

from candor.executors.scripts import ScriptContext, Words, clock, job_name
from candor.executors.site import Request, SiteConfig
from candor.flow.attempt import JOB_VARIABLE


class Sbatch(Words):
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
        """The ``#SBATCH`` lines."""
        asked: list[tuple[str, object]] = [
            ("job-name", job_name(context.run, head)),
            ("account", request.account),
            ("partition", request.partition),
            ("qos", request.qos),
            ("constraint", request.constraint),
            ("nodes", nodes),
            ("ntasks-per-node", 1),
            ("cpus-per-task", request.cpus),
            ("mem", f"{round(request.memory_gb * 1024)}M" if request.memory_gb else None),
            ("time", clock(request.time_limit_min) if request.time_limit_min else None),
            # Relative to the folder of the logs, which ``sbatch --chdir`` names: a directive cannot quote every path.
            ("output", f"{head}-%A_%a.out" if array else f"{head}-%j.out"),
            ("open-mode", "append"),
            ("signal", f"B:USR1@{site.warning_s}"),
            ("kill-on-invalid-dep", "yes"),
            ("export", ",".join(site.pass_env) or "NONE"),
        ]
        lines = [f"#SBATCH --{name}={value}" for name, value in asked if value is not None]
        lines += [f"#SBATCH {line}" for line in _gpu_lines(site, request)]
        lines.append("#SBATCH --requeue" if site.requeue else "#SBATCH --no-requeue")
        if array:
            lines.append(f"#SBATCH --array={','.join(map(str, sorted(array)))}%{site.array_limit}")
        lines += [f"#SBATCH {line}" for line in site.extra]
        return [*lines, "#SBATCH --exclusive"] if exclusive else lines

    def identity(self, context: ScriptContext, site: SiteConfig, head: str) -> list[str]:
        """See ``Words``."""
        del context, site, head
        return [
            f"export {JOB_VARIABLE}=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}",
            f"export {JOB_VARIABLE}=${{{JOB_VARIABLE}:-$SLURM_JOB_ID}}",
            "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
            # What srun starts must see the whole environment of this script.
            "export SLURM_EXPORT_ENV=ALL",
        ]

    def warning(self, site: SiteConfig, request: Request) -> list[str]:
        """None: ``--signal`` has SLURM send it."""
        del site, request
        return []

    def successor(self, head: str) -> str:
        """See ``Words``."""
        return f'sbatch --array="$SLURM_ARRAY_TASK_ID" --chdir="$logs" "$logs/{head}.sh"'

    def everywhere(self, nodes: int) -> list[str]:
        """See ``Words``."""
        return [
            f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=0 "
            f'--cpus-per-task="{self.cpus}" \\',
        ]


SBATCH = Sbatch(
    scheduler="slurm",
    element="$SLURM_ARRAY_TASK_ID",
    cpus="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}",
    restarts="${SLURM_RESTART_COUNT:-0}",
    requeue=f'scontrol requeue "${JOB_VARIABLE}"',
    first_node='scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1',
    pairs=True,
    handed_over="",
)


def _gpu_lines(site: SiteConfig, request: Request) -> list[str]:
    if not request.gpus:
        return []
    count = f"{request.gpu_type}:{request.gpus}" if request.gpu_type else str(request.gpus)
    return [f"--gres=gpu:{count}" if site.gpu_directive == "gres" else f"--{site.gpu_directive}={count}"]
