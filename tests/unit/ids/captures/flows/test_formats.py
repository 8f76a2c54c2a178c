"""Every importer on small text that states its pitfall."""

from __future__ import annotations

import io

import polars as pl
import pytest
from flow_texts import CIC_HEAD, CTU_HEAD, IMPROVED_HEAD, NF_HEAD, ZEEK_FIELDS, unsw_row

from candor.errors import CaptureRejected, CaptureUnreadable, SchemaMismatch
from candor.ids.captures.flows import formats, unsw
from candor.ids.captures.flows.decode import REASONS


def read(text: str | bytes, **options: object) -> formats.Read:
    content = text if isinstance(text, bytes) else text.encode()
    return formats.read(content, "x.csv", **{"max_quarantined_share": 1.0, **options})  # type: ignore[arg-type]


def flow(text: str | bytes) -> dict[str, object]:
    """The only flow of a text."""
    parsed = read(text).parsed
    assert (parsed.flows.height, parsed.quarantined.height) == (1, 0), parsed.quarantined
    return parsed.flows.row(0, named=True)


def reasons(text: str) -> list[str]:
    return read(text).parsed.quarantined["reason"].to_list()


# ------------------------------------------------------------------ UNSW-NB15


def test_unsw_without_header_is_known_by_its_49_columns():
    got = read(unsw_row() + "\n")
    assert got.layout is unsw.RAW
    assert got.parsed.flows["row"].to_list() == [1]
    row = got.parsed.flows.row(0, named=True)
    assert (row["src_host"], row["dport"], row["proto"], row["label"]) == ("10.0.0.1", 53, 17, 0)
    assert (row["t_start"], row["bytes"], row["packets"]) == (1421927414.0, 296.0, 4.0)


def test_unsw_with_header_gives_the_same_flow():
    head = ",".join(unsw.COLUMNS).replace("ct_src_ltm", "ct_src_ ltm").replace("spkts", "Spkts") + "\r\n"
    with_header, bare = flow(head + unsw_row() + "\r\n"), flow(unsw_row())
    assert {**with_header, "row": 0} == {**bare, "row": 0}


def test_unsw_hexadecimal_and_missing_ports_are_read():
    assert flow(unsw_row(sport="0x000b", dsport="0xc0a8"))["dport"] == 0xC0A8
    assert flow(unsw_row(sport="-", dsport=""))["sport"] == -1
    assert (
        reasons(unsw_row() + "\n" + unsw_row(dsport="0xfffff") + "\n" + unsw_row(sport="http"))
        == ["port_unreadable"] * 2
    )


def test_unsw_padded_families_join_and_a_blank_one_is_benign():
    assert flow(unsw_row(attack_cat=" Fuzzers ", label=1))["attack"] == "fuzzers"
    assert flow(unsw_row(attack_cat="Backdoors", label=1))["attack"] == "backdoor"
    assert flow(unsw_row(attack_cat="", label=0))["attack"] == ""
    assert flow(unsw_row(attack_cat="Worms", label=""))["label"] == 1
    assert reasons(unsw_row() + "\n" + unsw_row(attack_cat="", label="")) == ["label_unknown"]


def test_unsw_features_that_name_the_machine_are_kept_apart():
    row = flow(unsw_row(sttl=254, swin=255))
    assert row["w_sttl"] == 254.0
    assert row["x_swin"] == 255.0
    assert "x_sttl" not in row


# ------------------------------------------------------------------ CICIDS2017


def test_cicids_header_blanks_duplicates_and_infinite_rates_do_not_matter():
    text = CIC_HEAD + "x,8.8.8.8,443,10.0.0.5,54865,6,7/7/2017 3:30,3000000,2,1,12,7,40,40,Infinity,BENIGN\n"
    row = flow(text)
    assert (row["duration_s"], row["src_bytes"], row["dst_packets"]) == (3.0, 12.0, 1.0)


@pytest.mark.parametrize(
    ("written", "hour", "minute", "second", "day"),
    [
        ("7/7/2017 3:30", 15, 30, 0, 7),
        ("5/7/2017 8:42", 8, 42, 0, 5),
        ("5/7/2017 12:05", 12, 5, 0, 5),
        ("03/07/2017 08:55:58", 8, 55, 58, 3),
    ],
)
def test_cicids_minutes_before_eight_are_after_noon(
    written: str, hour: int, minute: int, second: int, day: int
):
    row = flow(CIC_HEAD + f"x,8.8.8.8,443,10.0.0.5,80,6,{written},3,2,1,12,7,40,40,1,BENIGN\n")
    expected = pl.Series([f"2017-07-0{day} {hour}:{minute}:{second}"]).str.to_datetime("%Y-%m-%d %H:%M:%S")
    assert row["t_start"] == expected.dt.epoch("s")[0]


def test_cicids_windows_dash_in_a_label_is_read():
    line = b"x,8.8.8.8,443,10.0.0.5,80,6,6/7/2017 9:30,3,2,1,12,7,40,40,1,Web Attack \x96 XSS\n"
    assert flow(CIC_HEAD.encode() + line)["attack"] == "web_attack_xss"


def test_cicids_rows_of_commas_are_set_aside_but_do_not_condemn_the_file():
    good = "x,8.8.8.8,443,10.0.0.5,80,6,6/7/2017 9:30,3,2,1,12,7,40,40,1,BENIGN\n"
    parsed = read(CIC_HEAD + good + 9 * ("," * 15 + "\n"), max_quarantined_share=0.1).parsed
    assert (parsed.flows.height, parsed.quarantined["reason"].to_list()) == (1, 9 * ["row_empty"])
    assert parsed.quarantined["reason"].unique().to_list() == ["row_empty"]


def test_cicids_negative_durations_are_set_aside():
    good = "x,8.8.8.8,443,10.0.0.5,80,6,6/7/2017 9:30,3,2,1,12,7,40,40,1,BENIGN\n"
    assert reasons(CIC_HEAD + good + good.replace(",3,2,1,", ",-13,2,1,")) == ["measure_negative"]


def test_improved_cicids_has_microseconds_and_attempts_are_benign():
    line = "1,x,10.0.0.5,58181,10.0.0.3,53,17,2017-07-06 12:39:06.818901,245,2,2,70,102,{},{}\n"
    row = flow(IMPROVED_HEAD + line.format("FTP-Patator", -1))
    assert row["t_start"] == pytest.approx(1499344746.818901, abs=1e-6)
    assert (row["label"], row["attack"]) == (1, "ftp_patator")
    assert flow(IMPROVED_HEAD + line.format("FTP-Patator - Attempted", 2))["label"] == 0


def test_improved_cicids_as_parquet_is_the_same():
    line = "1,x,10.0.0.5,58181,10.0.0.3,53,17,2017-07-06 12:39:06.818901,245,2,2,70,102,Botnet,-1\n"
    buffer = io.BytesIO()
    pl.read_csv(io.StringIO(IMPROVED_HEAD + line)).write_parquet(buffer)
    assert {**flow(buffer.getvalue()), "row": 0} == {**flow(IMPROVED_HEAD + line), "row": 0}


# ------------------------------------------------------------------ the others


def test_ctu13_counts_background_as_benign_and_says_what_it_does_not_know():
    line = "2011/08/15 16:43:28.078942,1.5,{},10.0.0.1,{},   ->,10.0.0.2,{},CON,0,0,6,388,208,flow={}\n"
    row = flow(CTU_HEAD + line.format("tcp", 6881, 80, "Background-TCP"))
    assert (row["t_start"], row["label"], row["dst_bytes"]) == (pytest.approx(1313426608.078942), 0, 180.0)
    assert row["src_packets"] is None
    icmp = flow(CTU_HEAD + line.format("icmp", "0x0303", "0xd913", "From-Botnet-V42-ICMP"))
    assert (icmp["dport"], icmp["proto"], icmp["attack"]) == (0xD913, 1, "botnet")


@pytest.mark.parametrize("label", ["Benign", "benign", "BENIGN"])
def test_zeek_label_case_varies(label: str):
    row = (
        f"1.5\tC1\t10.0.0.1\t123\tfe80::2\t80\ttcp\t-\t-\t-\t-\tS0\t-\t-\t0\tS\t1\t40\t0\t0\t-\t{label}\t-\n"
    )
    got = flow("#separator \\x09\n#fields\t" + ZEEK_FIELDS + "\tlabel\tdetailed-label\n" + row + "#close\n")
    assert (got["label"], got["duration_s"], got["bytes"], got["dst_host"]) == (0, 0.0, 40.0, "fe80::2")


def test_iot23_parts_its_last_columns_by_blanks():
    row = "1.5\tC1\t10.0.0.1\t1\t10.0.0.2\t80\ttcp\t-\t2.0\t5\t6\tS0\t-\t-\t0\tS\t1\t40\t0\t0\t-   Malicious   C&C-FileDownload\n"
    fields = "#fields\t" + ZEEK_FIELDS + "   label   detailed-label\n"
    got = flow("#separator \\x09\n" + fields + "#types\ttime\n" + row)
    assert (got["label"], got["attack"], got["duration_s"]) == (1, "c_c_filedownload", 2.0)


def test_a_zeek_log_without_labels_is_unlabelled():
    row = "1.5\tC1\t10.0.0.1\t1\t10.0.0.2\t80\ttcp\t-\t2.0\t5\t6\tS0\t-\t-\t0\tS\t1\t40\t0\t0\t-\n"
    got = read("#separator \\x09\n#fields\t" + ZEEK_FIELDS + "\n" + row)
    assert not got.labelled
    assert got.parsed.flows["label"].to_list() == [None]


def test_netflow_without_times_keeps_the_order_of_rows():
    text = NF_HEAD + 2 * "10.0.0.1,1,10.0.0.2,80,6,280,2,40,1,4293498,64,1,DDoS,NF\n"
    got = read(text)
    assert got.layout.t_start is None
    assert got.parsed.flows["t_start"].to_list() == [2.0, 3.0]
    assert got.parsed.flows["attack"].to_list() == ["ddos"] * 2


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets,"
            " Total Length of Bwd Packets, Label\n22,166,1,1,0,0,BENIGN\n",
            "cicids2017_ml",
        ),
        (
            "id,dur,proto,service,state,spkts,dpkts,sbytes,dbytes,rate,attack_cat,label\n1,0.1,tcp,-,FIN,6,4,258,172,7,Normal,0\n",
            "unsw_nb15_split",
        ),
    ],
)
def test_files_without_addresses_are_tabular(text: str, name: str):
    got = read(text)
    assert (got.layout.name, got.layout.src) == (name, None)
    assert (got.parsed.flows["label"].to_list(), got.parsed.flows["src_host"].to_list()) == ([0], [None])


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (unsw_row() + ",1", "malformed"),
        (unsw_row(stime="soon"), "time_unreadable"),
        (unsw_row(stime="nan"), "time_unreadable"),
        (unsw_row(stime="1e300"), "time_unreadable"),
        (unsw_row(srcip=""), "host_missing"),
        (unsw_row(sbytes="many"), "measure_unreadable"),
        (unsw_row(dur="inf"), "measure_unreadable"),
        (unsw_row(dpkts=-1), "measure_negative"),
        (unsw_row(label=7), "label_unknown"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_line_and_text(line: str, reason: str):
    parsed = read(unsw_row() + "\n\n" + line + "\n").parsed
    assert parsed.quarantined.rows() == [(3, reason, line[:200])]
    assert reason in REASONS
    assert parsed.flows.height == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01\x02", b"hello"])
def test_what_is_no_flow_file_is_refused(content: bytes):
    with pytest.raises((CaptureRejected, CaptureUnreadable, SchemaMismatch)):
        read(content)


def test_unknown_columns_are_named():
    with pytest.raises(SchemaMismatch, match="timestamp,arbitration_id"):
        read("timestamp,arbitration_id,data_field,attack\n1,2,3,0\n")


def test_a_declared_format_must_fit():
    with pytest.raises(SchemaMismatch, match="format 'ctu13' needs starttime"):
        read(NF_HEAD + "1\n", name="ctu13")


def test_a_mostly_malformed_file_is_refused_with_its_first_reasons():
    with pytest.raises(CaptureRejected, match="2 of 3 rows are malformed: line 2: time_unreadable"):
        read("\n".join([unsw_row(), unsw_row(stime="x"), unsw_row(stime="y")]), max_quarantined_share=0.5)


def test_a_header_without_flows_is_refused():
    with pytest.raises(CaptureRejected, match="no flow"):
        read(NF_HEAD)


def test_damaged_parquet_is_refused():
    with pytest.raises(CaptureUnreadable):
        read(b"PAR1 and nothing else")
