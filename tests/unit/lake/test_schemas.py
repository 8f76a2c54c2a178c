"""The tables of the lake: their schemas, and that real records fit them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from flow_kit import Kit, toy_plan

from candor.flow.attempt import Outcome
from candor.flow.run import Run
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


def _row(schema: pa.Schema, facts: dict[str, object]) -> dict[str, object]:
    """A record as a row: nested values as JSON, times of day as such. A column that no record has is missing here."""
    row: dict[str, object] = {}
    for field in schema:
        value = facts[field.name]
        if pa.types.is_timestamp(field.type):
            value = datetime.fromisoformat(str(value))
        elif pa.types.is_string(field.type) and isinstance(value, dict):
            value = json.dumps(value)
        row[field.name] = value
    return row


def _table(schema: pa.Schema, rows: list[dict[str, object]]) -> pa.Table:
    """Refuses a null where the schema has none, and a value of another type."""
    table = pa.Table.from_pylist(rows, schema=schema)
    table.validate(full=True)
    for field in schema:
        assert field.nullable or table[field.name].null_count == 0, field.name
    return table


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Kit, Run]:
    """A run of which one task failed, and one went well, and which was then done again."""
    kit, plan = Kit(tmp_path), toy_plan()
    monkeypatch.setenv("TOY_FAIL", "total")
    kit.run_all(plan)
    monkeypatch.delenv("TOY_FAIL")
    kit.run_all(plan)
    return kit, kit.open(plan)


def test_what_a_run_says_of_itself_is_a_row_of_runs(ran: tuple[Kit, Run]) -> None:
    _, run = ran
    facts = {**run.info().model_dump(), "tasks": len(run.plan().tasks)}
    table = _table(schemas.RUNS, [_row(schemas.RUNS, facts)])
    assert table["run"].to_pylist() == [run.id]
    assert table["created"].to_pylist()[0] <= table["last_started"].to_pylist()[0]


def test_every_attempt_is_a_row_of_tasks_failed_and_running_ones_too(ran: tuple[Kit, Run]) -> None:
    _, run = ran
    records = [a.record for t in run.plan().tasks for a in run.attempts(t.id)]
    begun = records[0].model_copy(
        update={"outcome": "running", "duration_s": None, "peak_memory_bytes": None, "summary": None}
    )
    rows = [
        _row(schemas.TASKS, {**r.model_dump(), "host": r.process.host, "pid": r.process.pid})
        for r in [*records, begun]
    ]
    table = _table(schemas.TASKS, rows)
    told = set(zip(*(table[name].to_pylist() for name in ("task", "attempt", "outcome")), strict=True))
    assert told >= {
        ("left", 1, "succeeded"),
        ("total", 1, "failed"),
        ("total", 2, "succeeded"),
        ("left", 1, "running"),
    }
    assert {o for _, _, o in told} <= set(get_args(Outcome))
    failed = table.filter(pc.equal(table["outcome"], "failed"))
    assert "told to fail" in failed["reason"].to_pylist()[0]
    assert json.loads(table["config"].to_pylist()[0]) == records[0].config


def test_what_a_stage_logged_is_a_table_and_with_its_key_rows_of_epoch_metrics(ran: tuple[Kit, Run]) -> None:
    kit, run = ran
    artifact = kit.artifact(run.plan(), "left")
    table = pq.read_table(artifact.path / "metrics.parquet")
    assert table.schema.equals(schemas.STAGE_METRICS)
    rows = [{"key": artifact.record.key, **row} for row in table.to_pylist()]
    values = _table(schemas.EPOCH_METRICS, rows)["value"].to_pylist()
    assert values == [1.0, 2.0, 3.0]
