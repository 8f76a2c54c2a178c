"""Damaged and invented files: every parser refuses them or accounts for every row; none crashes, hangs or loses one.

``CANDOR_FUZZ_SECONDS`` is the processor time for all formats together, those of flows too (60 unless given),
``CANDOR_FUZZ_SEED`` repeats a run, without the seconds as far as CI goes: as many files on any machine. A file that breaks a rule is kept in ``corpus/`` and tried again ever after;
corpus files are made here from made-up samples, never from recorded data.
"""

from __future__ import annotations

import contextlib
import io
import random
import time
from pathlib import Path

import polars as pl
import pytest
from capture_samples import samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import LIMIT_S, fuzz

from candor.errors import CandorError
from candor.ids.captures import files, formats, quarantine, stream
from candor.ids.captures import frames as fr
from candor.ids.captures.format import Format
from candor.ids.captures.formats import FORMATS

CORPUS = Path(__file__).parent / "corpus"


def check(content: bytes, kind: Format, block_bytes: int = 1 << 20) -> None:
    """The rules."""
    started = time.process_time()
    parts: list[stream.Batch] = []
    with contextlib.suppress(CandorError):
        parts = list(
            stream.batches(io.BytesIO(content), kind, "x", max_backstep_s=1.0, block_bytes=block_bytes)
        )
    assert time.process_time() - started < LIMIT_S, "it hangs"
    if not parts:
        return
    frames = fr.validate(pl.concat([part.frames for part in parts]))
    aside = pl.concat([part.quarantined for part in parts])
    assert set(aside["reason"].to_list()) <= set(quarantine.REASONS)
    assert aside["raw"].null_count() == 0
    if kind.open is not None and not kind.is_binary(content):
        assert frames.height + aside.height == rows_in(content, kind), "rows are lost"
        assert aside["line"].n_unique() == aside.height


def rows_in(content: bytes, kind: Format) -> int:
    """Lines that are rows, counted apart from the reader."""
    assert kind.open is not None
    table = files.lines(content)
    below = table.filter(pl.col("line") > kind.open(table, "x").header_lines)
    return (below.filter(~pl.col("raw").str.contains(kind.comment)) if kind.comment else below).height


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_are_accounted_for(name: str) -> None:
    def rules(content: bytes, rng: random.Random) -> None:
        check(content, FORMATS[name])
        if max(map(len, content.split(b"\n"))) < 500:
            check(content, FORMATS[name], rng.choice([500, 700, 1000]))

    # A minute of all of them, as without a seed; MF4 is read in a process of its own.
    fuzz(name, samples()[name], CORPUS, rules, at_least=5 if name == "mf4" else 200)


@pytest.mark.slow
@given(
    st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode)),
    st.sampled_from(sorted(FORMATS)),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_invented_files_are_accounted_for(content: bytes, name: str) -> None:
    check(content, FORMATS[name])


@pytest.mark.slow
@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_files_of_one_format_read_as_another_are_accounted_for(data: st.DataObject) -> None:
    content = data.draw(
        st.sampled_from(sorted(samples())).flatmap(lambda name: st.sampled_from(samples()[name]))
    )
    check(content, FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))])


@pytest.mark.slow
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
@settings(max_examples=200, deadline=None)
def test_recognition_names_a_format_or_refuses(content: bytes) -> None:
    with contextlib.suppress(CandorError):
        assert formats.recognise(content, "x").name in FORMATS


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_what_once_broke_a_rule_keeps_it_now(path: Path) -> None:
    name = path.stem.rsplit("-", 1)[0]
    check(path.read_bytes(), FORMATS[name])
    check(path.read_bytes(), FORMATS[name], 1000)
