"""A vehicle's benign profile: per-ID timing and payload statistics that features are relative to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import SchemaMismatch, SourceMissing

# P profile IDs, B=8 payload bytes

#: Payload lengths a CAN FD DLC can state; ``dlc_mask`` has one bit each.
FD_LENGTHS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64])


#: Version of the files that ``save`` writes; a detector must not compare traffic with columns it misreads.
PROFILE_VERSION = 2


def dlc_code(dlc: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """DLC code 0..15 of payload lengths in bytes (lengths between two codes take the larger, as padding would)."""
    return np.searchsorted(FD_LENGTHS, np.minimum(dlc, 64)).astype(np.uint32)


@dataclass(frozen=True)
class Profile:
    """Benign statistics of one vehicle or one stream.

    Attributes:
        key_P: u32 ID keys (see vocabulary.id_key), ascending.
        count_P: frames of each ID.
        median_interval_s_P: median time between frames of the ID. An ID seen once has the profile's whole length:
            it is known to come no more often than that.
        log_spread_P: 1.4826 × median absolute deviation of ln(interval); 0 below two intervals.
        longest_interval_s_P: longest time between two frames of the ID: how long it may be silent. As the median
            for an ID seen once.
        bit_change_P: mean share of payload bits that change from one frame of the ID to the next.
        byte_min_PB, byte_max_PB: u8 range of each byte; a byte never carried has min 255 > max 0.
        dlc_mask_P: u32, bit c set if DLC code c was seen.
        frames_per_s: all frames / seconds.
        seconds: time measured, gaps between pieces left out.
        frames: frames measured.
        kind: ``attack_free`` (training side of attack-free captures) or ``stream`` (first seconds, unlabelled).
        vehicle: whose.
        source: captures measured.
        set_aside_s: seconds of the measured time that looked unlike the rest and were left out (see contamination).
    """

    key_P: npt.NDArray[np.uint32]
    count_P: npt.NDArray[np.int64]
    median_interval_s_P: npt.NDArray[np.float64]
    log_spread_P: npt.NDArray[np.float64]
    longest_interval_s_P: npt.NDArray[np.float64]
    bit_change_P: npt.NDArray[np.float64]
    byte_min_PB: npt.NDArray[np.uint8]
    byte_max_PB: npt.NDArray[np.uint8]
    dlc_mask_P: npt.NDArray[np.uint32]
    frames_per_s: float
    seconds: float
    frames: int
    kind: Literal["attack_free", "stream"]
    vehicle: str
    source: tuple[str, ...]
    set_aside_s: float = 0.0

    def lookup(self, key: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Row of each key and whether it is known; the row of an unknown key is 0 and must be masked."""
        if not len(self.key_P):
            return np.zeros(len(key), np.int64), np.zeros(len(key), bool)
        row = np.minimum(np.searchsorted(self.key_P, key), len(self.key_P) - 1)
        known = self.key_P[row] == key
        return np.where(known, row, 0), known

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.parquet`` (one row per ID) and ``name.json`` (the rest)."""
        columns = {
            "key": self.key_P,
            "count": self.count_P,
            "median_interval_s": self.median_interval_s_P,
            "log_spread": self.log_spread_P,
            "longest_interval_s": self.longest_interval_s_P,
            "bit_change": self.bit_change_P,
            "dlc_mask": self.dlc_mask_P,
        }
        columns |= {f"byte_min_{i}": self.byte_min_PB[:, i] for i in range(8)}
        columns |= {f"byte_max_{i}": self.byte_max_PB[:, i] for i in range(8)}
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")
        meta = {
            "version": PROFILE_VERSION,
            "frames_per_s": self.frames_per_s,
            "seconds": self.seconds,
            "frames": self.frames,
            "kind": self.kind,
            "vehicle": self.vehicle,
            "source": list(self.source),
            "set_aside_s": self.set_aside_s,
        }
        (folder / f"{name}.json").write_text(json.dumps(meta, indent=1))

    @classmethod
    def load(cls, folder: Path, name: str) -> Profile:
        """Read what ``save`` wrote. Raises SourceMissing if it is not there, SchemaMismatch if another version wrote it."""
        try:
            df = pl.read_parquet(folder / f"{name}.parquet")
            meta = json.loads((folder / f"{name}.json").read_text())
        except FileNotFoundError as e:
            raise SourceMissing(f"no profile '{name}'", place=str(folder), hint="Run calibrate again.") from e
        if meta.get("version") != PROFILE_VERSION:
            raise SchemaMismatch(
                f"profile '{name}' is of version {meta.get('version', 1)}, and {PROFILE_VERSION} is needed",
                place=str(folder),
                hint="Calibrate again.",
            )
        return cls(
            key_P=df["key"].to_numpy(),
            count_P=df["count"].to_numpy(),
            median_interval_s_P=df["median_interval_s"].to_numpy(),
            log_spread_P=df["log_spread"].to_numpy(),
            longest_interval_s_P=df["longest_interval_s"].to_numpy(),
            bit_change_P=df["bit_change"].to_numpy(),
            byte_min_PB=df.select(f"byte_min_{i}" for i in range(8)).to_numpy(),
            byte_max_PB=df.select(f"byte_max_{i}" for i in range(8)).to_numpy(),
            dlc_mask_P=df["dlc_mask"].to_numpy(),
            frames_per_s=meta["frames_per_s"],
            seconds=meta["seconds"],
            frames=meta["frames"],
            kind=meta["kind"],
            vehicle=meta["vehicle"],
            source=tuple(meta["source"]),
            set_aside_s=meta["set_aside_s"],
        )
