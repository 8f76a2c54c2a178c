"""A real SLURM for tests: two nodes in namespaces of this machine, shared by all test processes, gone with the last.

``SLURM_CONF`` is set while it is up. Brought up by ``slurm/up.sh``, which needs root and Debian's packages.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from waiting import LIMIT_S

SCRIPTS = Path(__file__).parent / "slurm"
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "ip", "nsenter", "unshare")
#: One per machine: bridges and ports have fixed names.
STATE = Path(tempfile.gettempdir()) / "candor-test-slurm"
_USES = itertools.count()
#: How long hurry() leaves a requeued job alone.
_HELD_S = 6.0


def available() -> bool:
    """Whether this machine can bring it up."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return os.geteuid() == 0 and all(shutil.which(p, path=path) for p in PROGRAMS)


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster; ``state`` is its folder."""

    state: Path

    def call(self, *command: str) -> str:
        """A command of SLURM; what it printed."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def processes(self, words: str) -> list[int]:
        """Processes of the nodes whose command line holds ``words``."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                elsewhere = os.readlink(path.parent / "ns/pid") != os.readlink("/proc/self/ns/pid")
            except OSError:
                continue
            if words in line and elsewhere:
                found.append(int(path.parent.name))
        return sorted(found)

    def kill(self, words: str) -> None:
        """SIGKILL to all of ``processes``; one that has just ended is as good."""
        for pid in self.processes(words):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_node(self, number: int, *, told: bool = True) -> None:
        """Pull the plug: every process of the node is gone at once. SLURM is told, or has to find out by itself."""
        pid = int((self.state / "run" / f"node{number}.pid").read_text())
        os.kill(pid, 9)
        if told:
            self.call("scontrol", "update", f"nodename=node{number}", "state=down", "reason=pulled")

    def kill_slurmd(self, number: int) -> None:
        """The daemon alone dies, as by a bug or for want of memory; its jobs live on, and it is started again."""
        line = f"slurmd -D -f {self.state}/slurm.conf -N node{number}"
        self.kill(line)
        self.kill(line.replace("-D", "-b -D"))

    def silence_node(self, number: int, timeout_s: float = LIMIT_S) -> None:
        """Pull the plug, and wait until SLURM itself has noticed."""
        log = self.state / "log" / "slurmctld.log"
        self.set_timeout(10)
        told = log.stat().st_size
        self.kill_node(number, told=False)
        # Neither sinfo nor scontrol calls a node down on which jobs are still completing.
        missed = re.compile(rb"Nodes \S*node\S* not responding, setting DOWN")
        until = time.monotonic() + timeout_s
        while not missed.search(log.read_bytes()[told:]):
            assert time.monotonic() < until, f"SLURM never missed node{number}"
            time.sleep(0.5)
        self.set_timeout(None)

    def node_state(self, name: str) -> str:
        """E.g. ``mixed*``; the star: it does not respond."""
        return self.call("sinfo", "-h", "-N", "-n", name, "-o", "%T").split()[0]

    def set_timeout(self, seconds: int | None) -> None:
        """After how long SLURM declares a silent node down; None: as it was at first."""
        conf, kept = self.state / "slurm.conf", self.state / "slurm.conf.kept"
        if not kept.exists():
            kept.write_text(conf.read_text())
        first = kept.read_text()
        told = re.sub(r"SlurmdTimeout=\d+", f"SlurmdTimeout={seconds}", first) if seconds else first
        conf.write_text(told)
        self.call("scontrol", "reconfigure")

    def start_node(self, number: int) -> None:
        """Plug it in again, and wait until it takes jobs."""
        subprocess.run([SCRIPTS / "start-node.sh", str(number), str(self.state)], check=True)
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            state = self.call("sinfo", "-h", "-n", f"node{number}", "-o", "%T").split()
            if state and all(s in ("idle", "mixed", "allocated") for s in state):
                return
            subprocess.run(
                ["scontrol", "update", f"nodename=node{number}", "state=resume"],
                capture_output=True,
                check=False,
            )
            time.sleep(0.3)
        raise TimeoutError(f"node{number} did not come back: {self.call('sinfo', '-R')}")

    @contextmanager
    def drained(self, name: str) -> Iterator[None]:
        """What runs on the node goes on; nothing new begins there."""
        self.call("scontrol", "update", f"nodename={name}", "state=drain", "reason=test")
        try:
            yield
        finally:
            self.call("scontrol", "update", f"nodename={name}", "state=resume")

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """SLURM holds a requeued job for two minutes; here it starts after some seconds.

        Not at once: SLURM's order to end the job's first start may reach the node after the second, which then ends
        without SLURM hearing of it, or never begins ("already killed, do not launch").
        """
        done = threading.Event()
        since: dict[str, float] = {}

        def release() -> None:
            while not done.wait(0.5):
                listed = subprocess.run(
                    ["squeue", "-h", "-r", "-t", "PD", "-o", "%i|%r"],
                    capture_output=True,
                    text=True,
                    check=False,
                ).stdout
                held = {
                    job
                    for job, _, why in (li.partition("|") for li in listed.splitlines())
                    if why == "BeginTime"
                }
                for job in since.keys() - held:
                    del since[job]
                for job in held:
                    if time.monotonic() - since.setdefault(job, time.monotonic()) > _HELD_S:
                        subprocess.run(
                            ["scontrol", "update", f"jobid={job}", "StartTime=now"],
                            capture_output=True,
                            check=False,
                        )

        thread = threading.Thread(target=release, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """The machine's test cluster, brought up by its first user and taken down by its last."""
    STATE.mkdir(exist_ok=True)
    os.environ["PATH"] = os.environ["PATH"] + ":/usr/sbin:/sbin"
    # A process may be a user several times: a fixture of its session, and a platform of the conformance suite beside it.
    mine = STATE / f"user-{os.getpid()}-{next(_USES)}"
    before = os.environ.get("SLURM_CONF")
    with _locked():
        others = _users()
        mine.touch()
        if not others:
            _down()
            up = subprocess.run(
                [SCRIPTS / "up.sh", str(STATE)],
                capture_output=True,
                text=True,
                timeout=2 * LIMIT_S,
                check=False,
            )
            if up.returncode:
                mine.unlink()
                raise RuntimeError(f"the test cluster does not come up:\n{up.stderr}")
    os.environ["SLURM_CONF"] = str(STATE / "slurm.conf")
    try:
        idle = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert idle.returncode == 0, idle.stderr
        yield SlurmCluster(STATE)
    finally:
        with _locked():
            mine.unlink(missing_ok=True)
            if not _users():
                _down()
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """A test's time on the cluster, beside other tests or ``alone``: a node that dies takes everybody's jobs along."""
    # Whoever waits holds the gate, so that one who wants to be alone is not passed by others for ever.
    with _locked("turn", alone=alone, gate="gate"):
        yield


@contextmanager
def _locked(name: str = "lock", *, alone: bool = True, gate: str | None = None) -> Iterator[None]:
    with ExitStack() as held:
        with _locked(gate) if gate else nullcontext():
            f = held.enter_context((STATE.parent / f"{STATE.name}.{name}").open("w"))
            fcntl.flock(f, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def _users() -> list[Path]:
    """Notes of test processes that live; those of dead ones are removed."""
    found = []
    for note in STATE.glob("user-*"):
        try:
            os.kill(int(note.name.split("-")[1]), 0)
        except ProcessLookupError:
            note.unlink(missing_ok=True)
        else:
            found.append(note)
    return found


def _down() -> None:
    """Also what a killed test process left behind; its folder goes too, since a new database wants none of the old."""
    subprocess.run([SCRIPTS / "down.sh", str(STATE)], capture_output=True, timeout=LIMIT_S, check=False)
    for path in STATE.iterdir():
        if not path.name.startswith("user-"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
