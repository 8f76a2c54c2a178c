"""As test_parsers, of files of network flows: refused, or every row is a flow or in quarantine, wherever blocks end.

Corpus files lie in ``corpus/flows`` and are made from made-up samples, never from recorded data.
"""

from __future__ import annotations

import contextlib
import io
import random
import time
from pathlib import Path

import polars as pl
import pytest
from flow_texts import samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import LIMIT_S, fuzz

from candor.errors import CandorError
from candor.ids.captures.flows import decode, formats, schema
from candor.ids.captures.flows.formats import LAYOUTS

CORPUS = Path(__file__).parent / "corpus" / "flows"


def read(
    content: bytes, block_bytes: int, name: str = "auto"
) -> tuple[formats.Reading, pl.DataFrame, pl.DataFrame] | None:
    """What the file holds; None if it is refused."""
    with contextlib.suppress(CandorError):
        reading = formats.open_flows(io.BytesIO(content), "x", name=name, block_bytes=block_bytes)
        parts = list(reading.parts)
        if parts:
            return reading, pl.concat([p.flows for p in parts]), pl.concat([p.quarantined for p in parts])
    return None


def check(content: bytes, name: str = "auto") -> None:
    """The rules."""
    started = time.process_time()
    found = read(content, 1 << 20, name)
    assert time.process_time() - started < LIMIT_S, "it hangs"
    if found is None:
        return
    reading, flows, aside = found
    assert set(aside["reason"]) <= set(decode.REASONS)
    assert aside["raw"].null_count() == 0
    lines = [*flows["row"], *aside["line"]]
    assert len(set(lines)) == len(lines), "a row counts twice"
    if not content.startswith(b"PAR1"):
        expected = rows_in(content)
        # The first line is a header, unless the layout has none and the line looks like a row.
        header = [] if set(expected[:1]) <= set(lines) and reading.layout.headerless else expected[:1]
        if first_line(content).startswith(b"#separator"):
            header = []
        assert sorted(lines) == expected[len(header) :], "rows are lost"
        longest = max(map(len, content.split(b"\n")))
        head = content.find(b"\n", content.find(b"#fields")) if b"#fields" in content else 0
        if longest < 900 and head < 900:
            again = read(content, 1000, name)
            assert again is not None
            assert again[1].equals(flows)
            assert again[2].equals(aside)
    valid(flows)


def valid(flows: pl.DataFrame) -> None:
    """The flows are what ingest publishes, but for the hosts, which are still text."""
    own = [c for c in flows.columns if c.startswith((schema.FEATURE, schema.WITHHELD))]
    hosts = {name: pl.lit(None, schema.COLUMNS[name]) for name in ("src", "dst")}
    keyed = flows.sort("t_start").with_columns(**hosts, file=pl.lit(0, pl.Int32))
    schema.validate(keyed.select(*schema.COLUMNS, *own))


def first_line(content: bytes) -> bytes:
    bare = (line.strip(b"\r \t\0") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    return next((line for line in bare if line), b"")


def rows_in(content: bytes) -> list[int]:
    """Numbers of the lines that are not blank (nor comments of Zeek), counted apart from the reader."""
    bare = [line.strip(b"\r \t\0") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    zeek = first_line(content).startswith(b"#separator")
    return [n for n, line in enumerate(bare, 1) if line and not (zeek and line.startswith(b"#"))]


def test_every_sample_is_read() -> None:
    for name, contents in samples().items():
        for content in contents:
            found = read(content, 1 << 20)
            assert found is not None
            assert found[0].layout.name == name
            assert found[1].height >= 3
            check(content)
    assert set(samples()) == set(LAYOUTS)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", LAYOUTS)
def test_mutated_files_are_accounted_for(name: str) -> None:
    def rules(content: bytes, _: random.Random) -> None:
        check(content)
        check(content, name)

    fuzz(name, samples()[name], CORPUS, rules, at_least=30)


@pytest.mark.slow
@given(
    st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode)),
    st.sampled_from(["auto", *LAYOUTS]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_invented_files_are_accounted_for(content: bytes, name: str) -> None:
    check(content, name)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_bytes_spliced_into_a_file_are_accounted_for(data: st.DataObject) -> None:
    content = data.draw(
        st.sampled_from(sorted(samples())).flatmap(lambda name: st.sampled_from(samples()[name]))
    )
    at, junk = data.draw(st.integers(0, len(content))), data.draw(st.binary(max_size=60))
    check(content[:at] + junk + content[at:])


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_what_once_broke_a_rule_keeps_it_now(path: Path) -> None:
    content = path.read_bytes()
    check(content)
    check(content, path.stem.rsplit("-", 1)[0])
