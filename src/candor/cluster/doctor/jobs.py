"""A tiny job through the queue, and what comes back of it."""

from __future__ import annotations

import secrets
import shlex
import time
from dataclasses import dataclass

from candor.cluster.doctor.environment import judge_environment
from candor.cluster.doctor.findings import Finding, failed, ok
from candor.cluster.doctor.gpus import judge_gpus
from candor.cluster.doctor.patient import Chart, Patient, last_json, probe_text, python_of
from candor.cluster.shell import Ran

#: A file written on a node is seen elsewhere at the latest after so long (NFS keeps attributes for a while).
_VISIBLE_S = 60.0


@dataclass(frozen=True)
class Ended:
    """What a job left: its lines, or why there are none."""

    lines: tuple[str, ...] = ()
    trouble: str = ""
    todo: str = ""


@dataclass(frozen=True)
class TinyJob:
    """A job whose output comes back through the run root. ``nonce`` makes it one that cannot have run before."""

    patient: Patient
    chart: Chart
    nonce: str

    @property
    def folder(self) -> str:
        """Where script, output and result lie."""
        return f"{self.chart.roots['run_root']}/doctor/{self.nonce}"

    def run(self, body: str) -> Ended:
        """Queue ``body``, wait for the end of the job and for its result, and clear up."""
        queue = self.patient.queue
        where, end = shlex.quote(self.folder), f"CANDOR_{self.nonce}"
        # A result counts once it is whole, and only the job can know the nonce from the file it has to read.
        body = f"cd {where} || exit 81\n{{ {body}\ncat nonce; }} >result.new && mv result.new result"
        script = self.patient.job(self.chart.roots, body)
        sent = self.patient.shell(
            f"mkdir -p {where} && cd {where} || exit 80\nprintf '%s\\n' {self.nonce} >nonce\n"
            f"cat >job.sh <<'{end}'\n{script}\n{end}\n"
            f"{queue.submit}\n",
            timeout_s=90,
        )
        job = queue.job(sent.out)
        if sent.code or not job:
            return Ended(
                trouble=f"{queue.submit.split()[0]}: {sent.said}",
                todo="Read what the scheduler says; `--site-set` changes the request.",
            )
        try:
            ended = self._wait(job)
        finally:
            self.patient.shell(queue.end(job))
        if not ended.trouble:
            self.patient.shell(f'rm -rf {where}; rmdir "$(dirname {where})" 2>/dev/null')
        return ended

    def _wait(self, job: str) -> Ended:
        queue = self.patient.queue
        look = (
            f"cd {shlex.quote(self.folder)} && {{ {queue.look(job)}; "
            "[ ! -f result ] || sed 's/^/result|/' result; }"
        )
        began, gone, state = time.monotonic(), None, ""
        while time.monotonic() - began < self.patient.job_timeout_s:
            told = self.patient.shell(look, timeout_s=90)
            result = [line[7:] for line in told.out.splitlines() if line.startswith("result|")]
            entry = [line[6:] for line in told.out.splitlines() if line.startswith("queue|")]
            if result and result[-1] == self.nonce:
                return Ended(tuple(result[:-1]))
            state = entry[-1] if entry else state
            over = not entry or queue.word(entry[-1].split("|")[0]) not in (
                "PENDING",
                "CONFIGURING",
                "RUNNING",
                "COMPLETING",
            )
            gone = (gone or time.monotonic()) if over else None
            if gone and time.monotonic() - gone > min(_VISIBLE_S, self.patient.job_timeout_s / 4):
                return self._lost(job)
            time.sleep(self.patient.poll_s)
        if gone:  # Just now: it is not true that it waits.
            return self._lost(job)
        word, _, reason = state.partition("|")
        word = queue.word(word)
        waited = f"{self.patient.job_timeout_s:.0f} s"
        if word == "RUNNING":
            return Ended(
                trouble=f"job {job} ran for {waited} without a result",
                todo=f"Read {self.folder}/{self.patient.queue.output}.",
            )
        return Ended(
            trouble=f"job {job} did not start within {waited} ({word.lower() or 'not in the queue'}, {reason or 'no reason'})",
            todo="If the queue is merely long, give it more time with --job-timeout-s; else change the request.",
        )

    def _lost(self, job: str) -> Ended:
        where = shlex.quote(self.folder)
        account = self.patient.shell(self.patient.queue.account(job)).out.strip()
        output = self.patient.shell(f"tail -n 3 {where}/{self.patient.queue.output} 2>/dev/null").out
        said = " ".join(output.split()) or "it printed nothing that is seen from here"
        return Ended(
            trouble=f"job {job} left the queue without a result ({account or 'no account'}): {said}",
            todo=f"Is the run root the same folder on the nodes? Read {self.folder}/{self.patient.queue.output}.",
        )


def check_job(patient: Patient, chart: Chart) -> Finding:
    """A job runs to its end in the same environment, on a node that shares the roots, with the GPUs it asked for."""
    if not chart.roots:
        return failed(
            "nobody said where the roots are",
            "Leave `--skip environment` out: candor there says it.",
        )
    nonce = secrets.token_hex(8)
    marks = {name: f"{root}/.candor-doctor-{nonce}-{name}" for name, root in chart.roots.items()}
    body = [f"{python_of(patient.python, probe_text('environment'))}"]
    if patient.gpus:
        body.append(python_of(patient.python, probe_text("gpus")))
    body += [f"cp nonce {shlex.quote(path)}" for path in marks.values()]
    patient.shell("mkdir -p " + " ".join(map(shlex.quote, chart.roots.values())))
    ended = TinyJob(patient, chart, nonce).run("\n".join(body))
    seen = _seen_marks(patient, marks, nonce)
    if ended.trouble:
        return failed(ended.trouble, ended.todo)
    told = last_json(ended.lines[0]) if ended.lines else {}
    found = judge_environment(told, Ran(1, "", " ".join(ended.lines)), patient.expected)
    if found.state == "failed":
        return failed(f"on the node: {found.told}", found.todo)
    apart = [name for name in marks if name not in seen]
    if apart:
        return failed(
            f"{', '.join(apart)}: what {told['host']} writes there is not seen from here",
            "Point "
            + ", ".join(f"CANDOR_{name.upper()}" for name in apart)
            + " to a file system that all nodes share.",
        )
    if patient.gpus:
        gpus = judge_gpus(last_json(ended.lines[-1]), Ran(1, "", ended.lines[-1]), wanted=patient.gpus)
        return gpus if gpus.state == "failed" else ok(f"ran on {told['host']}: {gpus.told}")
    return ok(f"ran on {told['host']}, in the same environment, with the same roots")


def _seen_marks(patient: Patient, marks: dict[str, str], nonce: str) -> set[str]:
    """Names of roots in which the job's file is seen; the files are removed."""
    lines = [
        f'[ "$(cat {shlex.quote(path)} 2>/dev/null)" = {nonce} ] && echo seen {name}; rm -f {shlex.quote(path)}'
        for name, path in marks.items()
    ]
    told = patient.shell("\n".join([*lines, ""])).out
    return {line.removeprefix("seen ") for line in told.splitlines() if line.startswith("seen ")}
