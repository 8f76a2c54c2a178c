"""What all tests share: the way to the test kit, one thread per worker, and what may be skipped."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Workers share the machine: two OpenMP teams that spin for the same cores are ten times slower than one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts this in the background lets SIGINT be ignored, here and in all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SUPPORT = Path(__file__).parent / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from draws import same_draws_everywhere  # noqa: E402

# How long an example takes tells what else this machine does.
_UNHURRIED = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("unhurried", **_UNHURRIED)
# A seed is given where a change is judged, which is not to answer for what chance finds in the rest.
hypothesis.settings.register_profile("seeded", derandomize=True, **_UNHURRIED)
if os.environ.get("CANDOR_FUZZ_SEED"):
    hypothesis.settings.load_profile("seeded")
    same_draws_everywhere()
else:
    hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than processors: tests on a scheduler and tests that kill things wait most of their time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """``-n auto --dist loadscope`` hands tests out in pieces, in the order in which ``arranged`` puts them."""
    if config.getoption("dist") != "loadscope":
        return None
    from pieces import Pieces

    config.option.loadscopereorder = False
    return Pieces(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        from pieces import arranged

        items[:] = arranged(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Weights that nobody seeded are the same in every run, and summed by as many threads, whatever a worker ran before.

    Torch starts from another seed in every process. Before fixtures are set up: they draw too.
    """
    del item
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "default_generator"):
        torch.default_generator.manual_seed(0)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].split(",")[0]))


@pytest.fixture(scope="session")
def needs() -> Callable[[bool, str], None]:
    """``needs(found, what)`` skips a test whose service is missing; under CANDOR_REQUIRE_ALL=1 it fails instead."""

    def check(found: bool, what: str) -> None:
        if not found:
            (pytest.fail if os.environ.get("CANDOR_REQUIRE_ALL") == "1" else pytest.skip)(f"needs {what}")

    return check


@pytest.fixture(scope="session")
def shared_data(needs: Callable[[bool, str], None]) -> Path:
    """The pack of real captures: CANDOR_SHARED_DATA, else ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CANDOR_SHARED_DATA") or beside)
    needs((folder / "manifest.csv").is_file(), "the shared captures (set CANDOR_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A TinyWorld (see support/tiny_world.py), built once per worker."""
    from tiny_world import make_world

    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of its own without files or artifacts, which is the working folder too; wide tables."""
    for name in ("CANDOR_DATA_ROOT", "CANDOR_CACHE_ROOT", "CANDOR_RUN_ROOT", "CANDOR_SHARED_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def slurm(needs: Callable[[bool, str], None]) -> Iterator[object]:
    """A SlurmCluster (see support/slurm_cluster.py), shared by all workers."""
    from slurm_cluster import available, slurm_cluster

    needs(available(), "SLURM, munge, slurmdbd, mariadb-server and iproute2, as root")
    with slurm_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _turn_on_the_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked ``alone_on_slurm`` have the cluster to themselves; others share it."""
    params = getattr(request.node, "callspec", None)
    platform = str(params.params.get("platform", "")) if params else ""
    if "slurm" not in request.fixturenames and not platform.startswith("slurm"):
        yield
        return
    from slurm_cluster import turn

    with turn(alone=request.node.get_closest_marker("alone_on_slurm") is not None):
        yield


@pytest.fixture(scope="session")
def ssh(needs: Callable[[bool, str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """An Sshd (see support/sshd.py) on loopback."""
    from sshd import available, sshd

    needs(available(), "openssh-server, openssh-client and rsync")
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
