from __future__ import annotations

import pyarrow as pa
import pytest

from candor.lake import schemas

TABLES = {n: s for n, s in vars(schemas).items() if isinstance(s, pa.Schema) and not n.startswith("_")}


def test_the_tables_of_the_main_job_are_all_there() -> None:
    assert set(TABLES) >= {"RUNS", "TASKS", "EPOCH_METRICS", "METRICS", "PREDICTIONS", "CAPTURES"}


@pytest.mark.parametrize("name", TABLES)
def test_every_schema_names_itself_and_its_version(name: str) -> None:
    metadata = TABLES[name].metadata
    assert metadata[b"candor.table"].decode() == name.lower()
    assert metadata[b"candor.schema_version"] == b"1"


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_unique_and_units_are_spelled_out(name: str) -> None:
    names = TABLES[name].names
    assert len(set(names)) == len(names)
    assert not [n for n in names if n in ("time", "duration", "memory")]


def test_an_undefined_metric_can_be_stored_with_its_reason() -> None:
    row = {
        n: None
        if schemas.METRICS.field(n).nullable
        else ("x" if pa.types.is_string(schemas.METRICS.field(n).type) else 0)
        for n in schemas.METRICS.names
    }
    table = pa.Table.from_pylist([{**row, "undefined_reason": "no attack window"}], schema=schemas.METRICS)
    assert table["value"].to_pylist() == [None]


def test_predictions_are_scores_with_a_decision() -> None:
    assert schemas.PREDICTIONS.names == [*schemas.SCORES.names, "threshold", "prediction"]
