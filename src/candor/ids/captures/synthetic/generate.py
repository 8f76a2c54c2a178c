"""The generate stage: a fleet, its captures and their truth, written as raw files in every format Candor reads.

Layout of the artifact: ``raw/<capture>.<suffix>`` and ``captures.json``, a list of CaptureSource whose paths are
relative to the artifact and whose events are the attack bursts.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures import can_train_and_test, candump, frames, hcrl_csv, hcrl_txt
from candor.ids.captures.synthetic import bus
from candor.ids.captures.synthetic.attacks import ATTACKS, Burst, Scene
from candor.ids.captures.synthetic.drive import drive
from candor.ids.captures.synthetic.traffic import Traffic, benign
from candor.ids.captures.synthetic.vehicle import Vehicle, fleet, vehicle_name
from candor.ids.config import AttackInterval, CaptureSource, SyntheticConfig

FormatName = Literal["can_train_and_test", "hcrl_csv", "hcrl_txt", "candump"]

#: Families that occur in training, and those that only occur in tests.
KNOWN: Final = ("flooding", "fuzzing", "spoofing_gear")
UNKNOWN: Final = ("spoofing_rpm", "replay", "suppress", "masquerade")
#: Tests of the car never seen in training use these of the unknown families.
_UNKNOWN_ON_UNKNOWN: Final = ("spoofing_rpm", "masquerade")

#: Attacks come after this; the seconds before may calibrate a benign profile.
ATTACK_FREE_S: Final = 12.0
_BURSTS = 3
#: Wall time of the first capture, s since 1970; captures follow each other by an hour.
_EPOCH_S, _APART_S = 1_700_000_000, 3600


@dataclass(frozen=True)
class Shot:
    """One capture to simulate: which car (index), which attack ("" none), where it is used."""

    vehicle: int
    attack: str
    split: Literal["train", "test"]
    scenario: str

    @property
    def name(self) -> str:
        """``car_a-flooding-train``."""
        return f"{vehicle_name(self.vehicle)}-{self.attack or 'attack_free'}-{self.split}"


@dataclass(frozen=True)
class Recording:
    """A simulated capture: the frame table, and the bursts in s since its first frame."""

    table: pl.DataFrame
    bursts: list[Burst]


def shots(config: SyntheticConfig) -> list[Shot]:
    """All captures of the data set. The last of several cars is unknown: it occurs in tests only."""
    known = list(range(max(config.vehicles - 1, 1)))
    out = [Shot(v, "", "train", "") for v in known]
    # A family trained on one car is tested on the next, so that no car stands for a family.
    out += [Shot(known[i % len(known)], family, "train", "") for i, family in enumerate(KNOWN)]
    for i, family in enumerate(KNOWN):
        out.append(Shot(known[(i + 1) % len(known)], family, "test", "known_vehicle_known_attack"))
    if config.vehicles > 1:
        out += [Shot(config.vehicles - 1, family, "test", "unknown_vehicle_known_attack") for family in KNOWN]
    for i, family in enumerate(UNKNOWN):
        out.append(Shot(known[i % len(known)], family, "test", "known_vehicle_unknown_attack"))
    if config.vehicles > 1:
        last = config.vehicles - 1
        out += [
            Shot(last, family, "test", "unknown_vehicle_unknown_attack") for family in _UNKNOWN_ON_UNKNOWN
        ]
    return out


def generate(config: SyntheticConfig, inputs: Inputs, out: Output) -> Result:
    """Simulate every capture and write it raw."""
    cars = fleet(config.vehicles, config.ids_per_vehicle, _rng(config, 0))
    plan = shots(config)
    raw = out.path / "raw"
    sources: list[CaptureSource] = []
    total = 0
    for i, shot in enumerate(plan):
        recording = record(config, cars[shot.vehicle], shot, i)
        name, format_name, content = _encode(shot, i, recording.table)
        with frames.storage(raw / name) as path:
            path.write_bytes(content)
        sources.append(_source(shot, recording, f"raw/{name}", format_name, content))
        total += recording.table.height
        out.progress(i + 1, len(plan), shot.name)
    listing = [source.model_dump(mode="json") for source in sources]
    with frames.storage(out.path / "captures.json") as path:
        path.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    return Result({"captures": len(plan), "frames": total, "vehicles": len(cars), "seed": config.seed})


def record(config: SyntheticConfig, vehicle: Vehicle, shot: Shot, number: int) -> Recording:
    """One capture as the logger sees it: frames in the order they end on the wire, to the microsecond."""
    rng = _rng(config, 1, number)
    duration_s = config.attack_s if shot.attack else config.benign_s
    trip = drive(duration_s, rng)
    traffic = benign(vehicle, trip, duration_s, rng)
    bursts = schedule(duration_s, rng) if shot.attack else []
    if shot.attack:
        traffic = ATTACKS[shot.attack](Scene(vehicle, trip, traffic, bursts), rng)
    seconds = bus.frame_seconds(traffic.id, traffic.dlc, config.bitrate_bps)
    end_s = bus.arbitrate(traffic.release_s, traffic.id, seconds) + seconds
    order = np.argsort(end_s, kind="stable")
    # The logger starts with the first frame.
    since_first = end_s - end_s[order[0]]
    start_s = 0 if shot.attack == "" and number == 0 else _EPOCH_S + number * _APART_S
    table = _table(traffic, since_first, order, start_s, shot.attack)
    labelled = since_first[traffic.label == 1]
    return Recording(table, [_extent(b, float(end_s[order[0]]), labelled) for b in bursts])


def schedule(duration_s: float, rng: np.random.Generator) -> list[Burst]:
    """Bursts (start, end) in s: one in each third of the time left after the attack-free start, gaps between them."""
    slot = (duration_s - ATTACK_FREE_S) / _BURSTS
    starts = ATTACK_FREE_S + slot * (np.arange(_BURSTS) + rng.uniform(0.05, 0.25, _BURSTS))
    return [
        (float(s), float(s + slot * length))
        for s, length in zip(starts, rng.uniform(0.4, 0.6, _BURSTS), strict=True)
    ]


def _extent(burst: Burst, first_s: float, labelled: np.ndarray) -> Burst:
    """A burst since the first frame, stretched to attack frames that had to wait for the bus."""
    start, end = burst[0] - first_s, burst[1] - first_s
    own = labelled[(labelled >= start) & (labelled < end + 1.0)]
    return (start, max(end, float(own.max())) if len(own) else end)


def _table(
    traffic: Traffic, since_first: np.ndarray, order: np.ndarray, start_s: int, attack: str
) -> pl.DataFrame:
    """Traffic in wire order as a frame table; times are whole microseconds, as loggers print them."""
    micros = np.rint(since_first[order] * 1e6).astype(np.int64) + start_s * 1_000_000
    dlc, label, ids = traffic.dlc[order], traffic.label[order], traffic.id[order]
    payloads = [
        row[:length] for row, length in zip(map(bytes, traffic.data[order]), dlc.tolist(), strict=True)
    ]
    extended = np.where(ids > frames.MAX_STANDARD_ID, frames.EXTENDED, 0).astype(np.uint8)
    table = {
        "timestamp": micros / 1e6,
        "id": ids,
        "data": payloads,
        "dlc": dlc,
        "label": label,
        "attack": np.where(label == 1, attack, ""),
        "flags": extended,
        "channel": [""] * len(ids),
    }
    return pl.DataFrame(table, schema=frames.COLUMNS)


def _encode(shot: Shot, number: int, table: pl.DataFrame) -> tuple[str, FormatName, bytes]:
    """File name, format and content. Formats without labels serve where no frame is an attack frame."""
    if not shot.attack:
        if number % 2:
            return f"{shot.name}.log", "candump", candump.write(table)
        content = hcrl_txt.write(table)
        return f"{shot.name}.txt.gz", "hcrl_txt", gzip.compress(content, compresslevel=4, mtime=0)
    match number % 3:
        case 0:
            return f"{shot.name}.csv", "can_train_and_test", can_train_and_test.write(table)
        case 1:
            return f"{shot.name}.csv", "hcrl_csv", hcrl_csv.write(table)
        case _:
            return (
                f"{shot.name}.parquet",
                "can_train_and_test",
                can_train_and_test.write_parquet(table, shot.name),
            )


def _source(
    shot: Shot, recording: Recording, path: str, format_name: FormatName, content: bytes
) -> CaptureSource:
    intervals = [AttackInterval(attack=shot.attack, t_start=a, t_end=b) for a, b in recording.bursts]
    return CaptureSource(
        capture=shot.name,
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        format=format_name,
        split=shot.split,
        scenario=shot.scenario,
        vehicle=vehicle_name(shot.vehicle),
        base_capture=shot.name,
        attack=shot.attack,
        unlabelled_as="benign" if not shot.attack else "unknown",
        events=tuple(intervals),
    )


def _rng(config: SyntheticConfig, *path: int) -> np.random.Generator:
    """A stream of its own for each part, so that one more capture leaves the others as they are."""
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=path))
