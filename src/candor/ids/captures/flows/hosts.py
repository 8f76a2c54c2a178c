"""Addresses to host keys, by default through a keyed permutation.

Flow data sets have few attackers at known addresses, so an address is the label. The permutation keeps who speaks to
whom and nothing else: no subnet, no order. IPv4 goes through a Feistel network over its 32 bits, which never maps two
hosts to one; anything else (IPv6, MAC, names) becomes a keyed 63-bit hash with the top bit set.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.captures.mixing import mix

U64 = NDArray[np.uint64]

_ROUNDS: Final = 8
_LOW: Final = np.uint64(0xFFFF)
_HASHED: Final = 1 << 63


def key_of(seed: int) -> bytes:
    """Key of the permutation that ``seed`` stands for."""
    return hashlib.blake2b(f"candor flow hosts {seed}".encode(), digest_size=32).digest()


def host_keys(address: pl.Series, key: bytes | None) -> pl.Series:
    """u64 key of each address, null where it is null. Without a ``key`` IPv4 stays what it is."""
    known = address.drop_nulls().unique().to_list()
    number = {text: _ipv4(text) for text in known}
    plain = [text for text in known if number[text] is not None]
    values = np.array([number[text] for text in plain], np.uint64)
    keys = dict(zip(plain, (permute(values, key) if key else values).tolist(), strict=True))
    keys |= {text: _hashed(text, key or b"") for text in known if number[text] is None}
    codes = pl.Series([keys[text] for text in known], dtype=pl.UInt64)
    table = pl.DataFrame({"address": pl.Series(known, dtype=pl.String), "key": codes})
    joined = pl.DataFrame({"address": address.cast(pl.String)}).join(
        table, on="address", how="left", maintain_order="left"
    )
    return joined["key"]


def permute(value: U64, key: bytes) -> U64:
    """A bijection of the 32-bit numbers that only the key tells: eight Feistel rounds over 16-bit halves."""
    rounds = np.frombuffer(hashlib.blake2b(key, digest_size=8 * _ROUNDS).digest(), "<u8")
    left, right = value >> np.uint64(16), value & _LOW
    for secret in rounds:
        left, right = right, left ^ (mix(right ^ secret) & _LOW)
    result: U64 = (left << np.uint64(16)) | right
    return result


def _ipv4(text: str) -> int | None:
    try:
        return int(ipaddress.IPv4Address(text))
    except ipaddress.AddressValueError:
        return None


def _hashed(text: str, key: bytes) -> int:
    digest = hashlib.blake2b(text.strip().lower().encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "little") | _HASHED
