"""What goes to another machine and what comes from there, through a real sshd and a real rsync."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

import pytest
from sshd import Sshd
from waiting import wait_until

from candor.cluster.sync import Carried, Remote, What, carry, parse_output, parse_remote, transfers
from candor.errors import ConfigError, SourceMissing, SyncFailed


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "hére and now"
    (root / "code/src/.git").mkdir(parents=True)
    (root / "data/hcrl_sa").mkdir(parents=True)
    return root


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "far 'away'" / "$HOME"


def fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Sync:
    """``sync("code")``, between two folders of this machine, by ssh."""

    def __init__(self, here: Path, there: Path, server: Sshd) -> None:
        self.here, self.there, self.remote = here, there, Remote(server.host, str(there), server.command())

    def __call__(
        self, what: What, *, dry_run: bool = False, delete: bool = False, bwlimit_kb: int | None = None
    ) -> list[Carried]:
        calls = transfers(
            [what],
            self.remote,
            code=self.here / "code",
            data=self.here / "data",
            into=self.here / "from",
            dry_run=dry_run,
            delete=delete,
            bwlimit_kb=bwlimit_kb,
        )
        return [carry(call) for call in calls]


@pytest.fixture
def sync(here: Path, there: Path, ssh: Sshd) -> Sync:
    return Sync(here, there, ssh)


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_code_goes_without_environments_caches_and_secrets(sync: Sync) -> None:
    code = sync.here / "code"
    for name in (
        "src/a.py",
        "docs/tokens.md",
        ".venv/bin/python",
        ".git/config",
        "src/__pycache__/a.pyc",
        ".mypy_cache/x",
        ".env",
        "key.pem",
        "id_ed25519",
        ".netrc",
        "wandb_token.txt",
        "ignored/big.bin",
        "demo/cache/x",
    ):
        fill(code, **{name: "x"})
    fill(code, **{".gitignore": "/ignored/\n"})
    (done,) = sync("code")
    assert names(sync.there / "code") == {"src/a.py", "docs/tokens.md", ".gitignore"}
    assert len(done.changed) == 3


def test_only_what_changed_goes_the_second_time(sync: Sync) -> None:
    fill(sync.here / "data", hcrl_sa__a_dot_csv="1" * 100_000, hcrl_sa__b_dot_csv="2")
    assert sync("data")[0].sent_bytes == 100_001
    fill(sync.here / "data", hcrl_sa__b_dot_csv="other")
    (done,) = sync("data")
    assert (done.changed, done.sent_bytes) == (("hcrl_sa/b.csv",), 5)
    assert sync("data") == [Carried("data", (), (), 0)]


def test_a_dry_run_tells_and_changes_nothing(sync: Sync) -> None:
    fill(sync.here / "data", hcrl_sa__a_dot_csv="1")
    (done,) = sync("data", dry_run=True)
    assert done.changed == ("hcrl_sa/a.csv",)
    assert not sync.there.exists()


def test_nothing_is_removed_at_the_other_end_unless_asked_for(sync: Sync) -> None:
    fill(sync.here / "code", a_dot_py="1", b_dot_py="1")
    sync("code")
    fill(sync.there / "code", **{".venv/bin/python": "x", "theirs.py": "x"})
    (sync.here / "code/b.py").unlink()
    sync("code")
    assert {"b.py", "theirs.py"} <= names(sync.there / "code")
    (told,) = sync("code", delete=True, dry_run=True)
    assert set(told.deleted) == {"b.py", "theirs.py"}
    assert {"b.py", "theirs.py"} <= names(sync.there / "code")
    sync("code", delete=True)
    assert names(sync.there / "code") == {
        "a.py",
        ".venv/bin/python",
    }  # What is excluded is not theirs to remove.


def test_links_that_lead_out_of_the_data_root_arrive_as_files(sync: Sync, tmp_path: Path) -> None:
    (tmp_path / "download.csv").write_text("frames")
    (sync.here / "data/hcrl_sa/a.csv").symlink_to(tmp_path / "download.csv")
    sync("data")
    arrived = sync.there / "data/hcrl_sa/a.csv"
    assert (arrived.read_text(), arrived.is_symlink()) == ("frames", False)


def test_results_come_as_a_root_of_their_own_without_large_files(sync: Sync) -> None:
    key = "cache/artifacts/curriculum/abc"
    fill(
        sync.there,
        **{
            "runs/r1/tasks/t/attempt-1/record.json": "{}",
            "runs/r1/slurm/t-7.out": "lines",
            "studies/s/trials/0.json": "{}",
            f"{key}/record.json": "{}",
            f"{key}/metrics.parquet": "m",
            f"{key}/weights.safetensors": "w" * 1000,
            f"{key}/big.json": "b" * 21_000_000,
            "cache/scratch/x.json": "{}",
            "data/d/a.csv": "a",
        },
    )
    sync("results")
    assert names(sync.here / "from") == {
        "runs/r1/tasks/t/attempt-1/record.json",
        "runs/r1/slurm/t-7.out",
        "studies/s/trials/0.json",
        f"{key}/record.json",
        f"{key}/metrics.parquet",
    }


def test_a_root_that_has_no_results_yet_gives_none(sync: Sync) -> None:
    sync.there.mkdir(parents=True)
    assert all(done.changed == () for done in sync("results"))


def test_what_was_cut_off_goes_on_from_there(sync: Sync) -> None:
    """The connection is cut in the middle of a file; the next call carries the rest alone."""
    size = 24_000_000  # A minute at that rate: whoever cuts the connection may come late.
    (sync.here / "data/hcrl_sa/big.bin").write_bytes(os.urandom(size))
    calls = transfers(
        ["data"], sync.remote, code=None, data=sync.here / "data", into=sync.here / "from", bwlimit_kb=400
    )
    broken: list[BaseException] = []

    def send() -> None:
        try:
            carry(calls[0])
        except SyncFailed as e:
            broken.append(e)

    thread = threading.Thread(target=send)
    thread.start()
    folder = sync.there / "data/hcrl_sa"
    wait_until(lambda: sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) > 1_200_000, "a part")
    cut(sync.remote)
    thread.join()
    assert broken
    assert "the same command goes on" in str(broken[0])
    (done,) = sync("data")
    assert (folder / "big.bin").read_bytes() == (sync.here / "data/hcrl_sa/big.bin").read_bytes()
    assert done.sent_bytes < size - 1_000_000
    assert names(sync.there / "data") == {"hcrl_sa/big.bin"}


def cut(remote: Remote) -> None:
    """End the ssh of this transfer, as a lost network would."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        # The key's path is this server's own; only rsync's sending end speaks through such an ssh.
        if (
            words[0] == b"ssh"
            and shlex.split(remote.ssh)[6].encode() in words
            and b"--server" in b" ".join(words)
        ):
            os.kill(int(path.parent.name), 9)


def test_a_wrong_key_and_missing_data_say_what_to_do(sync: Sync, ssh: Sshd) -> None:
    strange = Sync(sync.here, sync.there, ssh)
    strange.remote = Remote(ssh.host, str(sync.there), ssh.command("stranger"))
    with pytest.raises(SyncFailed, match="cluster doctor"):
        strange("data")
    (sync.here / "data/hcrl_sa").rmdir()
    (sync.here / "data").rmdir()
    with pytest.raises(SourceMissing):
        sync("data")


@pytest.mark.parametrize(
    "text", ["", "nowhere", ":path", "host:", "-oProxyCommand=evil:x", "host:~/candor", "a b:c"]
)
def test_what_names_no_other_end_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_remote(text)


def test_the_lines_of_rsync_are_read() -> None:
    text = "<f+++++++++ a b.csv\n.d..t...... ./\ncL+++++++++ link -> x\n*deleting   old.csv\nLiteral data: 1,234 bytes\n"
    assert parse_output("data", text) == Carried("data", ("a b.csv", "link -> x"), ("old.csv",), 1234)
