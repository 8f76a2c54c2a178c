"""``capture_metadata.json`` beside the logs of ROAD: when which frames were injected. No frame of a log says so itself.

Per capture: ``injection_interval`` [from, to] in seconds since the first frame, ``injection_id`` (hexadecimal, "XXX" for
any) and ``injection_data_str`` (16 digits, X for any). A frame that fits all three is the attack's; Verma et al., "A
comprehensive guide to CAN IDS data and introduction of the ROAD dataset", PLOS ONE 19(1), 2024.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from candor.errors import DataError
from candor.ids.config import AttackInterval

NAME: Final = "capture_metadata.json"

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    """What is read of an entry; there is more (description, on_dyno, modified)."""

    elapsed_sec: _Seconds | None = None
    injection_interval: tuple[_Seconds, _Seconds] | None = None
    injection_id: str | None = None
    injection_data_str: Annotated[str, Field(pattern=r"^[0-9A-Fa-fXx]*$")] | None = None


_ENTRIES: Final = TypeAdapter(dict[str, _Entry])


def intervals(log: Path, attack: str) -> tuple[AttackInterval, ...] | None:
    """The attack of a log, named ``attack``; None where no such file lies beside the log, or it does not know it.

    An entry without interval (the accelerator attacks, whose ECU was taken over before) is an attack from the first
    frame to the last, of which no single frame is the attack's. Raises DataError for a file that is not as described.
    """
    name = log.name.removesuffix(".gz").rpartition(".")[0]
    entry = _entries(log.parent / NAME).get(name) if attack else None
    if entry is None:
        return None
    if entry.injection_interval is None:
        whole = entry.elapsed_sec
        return None if whole is None else (AttackInterval(attack=attack, t_start=0.0, t_end=whole),)
    begin, end = entry.injection_interval
    known_id = entry.injection_id not in (None, "XXX")
    try:
        ident = int(str(entry.injection_id), 16) if known_id else None
    except ValueError as e:
        raise _not_as_described(log, f"{name}: injection_id '{entry.injection_id}' is not hexadecimal") from e
    payload = (entry.injection_data_str or "").upper()
    return (AttackInterval(attack=attack, t_start=begin, t_end=end, id=ident, payload=payload),)


def _entries(path: Path) -> dict[str, _Entry]:
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as e:
        if isinstance(e, ValidationError):
            first = e.errors()[0]
            raise _not_as_described(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from e
        raise _not_as_described(path, str(e)) from e


def _not_as_described(path: Path, why: str) -> DataError:
    return DataError(
        f"{NAME} cannot be used: {why}",
        place=str(path.parent),
        hint="Fetch it again, or move it away: the captures then have no intervals.",
    )
