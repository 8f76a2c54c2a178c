"""Facts of published flow files, checked where the shared pack is at hand (it may not be redistributed)."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from candor.ids.captures import files
from candor.ids.captures.flows import formats


def parse(pack: Path, relative: str) -> formats.Read:
    return formats.read(files.read_bytes(pack / relative), relative)


@pytest.mark.parametrize(
    ("relative", "layout", "rows", "attacks"),
    [
        ("flows/dataset=unsw_nb15/split=contiguous/UNSW-NB15_1_rows00000-09999.parquet", "unsw_nb15", 10_000, 673),
        ("flows/dataset=cicids2017_improved/split=class_sample/BENIGN_5000.parquet", "cicids2017", 5000, 0),
        ("flows/dataset=cicids2017_improved/split=class_sample/Web_Attack_-_XSS_18.parquet", "cicids2017", 18, 18),
        ("flows/dataset=iot23/split=capture/CTU-Honeypot-Capture-5-1.parquet", "zeek", 1374, 0),
        ("flows/dataset=iot23/split=capture/CTU-Malware-Capture-42-1.parquet", "zeek", 4426, 6),
        ("flows/dataset=iot23/split=capture/CTU-Malware-Capture-8-1.parquet", "zeek", 10_403, 8222),
        ("raw/unsw_nb15_csv/UNSW-NB15_1_first1000_headerless.csv", "unsw_nb15", 1000, 35),
        ("raw/cicids2017_generated_labelled_flows_csv/CICIDS2017_GeneratedLabelledFlows_Friday-DDoS_first299.csv", "cicids2017", 299, 0),
        ("raw/cicids2017_machinelearningcve_csv/CICIDS2017_MachineLearningCVE_th1.csv.gz", "cicids2017_ml", 1006, 7),
        ("raw/ctu13_binetflow/ctu13_capture20110815-2_530rows.csv", "ctu13", 531, 0),
        ("raw/netflow_nf_v2_csv/NF-BoT-IoT-v2_reduced_first2000.csv", "netflow_v2", 2000, 1992),
    ],
)  # fmt: skip
def test_every_row_is_a_flow(shared_data: Path, relative: str, layout: str, rows: int, attacks: int):
    got = parse(shared_data, relative)
    flows = got.parsed.flows
    assert (got.layout.name, flows.height, got.parsed.quarantined.height) == (layout, rows, 0)
    assert int(flows["label"].sum()) == attacks


def test_the_files_with_and_without_header_hold_the_same_flows(shared_data: Path):
    with_header, bare = (
        parse(shared_data, f"raw/unsw_nb15_csv/UNSW-NB15_1_first1000_{name}.csv").parsed.flows.drop("row")
        for name in ("with_header", "headerless")
    )
    mirror = parse(
        shared_data, "flows/dataset=unsw_nb15/split=contiguous/UNSW-NB15_1_rows00000-09999.parquet"
    ).parsed.flows.drop("row")
    assert with_header.equals(bare)
    assert mirror.head(1000).equals(with_header)


def test_cicids_afternoon_is_told_from_night(shared_data: Path):
    flows = parse(
        shared_data,
        "raw/cicids2017_generated_labelled_flows_csv/CICIDS2017_GeneratedLabelledFlows_Friday-DDoS_first299.csv",
    ).parsed.flows
    hours = pl.from_epoch(flows["t_start"].cast(pl.Int64)).dt.hour().unique().to_list()
    assert hours == [15]
