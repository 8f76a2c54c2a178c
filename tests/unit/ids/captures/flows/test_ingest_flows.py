import json
from pathlib import Path

import polars as pl
import pytest
from flow_texts import NF_HEAD, unsw_row
from flow_world import make_traffic, source
from tiny_world import output

from candor.errors import CaptureRejected, DataError, SchemaMismatch
from candor.flow.stage import Inputs
from candor.ids.captures.flows import schema
from candor.ids.captures.flows.config import FlowFile, FlowIngestConfig, FlowSource
from candor.ids.captures.flows.ingest import ingest_flows


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


def ingest(folder: Path, *sources: FlowSource, **changes: object) -> tuple[Path, dict[str, object]]:
    out = output(folder / "ingested")
    config = FlowIngestConfig(dataset="net", sources=sources, **changes)  # type: ignore[arg-type]
    return out.path, ingest_flows(config, Inputs({}), out).summary  # type: ignore[return-value]


def flows(folder: Path, capture: str = "a") -> pl.DataFrame:
    return schema.read(folder / "flows" / f"{capture}.parquet")


def row(folder: Path) -> dict[str, object]:
    return pl.read_parquet(folder / "catalog.parquet").row(0, named=True)


def test_flows_are_sorted_and_know_the_row_they_came_from(tmp_path: Path):
    raw = write(tmp_path / "a.csv", *(unsw_row(stime=t) for t in (12, 10, 11, 10)))
    folder, _ = ingest(tmp_path, source(raw))
    assert flows(folder).select("t_start", "row").rows() == [(10.0, 2), (10.0, 4), (11.0, 3), (12.0, 1)]
    assert row(folder)["time_reversals"] == 2


def test_bad_rows_lie_beside_the_capture_and_every_row_is_counted(tmp_path: Path):
    raw = write(tmp_path / "a.csv", unsw_row(), unsw_row(stime="x"), unsw_row(label=1, attack_cat="DoS"))
    folder, summary = ingest(tmp_path, source(raw))
    bad = pl.read_parquet(folder / "quarantine" / "a.parquet")
    assert bad.select("file", "line", "reason").rows() == [(0, 2, "time_unreadable")]
    assert (summary["flows"], summary["attack_flows"], summary["quarantined"]) == (2, 1, 1)
    assert row(folder)["attack"] == "dos"
    assert pl.read_parquet(folder / "events.parquet").rows() == [("a", "dos", 0.0, 0.0)]


def test_addresses_are_pseudonyms_unless_asked_otherwise(tmp_path: Path):
    raw = write(tmp_path / "a.csv", unsw_row(), unsw_row())
    hidden, summary = ingest(tmp_path / "1", source(raw))
    clear, said = ingest(tmp_path / "2", source(raw), pseudonymise=False)
    assert flows(clear)["src"].to_list() == [0x0A000001] * 2
    assert flows(hidden)["src"][0] != 0x0A000001
    assert flows(hidden)["src"].n_unique() == 1
    assert (summary["addresses"], said["addresses"]) == ("pseudonymised", "IN CLEAR: pseudonymise is off")
    assert not any(b"10.0.0.1" in f.read_bytes() for f in hidden.rglob("*.parquet"))


def test_parts_of_a_recording_share_it_out_by_time(tmp_path: Path):
    raw = make_traffic(tmp_path / "t.csv", flows=1000)
    first = source(raw, capture="early", part=(0.0, 0.6))
    last = source(raw, capture="late", part=(0.7, 1.0), split="test")
    folder, _ = ingest(tmp_path, first, last)
    early, late = flows(folder, "early"), flows(folder, "late")
    assert (early.height, late.height) == (600, 300)
    assert early["t_start"].max() <= late["t_start"].min()  # type: ignore[operator]
    assert not set(early["row"]) & set(late["row"])
    catalog = pl.read_parquet(folder / "catalog.parquet")
    assert catalog.select("first", "left_out").rows() == [(0, 400), (700, 700)]


def test_files_of_a_source_are_joined_and_days_cut_out(tmp_path: Path):
    day = 86400
    one = write(tmp_path / "1.csv", unsw_row(stime=day + 5), unsw_row(stime=3 * day))
    two = write(tmp_path / "2.csv", unsw_row(stime=day + 1, label=1, attack_cat="DoS"), unsw_row(stime=0))
    files = tuple(FlowFile(path=str(p), sha256="") for p in (one, two))
    folder, _ = ingest(tmp_path, source(one, files=files, between=("1970-01-02", "1970-01-04")))
    assert flows(folder).select("file", "row", "label").rows() == [(1, 1, 1), (0, 1, 0)]


def test_a_part_without_flows_is_refused(tmp_path: Path):
    raw = write(tmp_path / "a.csv", unsw_row())
    with pytest.raises(CaptureRejected, match="holds no flow of its days"):
        ingest(tmp_path, source(raw, between=("2020-01-01", "2020-01-02")))
    with pytest.raises(DataError, match="'tomorrow' is no day"):
        ingest(tmp_path, source(raw, between=("tomorrow", "2020-01-02")))


def test_formats_do_not_mix_in_a_data_set(tmp_path: Path):
    one = write(tmp_path / "1.csv", unsw_row())
    two = write(tmp_path / "2.csv", NF_HEAD + "10.0.0.1,1,10.0.0.2,80,6,280,2,40,1,4,64,1,DDoS,NF")
    with pytest.raises(SchemaMismatch, match="different formats: netflow_v2, unsw_nb15"):
        ingest(tmp_path, source(one), source(two, capture="b"))


def test_a_file_that_changed_since_planning_is_refused(tmp_path: Path):
    raw = write(tmp_path / "a.csv", unsw_row())
    planned = source(raw)
    write(raw, unsw_row(), unsw_row())
    with pytest.raises(DataError, match=r"'a\.csv' changed since the run was planned"):
        ingest(tmp_path, planned)


def test_what_is_withheld_from_models_is_said_with_its_reason(tmp_path: Path):
    folder, _ = ingest(tmp_path, source(write(tmp_path / "a.csv", unsw_row())))
    about = json.loads((folder / "features.json").read_text())
    assert "sttl" in about["withheld"]
    assert "names the machine" in about["withheld"]["sttl"]
    assert "sttl" not in about["features"]


def test_a_flow_table_is_strict(tmp_path: Path):
    folder, _ = ingest(tmp_path, source(write(tmp_path / "a.csv", unsw_row(), unsw_row(stime=1421927415))))
    good = flows(folder)
    for broken in (
        good.reverse(),
        good.with_columns(attack=pl.lit("dos")),
        good.with_columns(bytes=pl.lit(-1.0)),
        good.drop("row"),
        good.with_columns(more=1),
    ):
        with pytest.raises(SchemaMismatch, match="not a flow table"):
            schema.validate(broken)
