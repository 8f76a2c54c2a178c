from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.ids.captures import can_train_and_test, plain_csv
from candor.ids.captures.frames import FrameArrays, to_arrays
from candor.ids.captures.rows import decode

HEADER = "timestamp,arbitration_id,data_field,attack\r\n"

rows = st.lists(
    st.tuples(
        st.integers(0, 1_700_000_000_000_000),
        st.integers(0, 0x1FFF_FFFF),
        st.binary(max_size=8),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=20,
)


def checked(content: bytes) -> FrameArrays:
    return to_arrays(decode(can_train_and_test.read(content, "x"), max_backstep_s=1.0).frames)


@settings(deadline=None)
@given(rows, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_plain_rows_equal_those_of_the_checked_reader(rows: list, newline: str, ends: bool) -> None:
    body = [f"{t // 1_000_000}.{t % 1_000_000:06d},{i:X},{data.hex()},{y}" for t, i, data, y in sorted(rows)]
    content = (HEADER.strip() + newline + newline.join(body) + newline * ends).encode()
    got, expected = plain_csv.read(content, max_backstep_s=1.0), checked(content)
    assert got is not None
    for f in fields(FrameArrays):
        a, b = getattr(got, f.name), getattr(expected, f.name)
        assert np.asarray(a).dtype == np.asarray(b).dtype or f.name == "attack_names"
        np.testing.assert_array_equal(a, b, err_msg=f.name)


@pytest.mark.parametrize(
    "line",
    [
        "1.0,1FG,00,0",
        "1.0,,00,0",
        "1.0,20000000,00,0",
        "1.0,1,0,0",
        "1.0,1,000000000000000000,0",
        "1.0,1,00,2",
        "1.0,1,00",
        "1.0,1,00,0,5",
        ",1,00,0",
        "-1.0,1,00,0",
        "1e3,1,00,0",
        ".5,1,00,0",
        "nan,1,00,0",
        "",
    ],
)
def test_a_row_that_is_not_plain_leaves_the_file_to_the_checked_reader(line: str) -> None:
    good = "2.0,1,00,0\r\n"
    assert plain_csv.read((HEADER + good).encode(), max_backstep_s=1.0) is not None
    assert plain_csv.read((HEADER + good + line + "\r\n" + good).encode(), max_backstep_s=5.0) is None


def test_a_large_step_back_another_header_and_an_empty_file_are_left_to_the_checked_reader() -> None:
    back = HEADER + "5.0,1,00,0\r\n3.9,1,00,0\r\n"
    assert plain_csv.read(back.encode(), max_backstep_s=1.0) is None
    assert plain_csv.read(back.encode(), max_backstep_s=1.2) is not None
    assert plain_csv.read(b"id,t\n1,2\n", max_backstep_s=1.0) is None
    assert plain_csv.read(HEADER.encode(), max_backstep_s=1.0) is None
    assert plain_csv.read(b"", max_backstep_s=1.0) is None
