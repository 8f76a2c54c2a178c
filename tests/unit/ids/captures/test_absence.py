from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import DataError
from candor.flow.stage import Inputs, Output
from candor.ids.captures.absence import Heard, find, measure
from candor.ids.captures.ingest import ingest
from candor.ids.config import Absence, AttackInterval, CaptureSource, IngestConfig

MakeSource = Callable[..., CaptureSource]
#: A busy machine is no failure.
QUICK = settings(max_examples=20, deadline=None)
PERIODS = {0x10: 0.01, 0x20: 0.02, 0x30: 0.1, 0x40: 0.5}


def drive(seed: int, seconds: float = 30.0, jitter: float = 0.1) -> Heard:
    """Cyclic IDs with jitter, and 0x7F, which sends by event."""
    rng = np.random.default_rng(seed)
    t, key = [], []
    for ident, period in PERIODS.items():
        times = np.arange(rng.uniform(0, period), seconds, period)
        t.append(np.abs(times + rng.uniform(-jitter, jitter, len(times)) * period))
        key.append(np.full(len(times), ident))
    by_event = np.sort(rng.uniform(0, seconds, 40)) ** 2 / seconds
    t.append(by_event)
    key.append(np.full(len(by_event), 0x7F))
    order = np.argsort(np.concatenate(t), kind="stable")
    when = np.concatenate(t)[order]
    return Heard(when - when[0], np.concatenate(key)[order].astype(np.int64))


def without(heard: Heard, ident: int, start: float, end: float) -> Heard:
    gone = (heard.key_n == ident) & (heard.t_n >= start) & (heard.t_n < end)
    return Heard(heard.t_n[~gone], heard.key_n[~gone])


def events_of(heard: Heard, *reference: Heard, config: Absence | None = None) -> pl.DataFrame:
    rule = measure(reference, config or Absence())
    return find(heard, rule, name="c", attack="suppress", gap_s=1.0).table


@QUICK
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=3, unique=True), st.floats(0, 0.45))
def test_no_attack_free_capture_holds_an_event_by_the_rule_it_gave(seeds: list[int], jitter: float) -> None:
    reference = [drive(seed, 12.0, jitter) for seed in seeds]
    assert all(events_of(heard, *reference).is_empty() for heard in reference)


@QUICK
@given(
    st.integers(0, 10_000),
    st.sampled_from([0x10, 0x20, 0x30]),
    st.floats(3.0, 15.0),
    st.floats(2.0, 10.0),
)
def test_what_is_removed_for_longer_than_allowed_is_one_event_that_covers_it(
    seed: int, ident: int, start: float, length: float
) -> None:
    (event,) = events_of(
        without(drive(seed), ident, start, start + length), drive(seed + 1), drive(seed + 2)
    ).iter_rows(named=True)
    slack = 2.5 * PERIODS[ident]
    assert event["attack"] == "suppress"
    assert start - slack <= event["t_start"] <= start + slack
    assert start + length - slack <= event["t_end"] <= start + length + slack


@QUICK
@given(st.integers(0, 10_000), st.sampled_from(list(PERIODS)), st.floats(3.0, 20.0))
def test_a_frame_lost_now_and_then_is_none_while_the_factor_is_two_or_more(
    seed: int, ident: int, at: float
) -> None:
    clean = drive(seed, jitter=0.01)
    near = np.flatnonzero((clean.key_n == ident) & (clean.t_n >= at))
    lost = np.ones(len(clean.t_n), bool)
    lost[near[:1]] = False
    one_less = Heard(clean.t_n[lost], clean.key_n[lost])
    assert events_of(one_less, drive(seed + 1), drive(seed + 2)).is_empty()


@QUICK
@given(st.floats(1.0, 50.0), st.integers(0, 1000))
def test_a_larger_factor_never_finds_more(factor: float, seed: int) -> None:
    silent = without(drive(seed, 10.0), 0x20, 4.0, 5.0)

    def seconds(k: float) -> float:
        table = events_of(silent, drive(seed + 1, 10.0), config=Absence(factor=k))
        return float((table["t_end"] - table["t_start"]).sum())

    assert seconds(factor * 1.5) <= seconds(factor) + 1e-9


@QUICK
@given(st.floats(0.5, 20.0))
def test_a_bus_that_is_silent_as_a_whole_is_a_gap_in_the_recording(pause: float) -> None:
    whole = drive(3)
    paused = Heard(whole.t_n + np.where(whole.t_n > 15.0, pause, 0.0), whole.key_n)
    assert events_of(paused, drive(4), drive(5)).is_empty()


def test_an_id_silent_from_the_start_or_to_the_end_is_an_event() -> None:
    late = without(drive(1), 0x30, 0.0, 5.0)
    gone = without(drive(1), 0x30, 25.0, 99.0)
    (first,) = events_of(late, drive(2), drive(3)).iter_rows(named=True)
    (last,) = events_of(gone, drive(2), drive(3)).iter_rows(named=True)
    assert first["t_start"] < 0.2
    assert last["t_end"] == pytest.approx(gone.t_n[-1])


def test_an_id_that_sends_by_event_is_never_missed_and_one_never_heard_is_only_told() -> None:
    rule = measure([drive(1), drive(2)], Absence())
    assert 0x7F not in rule.longest_s
    never = find(without(drive(3), 0x20, 0, 99), rule, name="c", attack="suppress", gap_s=1.0)
    assert never.table.is_empty()
    assert never.never == (0x20,)


def test_the_reference_sets_the_factor_of_its_restless_ids_alone() -> None:
    restless = without(drive(1), 0x30, 8.0, 10.0)
    rule = measure([restless, drive(2)], Absence())
    assert rule.factor[0x30] > 10
    assert rule.factor[0x10] < 4


def test_several_ids_silent_together_are_one_event() -> None:
    silent = without(without(drive(1), 0x10, 5.0, 9.0), 0x20, 6.0, 11.0)
    assert events_of(silent, drive(2), drive(3)).height == 1


# ---------------------------------------------------------------- through ingest


def csv(heard: Heard, label: int = 0) -> str:
    rows = (f"{100 + t:.6f},{k:03X},0001,{label}" for t, k in zip(heard.t_n, heard.key_n, strict=True))
    return "timestamp,arbitration_id,data_field,attack\n" + "\n".join(rows) + "\n"


def suppressed(make_source: MakeSource, **more: object) -> CaptureSource:
    known = {"attack": "suppress", "split": "test", "scenario": "suppress", "events": Absence()} | more
    return make_source("mute.csv", csv(without(drive(1), 0x20, 10.0, 14.0)), **known)


def run(out: Output, *sources: CaptureSource) -> pl.DataFrame:
    ingest(IngestConfig(dataset="d", sources=sources), Inputs({}), out)
    return pl.read_parquet(out.path / "events.parquet")


def test_ingest_derives_the_events_and_tells_how(make_source: MakeSource, stage_output: Output) -> None:
    free = [make_source(f"free{i}.csv", csv(drive(i))) for i in (2, 3)]
    (event,) = run(stage_output, suppressed(make_source), *free).iter_rows(named=True)
    assert (event["capture"], event["attack"]) == ("mute", "suppress")
    assert 9.9 < event["t_start"] < 10.1
    assert 13.9 < event["t_end"] < 14.1
    (told,) = json.loads((stage_output.path / "truth.json").read_text())
    assert told["reference"] == ["free2", "free3"]
    assert told["silent"] == {"20": 1}


def test_without_absence_nothing_is_told(make_source: MakeSource, stage_output: Output) -> None:
    run(stage_output, make_source("free.csv", csv(drive(2))))
    assert not (stage_output.path / "truth.json").exists()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"vehicle": "another"}, "no attack-free capture of its vehicle"),
        ({"attack": "dos"}, "no attack-free capture of its vehicle"),
    ],
)
def test_without_an_attack_free_capture_of_the_vehicle_ingest_stops(
    make_source: MakeSource, stage_output: Output, other: dict[str, str], says: str
) -> None:
    with pytest.raises(DataError, match=says) as e:
        run(stage_output, suppressed(make_source), make_source("free.csv", csv(drive(2)), **other))
    assert "mute" in str(e.value)


def test_a_capture_in_which_nothing_is_silent_is_refused_not_called_benign(
    make_source: MakeSource, stage_output: Output
) -> None:
    calm = make_source("calm.csv", csv(drive(1)), attack="suppress", split="test", events=Absence())
    with pytest.raises(DataError, match="none of 4 IDs is silent for longer"):
        run(
            stage_output, calm, make_source("free.csv", csv(drive(2))), make_source("more.csv", csv(drive(3)))
        )


def test_a_reference_too_short_to_tell_is_refused(make_source: MakeSource, stage_output: Output) -> None:
    with pytest.raises(DataError, match="sends in cycles"):
        run(stage_output, suppressed(make_source), make_source("free.csv", csv(drive(2, 0.1))))


def test_a_reference_by_name_must_be_attack_free(make_source: MakeSource, stage_output: Output) -> None:
    free = make_source("free.csv", csv(drive(2)))
    with pytest.raises(DataError, match="'nobody' is no attack-free capture"):
        run(stage_output, suppressed(make_source, events=Absence(reference=("nobody",))), free)


def test_a_format_without_time_has_no_silences(make_source: MakeSource, stage_output: Output) -> None:
    rows = "".join(f"{i % 7},1,2,3,4,5,6,7,8,BENIGN,BENIGN,BENIGN\n" for i in range(50))
    head = "ID,DATA_0,DATA_1,DATA_2,DATA_3,DATA_4,DATA_5,DATA_6,DATA_7,label,category,specific_class\n"
    mute = make_source(
        "mute.csv", head + rows, format="ciciov2024", attack="suppress", split="test", events=Absence()
    )
    with pytest.raises(DataError, match="no timestamps"):
        run(stage_output, mute, make_source("free.csv", csv(drive(2))))


@pytest.mark.parametrize("family", ["suppress", "masquerade"])
def test_intervals_without_a_frame_make_events_and_an_unlabelled_capture_labelled(
    make_source: MakeSource, stage_output: Output, family: str
) -> None:
    declared = (AttackInterval(attack=family, t_start=1.0, t_end=2.0),)
    text = "(5.0) can0 123#01\n(7.1) can0 123#02\n"
    source = make_source("a.log", text, attack=family, split="test", events=declared)
    assert run(stage_output, source).rows() == [("a", family, 1.0, 2.0)]
    assert pl.read_parquet(stage_output.path / "catalog.parquet")["labelled"].to_list() == [True]


def test_an_interval_with_an_id_labels_the_masquerades_frames(
    make_source: MakeSource, stage_output: Output
) -> None:
    declared = (AttackInterval(attack="masquerade", t_start=1.0, t_end=2.0, id=0x123),)
    text = "(5.0) can0 123#01\n(6.5) can0 123#02\n(6.6) can0 124#02\n(8.0) can0 123#02\n"
    source = make_source("a.log", text, attack="masquerade", split="test", events=declared)
    assert run(stage_output, source).rows() == [("a", "masquerade", 1.0, 2.0)]
    frames = pl.read_parquet(stage_output.path / "frames" / "a.parquet")
    assert frames["label"].to_list() == [0, 1, 0, 0]
