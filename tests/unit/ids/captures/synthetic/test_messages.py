from __future__ import annotations

import numpy as np
import pytest

from candor.ids.captures.synthetic import drive as drive_module
from candor.ids.captures.synthetic.drive import RANGES, drive
from candor.ids.captures.synthetic.messages import (
    Checksum,
    Constant,
    Counter,
    Message,
    Multi,
    Physical,
    checksum,
    encode,
    physical,
)
from candor.ids.captures.synthetic.vehicle import fleet


@pytest.fixture(scope="module")
def trip() -> drive_module.Drive:
    return drive(60.0, np.random.default_rng(0))


def message(*fields: object, dlc: int = 8) -> Message:
    return Message(0x123, dlc, 0.01, 0.0, fields)  # type: ignore[arg-type]


def test_signals_stay_in_their_ranges_and_follow_each_other(trip: drive_module.Drive) -> None:
    for name, (low, high) in RANGES.items():
        assert trip.values[name].min() >= low - 1.0, name
        assert trip.values[name].max() <= high, name
    v = trip.values
    assert np.corrcoef(v["speed"], v["wheel_left"])[0, 1] > 0.99
    assert set(np.unique(v["gear"])) <= set(range(7))
    assert np.abs(np.diff(v["speed"])).max() < 0.5
    pushed = v["brake"] > 5
    assert np.gradient(v["speed"])[pushed].max() < 0


def test_a_gear_never_lies_between_gears(trip: drive_module.Drive) -> None:
    gear = trip.at("gear", np.random.default_rng(1).uniform(0, 60, 5000))
    assert np.all(gear == np.round(gear))


def test_fields_are_packed_where_they_belong(trip: drive_module.Drive) -> None:
    k = np.arange(20)
    layout = message(
        Physical(0, 2, "rpm"), Constant(2, 0xAB), Multi(3, (1, 2), 5), Counter(4, 16), Checksum(5, "xor")
    )
    data = encode(layout, k, k * 0.01, trip)
    raw = data[:, 0].astype(int) * 256 + data[:, 1]
    assert np.allclose(raw / 65535 * 7000, trip.at("rpm", k * 0.01), atol=0.1)
    assert np.all(data[:, 2] == 0xAB)
    assert data[:, 3].tolist() == [1] * 5 + [2] * 5 + [1] * 5 + [2] * 5
    assert data[:, 4].tolist() == [i % 16 for i in range(20)]
    assert np.all(np.bitwise_xor.reduce(data[:, :8], axis=1) == 0x23)
    assert np.all(data[:, 6:] == 0)


def test_crc8_is_the_published_one() -> None:
    # SAE J1850 CRC-8 without init and final XOR of 00 00 00 01 is the polynomial itself.
    field = Checksum(7, "crc8")
    data = np.zeros((1, 8), dtype=np.uint8)
    data[0, 6] = 1
    assert checksum(Message(0x100, 8, 0.01, 0.0, (field,)), field, data)[0] == 0x1D


def test_cars_differ_and_have_every_role() -> None:
    cars = fleet(3, 24, np.random.default_rng(0))
    ids = [{m.id for m in car.messages} for car in cars]
    assert [len(i) for i in ids] == [24, 24, 24]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert len(ids[a] & ids[b]) <= 2
    for car in cars:
        for role in ("rpm", "speed", "gear", "steering", "coolant"):
            assert car.role(role)
        assert physical(car.role("gear")).signal == "gear"
        for m in car.messages:
            used = [f.byte for f in m.fields]
            assert len(used) == len(set(used))
            assert max(used, default=0) < m.dlc
    assert any(i > 0x7FF for i in ids[1])


def test_many_large_cars_can_be_made() -> None:
    assert len(fleet(12, 200, np.random.default_rng(0))) == 12
