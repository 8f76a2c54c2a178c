"""The simulated captures behave like a bus, attacks do what they say, and the truth is written down."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candor.flow.stage import Inputs, Output
from candor.ids.captures import frames as fr
from candor.ids.captures.ingest import ingest
from candor.ids.captures.synthetic import bus
from candor.ids.captures.synthetic.generate import Recording, Shot, _rng, generate, record, schedule, shots
from candor.ids.captures.synthetic.messages import Checksum, checksum
from candor.ids.captures.synthetic.vehicle import Vehicle, fleet
from candor.ids.config import IngestConfig, SyntheticConfig

CONFIG = SyntheticConfig(benign_s=20.0, attack_s=24.0)
FAMILIES = ("flooding", "fuzzing", "spoofing_gear", "spoofing_rpm", "replay", "suppress", "masquerade")


@pytest.fixture(scope="module")
def cars() -> tuple[Vehicle, ...]:
    return fleet(3, 24, _rng(CONFIG, 0))


@pytest.fixture(scope="module")
def recordings(cars: tuple[Vehicle, ...]) -> dict[str, Recording]:
    """One capture of car_b per attack, and the attack-free one under ""."""
    return {
        a: record(CONFIG, cars[1], Shot(1, a, "test", "s"), 10 + i) for i, a in enumerate(("", *FAMILIES))
    }


def within(table: pl.DataFrame, bursts: list[tuple[float, float]]) -> pl.Series:
    """Which frames lie in a burst; recorded times are rounded to the microsecond, bursts are not."""
    t = table["timestamp"] - table["timestamp"][0]
    inside = pl.Series([False] * len(t))
    for start, end in bursts:
        inside = inside | t.is_between(start - 2e-6, end + 2e-6)
    return inside


def occupied(table: pl.DataFrame) -> np.ndarray:
    return bus.frame_seconds(table["id"].to_numpy(), table["dlc"].to_numpy(), CONFIG.bitrate_bps)


@pytest.mark.parametrize("attack", ["", *FAMILIES])
def test_frames_are_valid_and_never_overlap_on_the_wire(
    recordings: dict[str, Recording], attack: str
) -> None:
    table = fr.validate(recordings[attack].table)
    t = table["timestamp"].to_numpy()
    # Times are rounded to the microsecond, so two neighbours may seem one microsecond too close.
    assert np.all(np.diff(t) >= occupied(table)[1:] - 2e-6)


@pytest.mark.parametrize("attack", ["", *FAMILIES])
def test_the_bus_load_stays_below_one(recordings: dict[str, Recording], attack: str) -> None:
    table = recordings[attack].table
    t = table["timestamp"].to_numpy()
    load = occupied(table).sum() / (t[-1] - t[0])
    assert 0.05 < load < 1.0


def test_periods_are_kept_up_to_drift_and_jitter(
    recordings: dict[str, Recording], cars: tuple[Vehicle, ...]
) -> None:
    table = recordings[""].table
    for message in cars[1].messages:
        times = table.filter(pl.col("id") == message.id)["timestamp"].to_numpy()
        if not message.period_s:
            continue
        gaps = np.diff(times)
        assert abs(np.median(gaps) / message.period_s - 1.0) < 0.02
        # Jitter of both ends, and a few frames of waiting.
        assert np.abs(gaps - message.period_s).max() < 8 * message.jitter_s + 2e-3


def test_gaps_are_not_all_the_same(recordings: dict[str, Recording], cars: tuple[Vehicle, ...]) -> None:
    times = recordings[""].table.filter(pl.col("id") == cars[1].role("rpm").id)["timestamp"].to_numpy()
    assert np.diff(times).std() > 1e-5


def test_checksums_and_counters_are_right_on_benign_traffic(
    recordings: dict[str, Recording], cars: tuple[Vehicle, ...]
) -> None:
    checked = 0
    for message in cars[1].messages:
        table = recordings[""].table.filter(pl.col("id") == message.id)
        data = fr.first_bytes(table["data"])
        for field in message.fields:
            if isinstance(field, Checksum):
                assert np.array_equal(checksum(message, field, data), data[:, field.byte])
                checked += 1
    assert checked >= 5


def waits(config: SyntheticConfig, car: Vehicle, attack: str) -> pl.DataFrame:
    """Delay behind the own period's grid, per ID, inside bursts."""
    recording = record(config, car, Shot(1, attack, "test", ""), 3)
    table = recording.table
    inside = table.filter(within(table, recording.bursts))
    return (
        inside.filter(pl.col("label") == 0)
        .group_by("id")
        .agg(pl.col("timestamp").diff().std().alias("spread"))
    )


def test_lower_identifiers_wait_less_under_flooding() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    release = np.sort(rng.uniform(0, 1.0, n))
    ids = rng.choice(np.array([0x000, 0x100, 0x300, 0x700], dtype=np.uint32), n, p=[0.7, 0.1, 0.1, 0.1])
    seconds = bus.frame_seconds(ids, np.full(n, 8, dtype=np.uint8), 1_000_000)
    delay = bus.arbitrate(release, ids, seconds) - release
    means = [delay[ids == i].mean() for i in (0x000, 0x100, 0x300, 0x700)]
    assert means == sorted(means)
    assert means[3] > 2 * means[0]


def test_flooding_delays_the_cars_own_frames(cars: tuple[Vehicle, ...]) -> None:
    slow = CONFIG.model_copy(update={"bitrate_bps": 250_000})
    flooded = waits(slow, cars[1], "flooding").rename({"spread": "flooded"})
    free = waits(slow, cars[1], "suppress")
    both = flooded.join(free, on="id").drop_nulls()
    assert (both["flooded"] > both["spread"]).mean() > 0.7


@pytest.mark.parametrize("attack", FAMILIES)
def test_attack_frames_lie_inside_their_bursts_after_the_quiet_start(
    recordings: dict[str, Recording], attack: str
) -> None:
    recording = recordings[attack]
    assert len(recording.bursts) == 3
    assert all(start > 11.9 and end > start for start, end in recording.bursts)
    inside = within(recording.table, recording.bursts)
    hits = recording.table["label"] == 1
    assert not (hits & ~inside).any()
    assert hits.any() == (attack != "suppress")
    assert set(recording.table.filter(hits)["attack"].unique()) <= {attack}


def test_each_attack_does_what_it_says(recordings: dict[str, Recording], cars: tuple[Vehicle, ...]) -> None:
    car, hits = cars[1], {a: r.table.filter(pl.col("label") == 1) for a, r in recordings.items()}
    own = {m.id for m in car.messages}
    assert hits["flooding"]["id"].unique().to_list() == [0]
    assert hits["fuzzing"]["id"].n_unique() > 500
    assert hits["spoofing_gear"]["id"].unique().to_list() == [car.role("gear").id]
    assert hits["spoofing_rpm"]["id"].unique().to_list() == [car.role("rpm").id]
    assert hits["masquerade"]["id"].unique().to_list() == [car.role("speed").id]
    assert set(hits["replay"]["id"]) < own
    assert hits["replay"]["id"].n_unique() > 5


def test_replayed_payloads_were_sent_before(recordings: dict[str, Recording]) -> None:
    table = recordings["replay"].table
    seen = table.filter(pl.col("label") == 0).select("id", "data").unique()
    assert table.filter(pl.col("label") == 1).join(seen, on=["id", "data"], how="anti").is_empty()


def test_a_suppressed_message_is_gone_and_comes_back(
    recordings: dict[str, Recording], cars: tuple[Vehicle, ...]
) -> None:
    recording = recordings["suppress"]
    inside = within(recording.table, recording.bursts)
    id_ = cars[1].role("steering").id
    present = recording.table["id"] == id_
    # A frame released just before a burst may end inside it.
    assert int((present & inside).sum()) <= 3
    assert int((present & ~inside).sum()) > 500


def test_a_masquerade_keeps_rate_and_checksum_and_changes_the_value(
    recordings: dict[str, Recording], cars: tuple[Vehicle, ...]
) -> None:
    message = cars[1].role("speed")
    table = recordings["masquerade"].table.filter(pl.col("id") == message.id)
    gaps = np.diff(table["timestamp"].to_numpy())
    assert np.abs(gaps - message.period_s).max() < 5e-3
    data = fr.first_bytes(table["data"])
    field = next(f for f in message.fields if isinstance(f, Checksum))
    assert np.array_equal(checksum(message, field, data), data[:, field.byte])
    value = data[:, 0].astype(int) * 256 + data[:, 1]
    edges = np.flatnonzero(np.diff(table["label"].to_numpy().astype(int)) == -1)
    assert all(abs(value[i + 1] - value[i]) > 5000 for i in edges)


def test_the_plan_has_four_scenarios_and_no_unknown_in_training() -> None:
    plan = shots(SyntheticConfig())
    assert {s.scenario for s in plan if s.split == "test"} == {
        "known_vehicle_known_attack",
        "unknown_vehicle_known_attack",
        "known_vehicle_unknown_attack",
        "unknown_vehicle_unknown_attack",
    }
    trained = {(s.vehicle, s.attack) for s in plan if s.split == "train"}
    assert trained == {(0, ""), (1, ""), (0, "flooding"), (1, "fuzzing"), (0, "spoofing_gear")}
    for shot in plan:
        if shot.split == "test":
            assert ("unknown_vehicle" in shot.scenario) == (shot.vehicle == 2)
            assert ("unknown_attack" in shot.scenario) == (shot.attack not in {a for _, a in trained})
            assert (shot.vehicle, shot.attack) not in trained
    assert len({s.name for s in plan}) == len(plan)


def test_a_single_vehicle_has_no_unknown_vehicle_scenario() -> None:
    plan = shots(SyntheticConfig(vehicles=1))
    assert {s.vehicle for s in plan} == {0}
    assert not any("unknown_vehicle" in s.scenario for s in plan)


def test_bursts_are_apart() -> None:
    for seed in range(20):
        bursts = schedule(32.0, np.random.default_rng(seed))
        assert bursts[-1][1] < 32.0
        for (_, end), (start, _) in itertools.pairwise(bursts):
            assert start - end > 0.5


@pytest.fixture
def generated(stage_output: Output) -> Output:
    generate(SyntheticConfig(benign_s=5.0, attack_s=15.0), Inputs({}), stage_output)
    return stage_output


def test_every_format_is_written_and_ingested_back(generated: Output, tmp_path: Path) -> None:
    out = Output(tmp_path / "ingested", tmp_path, generated.recorder, generated.progress)
    out.path.mkdir()
    ingest(IngestConfig(dataset="synthetic"), Inputs({"captures": generated.path}), out)
    catalog = pl.read_parquet(out.path / "catalog.parquet")
    assert set(catalog["format"]) == {"can_train_and_test", "hcrl_csv", "hcrl_txt", "candump"}
    assert {Path(s).suffix for s in catalog["source"]} == {".csv", ".parquet", ".log", ".gz"}
    assert (catalog["quarantined"].sum(), catalog["time_reversals"].sum()) == (0, 0)
    assert catalog["labelled"].all()
    events = pl.read_parquet(out.path / "events.parquet")
    assert events.height == 3 * catalog.filter(pl.col("attack") != "").height
    assert "suppress" in events["attack"].to_list()


def test_raw_files_hold_exactly_what_was_simulated(generated: Output, tmp_path: Path) -> None:
    config = SyntheticConfig(benign_s=5.0, attack_s=15.0)
    out = Output(tmp_path / "ingested", tmp_path, generated.recorder, generated.progress)
    out.path.mkdir()
    ingest(IngestConfig(dataset="synthetic"), Inputs({"captures": generated.path}), out)
    fleet_ = fleet(config.vehicles, config.ids_per_vehicle, _rng(config, 0))
    for i, shot in enumerate(shots(config)):
        made = record(config, fleet_[shot.vehicle], shot, i).table
        read = pl.read_parquet(out.path / "frames" / f"{shot.name}.parquet")
        assert read.drop("channel").equals(made.drop("channel")), shot.name


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    generated: Output, tmp_path: Path
) -> None:
    def digests(seed: int, name: str) -> list[str]:
        out = Output(tmp_path / name, tmp_path, generated.recorder, generated.progress)
        out.path.mkdir()
        generate(SyntheticConfig(seed=seed, benign_s=5.0, attack_s=15.0), Inputs({}), out)
        return [entry["sha256"] for entry in json.loads((out.path / "captures.json").read_text())]

    first = [entry["sha256"] for entry in json.loads((generated.path / "captures.json").read_text())]
    assert digests(0, "same") == first
    assert not set(digests(1, "other")) & set(first)


def test_the_default_size_stays_quick() -> None:
    config = SyntheticConfig()
    plan = shots(config)
    seconds = sum(config.attack_s if s.attack else config.benign_s for s in plan)
    assert 12 <= len(plan) <= 20
    assert seconds < 700
