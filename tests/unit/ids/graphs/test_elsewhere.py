from __future__ import annotations

from pathlib import Path

import polars as pl

from candor.flow.stage import Inputs, Output
from candor.ids.captures.ingest import ingest
from candor.ids.config import CaptureSource, FiledElsewhere, IngestConfig
from candor.ids.graphs.elsewhere import ABSENT, OTHER, SAME, UNREADABLE, compare, findings

CSV = "timestamp,arbitration_id,data_field,attack\n1.0,316,00,0\n1.1,316,01,1\n"


class Quiet:
    def log(self, *args: object, **kwargs: object) -> None: ...

    def rewind(self, *args: object, **kwargs: object) -> None: ...

    def __call__(self, *args: object) -> None: ...


def published(tmp_path: Path) -> pl.DataFrame:
    raw = tmp_path / "a.csv"
    raw.write_text(CSV)
    source = CaptureSource(
        capture="a", path=str(raw), sha256="", split="train", vehicle="v", base_capture="a", attack="dos"
    )
    quiet = Quiet()
    out = Output(tmp_path / "out", tmp_path / "scratch", quiet, quiet)
    ingest(IngestConfig(dataset="mine", sources=(source,)), Inputs({}), out)
    return pl.read_parquet(tmp_path / "out" / "catalog.parquet")


def copy_at(path: Path, text: str, dataset: str = "mine") -> FiledElsewhere:
    path.write_text(text)
    return FiledElsewhere(capture="a", dataset=dataset, place=f"again/{path.stem}", path=str(path))


def test_a_copy_is_compared_by_its_frames_not_by_its_bytes(tmp_path: Path) -> None:
    sha = published(tmp_path)["frames_sha256"][0]
    assert compare(copy_at(tmp_path / "b.csv", CSV.replace("\n", "\r\n")), sha) == SAME
    assert compare(copy_at(tmp_path / "c.csv", CSV.replace("01,1", "02,1")), sha) == OTHER
    assert compare(copy_at(tmp_path / "d.csv", "nothing of a capture"), sha) == UNREADABLE
    assert compare(FiledElsewhere(capture="a", dataset="mine", place="x"), sha) == ABSENT


def test_copies_in_the_dataset_are_worth_knowing_and_false_ones_a_warning(tmp_path: Path) -> None:
    catalog = published(tmp_path)
    same, other = copy_at(tmp_path / "b.csv", CSV), copy_at(tmp_path / "c.csv", CSV.replace("01,1", "02,1"))
    (found,) = findings([same], catalog)
    assert (found.id, found.severity) == ("recording_filed_again", "info")
    assert "a as mine/again/b again (identical frames: 1)" in found.message
    (found,) = findings([same, other], catalog)
    assert found.severity == "warning"


def test_the_same_recording_in_another_dataset_is_a_warning_even_where_that_is_not_here(
    tmp_path: Path,
) -> None:
    known = FiledElsewhere(capture="a", dataset="theirs", place="test/z")
    (found,) = findings([known], published(tmp_path))
    assert (found.id, found.severity) == ("recording_in_other_dataset", "warning")
    assert found.evidence["places"][0]["compared"] == ABSENT


def test_a_place_of_a_capture_that_is_not_used_is_no_finding(tmp_path: Path) -> None:
    assert list(findings([FiledElsewhere(capture="z", dataset="d", place="p")], published(tmp_path))) == []
