import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from candor.ids.captures.flows.hosts import host_keys, key_of, permute

ADDRESSES = pl.Series(["10.0.0.1", "10.0.0.2", "fe80::1", None, "00:11:22:33:44:55", "10.0.0.1"])


@given(st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=200), st.integers(0, 2**31))
def test_no_two_hosts_get_one_key(values: list[int], seed: int):
    keys = permute(np.array(values, np.uint64), key_of(seed))
    assert len(set(keys.tolist())) == len(values)
    assert all(k < 2**32 for k in keys.tolist())


def test_the_whole_of_a_small_block_is_permuted_without_gaps_or_order():
    block = np.arange(1 << 16, dtype=np.uint64)
    keys = permute(block, key_of(0))
    assert len(np.unique(keys)) == len(block)
    assert abs(np.corrcoef(block.astype(float), keys.astype(float))[0, 1]) < 0.02


def test_who_speaks_to_whom_stays_and_depends_on_the_seed():
    first, other = (host_keys(ADDRESSES, key_of(seed)) for seed in (1, 2))
    assert first[0] == first[5]
    assert first.null_count() == 1
    assert first[3] is None
    assert first.drop_nulls().n_unique() == 4
    assert not set(first.drop_nulls()) & set(other.drop_nulls())


def test_without_a_key_an_ipv4_address_is_itself():
    keys = host_keys(ADDRESSES, None)
    assert keys[0] == 0x0A000001
    assert keys[2] >= 1 << 63


def test_a_column_without_addresses_stays_empty():
    assert host_keys(pl.Series([None, None], dtype=pl.String), key_of(0)).to_list() == [None, None]
