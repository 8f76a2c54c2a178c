"""Whatever a file holds: rows in = flows + quarantined, and nothing but a CandorError leaves a parser."""

from __future__ import annotations

import random

import pytest
from flow_texts import CIC_HEAD, CTU_HEAD, IMPROVED_HEAD, NF_HEAD, ZEEK_FIELDS, unsw_row
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import CandorError
from candor.ids.captures.flows import formats, schema

SEEDS = {
    "unsw": "\n".join([unsw_row(), unsw_row(label=1, attack_cat="Worms"), unsw_row(dsport="0x10")]),
    "cicids": CIC_HEAD + 3 * "x,8.8.8.8,443,10.0.0.5,80,6,6/7/2017 9:30,3,2,1,12,7,40,40,1,BENIGN\n",
    "improved": IMPROVED_HEAD
    + 3 * "1,x,1.0.0.5,1,1.0.0.3,53,17,2017-07-06 12:39:06.8,245,2,2,70,102,Botnet,-1\n",
    "ctu": CTU_HEAD
    + 3 * "2011/08/15 16:43:28.1,1.5,tcp,1.0.0.1,1,   ->,1.0.0.2,80,C,0,0,6,388,208,flow=Background\n",
    "zeek": "#separator \\x09\n#fields\t"
    + ZEEK_FIELDS
    + "   label   detailed-label\n"
    + 3
    * "1.5\tC\t1.0.0.1\t1\t1.0.0.2\t80\ttcp\t-\t2\t5\t6\tS0\t-\t-\t0\tS\t1\t40\t0\t0\t-   Malicious   C&C\n",
    "netflow": NF_HEAD + 3 * "10.0.0.1,1,10.0.0.2,80,6,280,2,40,1,4293498,64,1,DDoS,NF\n",
}
SPICE = [
    "",
    "-",
    "nan",
    "inf",
    "-1",
    "0x",
    "1e999",
    "é",
    "\x00",
    '"',
    "9" * 30,
    ",",
    "\t",
    "\r",
    "#",
    "benign",
]


def check(content: bytes) -> None:
    try:
        got = formats.read(content, "fuzzed", max_quarantined_share=1.0)
    except CandorError:
        return
    parsed = got.parsed
    assert parsed.rows == parsed.flows.height + parsed.quarantined.height
    text = content.decode("utf-8", "replace") if not content.startswith(b"PAR1") else ""
    lines = [x for x in text.split("\n") if x.strip("\r \t\0")]
    comments = (
        [x for x in lines if x.strip("\r \t\0").startswith("#")]
        if lines[0].strip().startswith("#separator")
        else []
    )
    header = 0 if comments or (got.layout.headerless and parsed.rows == len(lines)) else 1
    assert parsed.rows == len(lines) - len(comments) - header
    flows = parsed.flows.sort("t_start")
    own = [c for c in flows.columns if c.startswith((schema.FEATURE, schema.WITHHELD))]
    keyed = flows.with_columns(src=None, dst=None, file=0).cast(
        {"src": schema.COLUMNS["src"], "dst": schema.COLUMNS["dst"], "file": schema.COLUMNS["file"]}
    )
    schema.validate(keyed.select(*schema.COLUMNS, *own))


@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_loses_no_row(name: str):
    rng = random.Random(7)
    for _ in range(120):
        lines = SEEDS[name].split("\n")
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(lines))
            line = lines[at]
            cut = rng.randrange(len(line) + 1)
            end = min(len(line), cut + rng.randint(0, 6))
            lines[at] = line[:cut] + rng.choice(SPICE) + line[end:]
        if rng.random() < 0.2:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice([",,,", "", "   ", "\t\t"]))
        check("\n".join(lines).encode())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=60), st.integers(0, 10_000))
def test_bytes_spliced_into_a_file_crash_nothing(name: str, junk: bytes, at: int):
    content = SEEDS[name].encode()
    cut = at % (len(content) + 1)
    try:
        formats.read(content[:cut] + junk + content[cut:], "fuzzed", max_quarantined_share=1.0)
    except CandorError:
        return
