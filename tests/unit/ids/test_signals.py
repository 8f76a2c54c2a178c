from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from candor.errors import DataError, SourceMissing
from candor.ids import signals
from candor.ids.captures.frames import COLUMNS, ERROR, EXTENDED, REMOTE

DBC = """VERSION ""
NS_ :
BS_:
BU_: ECU
BO_ 790 ENGINE: 8 ECU
 SG_ EngineRPM : 16|16@1+ (0.25,0) [0|16383.75] "rpm" ECU
 SG_ Throttle : 55|8@0+ (1,0) [0|255] "%" ECU
 SG_ Torque : 35|12@0- (0.5,-10) [0|0] "Nm" ECU
BO_ 2364540158 EEC1: 8 ECU
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" ECU
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2364540158 3;
"""


@pytest.fixture(scope="session")
def cantools(needs: Callable[[bool, str], None]) -> None:
    needs(find_spec("cantools") is not None, "cantools (candor[dbc])")


@pytest.fixture
def dbc(tmp_path: Path, cantools: None) -> signals.Dbc:
    path = tmp_path / "car.dbc"
    path.write_text(DBC)
    return signals.load(path)


def table(*rows: tuple[float, int, bytes, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(t, i, d, len(d), 0, "", flags, "") for t, i, d, flags in rows], schema=COLUMNS, orient="row"
    )


def test_signals_of_an_id_are_named_in_the_order_of_their_bytes(dbc: signals.Dbc) -> None:
    found = signals.signal_names(dbc, 0x316)
    assert [(s.name, s.first_byte, s.last_byte) for s in found] == [
        ("EngineRPM", 2, 3),
        ("Torque", 4, 5),
        ("Throttle", 6, 6),
    ]
    assert found[0].unit == "rpm"
    assert signals.signal_names(dbc, 0x317) == ()


def test_a_display_says_the_signal_and_falls_back_to_bytes(dbc: signals.Dbc) -> None:
    assert signals.label(dbc, 0x316, 2, 4) == "EngineRPM"
    assert signals.label(dbc, 0x316, 5, 7) == "Torque, Throttle"
    assert signals.label(dbc, 0x316, 0, 2) == "0x316[0:2]"
    assert signals.label(None, 0x316, 2, 4) == "0x316[2:4]"


def test_names_are_asked_by_id_or_key_with_or_without_bytes(dbc: signals.Dbc) -> None:
    names = signals.SignalNames({"": dbc})
    assert names.label(0x316) == "ENGINE"
    assert names.label(0x316, (2, 4)) == "EngineRPM"
    assert names.label(0x316, (0, 2)) == "0x316[0:2]"
    assert names.label(0x317) == "0x317"
    speed = 0x0CF00417
    assert names.label(speed) == names.label(speed | 1 << 29) == "EEC1"
    assert names.label(speed | 1 << 29, (3, 5)) == "EngineSpeed"
    # The same number as an 11-bit ID and as a 29-bit one are two messages.
    assert names.label(0x316 | 1 << 29) == "0x316"


def test_every_vehicle_has_names_of_its_own(dbc: signals.Dbc) -> None:
    names = signals.SignalNames({"kia": dbc})
    assert names.label(0x316, (2, 4), vehicle="kia") == "EngineRPM"
    assert names.label(0x316, (2, 4), vehicle="spark") == "0x316[2:4]"
    assert names.label(0x316) == signals.SignalNames().label(0x316) == "0x316"
    assert (bool(names), bool(signals.SignalNames())) == (True, False)


def test_a_named_file_goes_before_those_of_the_preset(dbc: signals.Dbc, tmp_path: Path) -> None:
    declared = {"kia": dbc.path, "": dbc.path}
    assert signals.load_names(declared).label(0x316, vehicle="spark") == "ENGINE"
    other = tmp_path / "other.dbc"
    other.write_text(DBC.replace("ENGINE", "MOTOR"))
    assert signals.load_names(declared, other).label(0x316, vehicle="kia") == "MOTOR"
    assert not signals.load_names({})


def test_values_are_decoded_frame_by_frame(dbc: signals.Dbc) -> None:
    on, off = bytes([0, 0, 0x40, 0x1F, 0, 0, 50, 0]), bytes(8)
    found = signals.decode(dbc, table((1.0, 0x316, on, 0), (2.0, 0x316, off, 0), (3.0, 0x316, on, 0)))
    rpm = found.values.filter(signal="EngineRPM")
    assert rpm.select("timestamp", "value").rows() == [(1.0, 2000.0), (2.0, 0.0), (3.0, 2000.0)]
    assert found.values.filter(signal="Throttle")["value"].to_list() == [50.0, 0.0, 50.0]
    row = signals.summary(found.values).filter(signal="EngineRPM").row(0, named=True)
    assert (row["frames"], row["min"], row["max"]) == (3, 0.0, 2000.0)


def test_unknown_ids_and_short_payloads_are_counted_never_guessed(dbc: signals.Dbc) -> None:
    full = bytes(8)
    found = signals.decode(
        dbc,
        table(
            (1.0, 0x1, full, 0),
            (2.0, 0x1, full, 0),
            (3.0, 0x316, b"\0\0", 0),
            (4.0, 0x316, b"", REMOTE),
            (5.0, 0x316, b"", ERROR),
            (6.0, 0x316, full, EXTENDED),
        ),
    )
    assert found.values.is_empty()
    assert found.unknown == {"0x1": 2, "0x316": 1}
    assert found.short == {"ENGINE": 1}


def test_a_j1939_message_answers_from_any_source_address(dbc: signals.Dbc) -> None:
    payload = bytes([0, 0, 0, 0x40, 0x1F, 0, 0, 0])
    rows = [
        (float(k), (0x0CF00400 & ~0xFF) | source, payload, EXTENDED) for k, source in enumerate((0, 0x17))
    ]
    found = signals.decode(dbc, table(*rows))
    assert found.values["value"].to_list() == [1000.0, 1000.0]


def test_what_is_no_dbc_is_refused_with_its_name(tmp_path: Path, cantools: None) -> None:
    with pytest.raises(SourceMissing, match=r"none\.dbc"):
        signals.load(tmp_path / "none.dbc")
    broken = tmp_path / "broken.dbc"
    broken.write_text("BO_ nonsense")
    with pytest.raises(DataError, match=r"broken\.dbc"):
        signals.load(broken)


@pytest.mark.parametrize("name", ["hyundai_2015_ccan", "hyundai_i30_2014", "CSS-Electronics-SAE-J1939-DEMO"])
def test_published_dbc_files_load(shared_data: Path, cantools: None, name: str) -> None:
    assert signals.load(shared_data / "raw" / "dbc" / f"{name}.dbc").messages
