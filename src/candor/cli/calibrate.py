"""``candor calibrate``: a vehicle's benign profile, as one file pair that a detector loads where it is deployed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output

if TYPE_CHECKING:
    from candor.ids.captures.frame_file import FrameFile
    from candor.ids.graphs.profile import Profile


def calibrate(
    capture: Annotated[
        Path, typer.Argument(help="A recording, in any format of docs/formats.md.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Profile to write: FILE.parquet and FILE.json.", show_default=False),
    ],
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            help="Only the first so many, leaving out what in them stands out; 0: all of it, taken as attack-free.",
            min=0,
        ),
    ] = 0.0,
    vehicle: Annotated[str, typer.Option("--vehicle", help="Vehicle it was recorded in.")] = "",
    format_: Annotated[
        str,
        typer.Option("--format", "-f", help="Format of the file, instead of what its content looks like."),
    ] = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Measure a vehicle's benign traffic, without labels: what every feature is relative to."""
    from candor.errors import DataError

    with tempfile.TemporaryDirectory() as scratch:
        frames, name = _frames(capture, format_, Path(scratch))
        if not len(frames):
            raise DataError(
                "the capture holds no frame",
                place=str(capture),
                hint="Name a recording of the vehicle's bus.",
            )
        profile = _measured(frames, seconds, vehicle, name, Path(scratch))
    if profile.seconds <= 0:
        raise DataError(
            "all frames have one time, so there is no rhythm to measure",
            place=str(capture),
            hint="Record for longer, or ask for more --seconds.",
        )
    target = out.with_suffix("") if out.suffix in (".parquet", ".json") else out
    profile.save(target.parent, target.name)
    _tell(profile, target, as_json=as_json)


def _frames(capture: Path, format_: str, scratch: Path) -> tuple[FrameFile, str]:
    """Frames of a raw file, checked as ``candor ingest`` would, and its name; they lie below ``scratch``."""
    from candor.cli.ingest import chosen_options
    from candor.errors import ConfigError
    from candor.ids.captures import importing, sources
    from candor.ids.captures.frame_file import FrameFile

    found = sources.find([capture])
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} files, and a profile is of one recording",
            place=str(capture),
            hint="Name one file.",
        )
    done = importing.import_file(found[0], scratch, chosen_options(format_))
    if not done.record.timed:
        raise ConfigError(
            f"{done.record.format} has no timestamps, so there is no rhythm to measure",
            place=str(capture),
            hint="Name a recording in a format with times (docs/formats.md).",
        )
    return FrameFile(done.folder / "frames.parquet"), done.record.capture


def _measured(frames: FrameFile, seconds: float, vehicle: str, name: str, scratch: Path) -> Profile:
    """Profile of the first ``seconds``, or of all of it."""
    from candor.ids.graphs.calibration import beginning, first_seconds
    from candor.ids.graphs.tally import Tally, add_capture

    if seconds:
        start = beginning(frames, seconds)
        return first_seconds(start, seconds, vehicle=vehicle, capture=name, robust=True)
    with Tally(scratch) as tally:
        add_capture(tally, frames)
        return tally.profile(kind="attack_free", vehicle=vehicle, source=[name])


def _tell(profile: Profile, target: Path, *, as_json: bool) -> None:
    from candor.ids.graphs.profile import PROFILE_VERSION

    told = {
        "profile": str(target),
        "version": PROFILE_VERSION,
        "kind": profile.kind,
        "vehicle": profile.vehicle,
        "ids": len(profile.key_P),
        "frames": profile.frames,
        "seconds": profile.seconds,
        "set_aside_s": profile.set_aside_s,
        "frames_per_s": profile.frames_per_s,
    }
    if as_json:
        output.as_json(told)
        return
    output.say(
        f"{len(profile.key_P)} IDs, {profile.frames:,} frames of {profile.seconds:.1f} s ({profile.frames_per_s:.0f} a second)."
    )
    if profile.set_aside_s > 0:
        output.say(
            f"{profile.set_aside_s:.1f} s more were set aside: they hold clearly more frames than the calmer ones."
        )
    output.say(f"Profile: {target}.parquet, {target}.json")
