"""What the doctor says to a scheduler, as shell: to see its nodes, to try a request, and to run a tiny job."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod


class Queue(ABC):
    """The words of one scheduler.

    Attributes:
        commands: what has to be there.
        trial: takes a script from its input, and refuses it as a submission would be; nothing runs.
        submit: queues ``job.sh`` of the current folder and prints the job.
        output: pattern of the job's output in that folder.
    """

    commands: tuple[str, ...]
    trial: str
    submit: str
    output: str

    @abstractmethod
    def nodes(self, partition: str) -> str:
        """Prints ``partition|up|state|node`` per node, and ends with an error if users are not answered."""

    @abstractmethod
    def look(self, job: str) -> str:
        """Prints ``queue|state|reason`` as long as the job is in the queue; see ``word``."""

    @abstractmethod
    def end(self, job: str) -> str:
        """Takes the job off the queue."""

    @abstractmethod
    def account(self, job: str) -> str:
        """Prints what is known of a job that ended."""

    def word(self, state: str) -> str:
        """``PENDING``, ``RUNNING`` or what else ``look`` says of a job's state."""
        return state

    def job(self, out: str) -> str:
        """The number in what ``submit`` printed; empty if there is none."""
        last = out.strip().splitlines()[-1] if out.strip() else ""
        found = re.fullmatch(r"(\d+)(?:[.;].*)?", last)
        return found[1] if found else ""


class SlurmQueue(Queue):
    """See ``Queue``."""

    commands = ("sinfo", "squeue", "sbatch")
    trial = "sbatch --test-only"
    submit = 'sbatch --parsable --chdir="$PWD" --output=job.out --error=job.out job.sh'
    output = "job.out"

    def nodes(self, partition: str) -> str:
        """See ``Queue``."""
        del partition
        return (
            "sinfo --noheader --Node --format='%R|%a|%t|%n' && "
            'squeue --noheader --user="$(id -un)" --format=%i >/dev/null'
        )

    def look(self, job: str) -> str:
        """See ``Queue``."""
        return f"squeue --noheader --jobs={job} --format='queue|%T|%r' 2>/dev/null"

    def end(self, job: str) -> str:
        """See ``Queue``."""
        return f"scancel {job} 2>/dev/null"

    def account(self, job: str) -> str:
        """See ``Queue``."""
        return f"sacct -n -X -P -j {job} --format=State,ExitCode,NodeList 2>/dev/null"


class PbsQueue(Queue):
    """See ``Queue``. PBS has no dry run: what would be taken is queued on hold, and taken off."""

    commands = ("qsub", "qstat", "qselect", "qdel", "pbsnodes")
    trial = "job=$(qsub -h) && qdel $job"
    submit = "qsub job.sh"
    output = "doctor-*.out"

    def nodes(self, partition: str) -> str:
        """See ``Queue``."""
        asked = f"qstat -Q {partition} >/dev/null && " if partition else ""
        awk = f'/^[^ ]/ {{node = $1}} /^ *state = / {{sub(/.* = /, ""); print "{partition}|up|" $0 "|" node}}'
        return f"{asked}qselect -u \"$(id -un)\" >/dev/null && pbsnodes -a | awk '{awk}'"

    def look(self, job: str) -> str:
        """See ``Queue``."""
        awk = '/^ *job_state = /{s=$2} /^ *comment = /{c=$2} END{if (s) print "queue|" s "|" c}'
        return f"qstat -f {job} 2>/dev/null | awk -F' = ' '{awk}'"

    def end(self, job: str) -> str:
        """See ``Queue``."""
        return f"qdel {job} 2>/dev/null"

    def account(self, job: str) -> str:
        """See ``Queue``."""
        return f"qstat -x -f {job} 2>/dev/null | grep -E 'job_state|Exit_status|exec_host|comment' | tr -s ' \\n' ' '"

    def word(self, state: str) -> str:
        """See ``Queue``."""
        waits = dict.fromkeys("HQTW", "PENDING")
        return {**waits, "R": "RUNNING", "E": "COMPLETING"}.get(state, state)


QUEUES: dict[str, Queue] = {"slurm": SlurmQueue(), "pbs": PbsQueue()}
