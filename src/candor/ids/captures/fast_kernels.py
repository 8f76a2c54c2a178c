"""Compiled kernels that read plain lines of text from their bytes; see fast.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import njit

MAX_CHANNELS = 64
UNLABELLED = 255

_HEX = np.full(256, 255, dtype=np.uint8)
_HEX[ord("0") : ord("9") + 1] = np.arange(10)
_HEX[ord("A") : ord("F") + 1] = np.arange(10, 16)
_HEX[ord("a") : ord("f") + 1] = np.arange(10, 16)
#: Powers of ten that a double holds exactly.
_TENS = 10.0 ** np.arange(23)

_OPEN, _CLOSE, _BLANK, _HASH, _COMMA, _POINT, _NEWLINE, _RETURN = (ord(c) for c in "() #,.\n\r")
_ZERO, _REGULAR, _INJECTED, _DELETE = (ord(c) for c in "0RT\x7f")


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """njit, its machine code kept on disk where there is a place for it: compiling takes a second."""
    try:
        return cast("Callable[..., Any]", njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # Neither the package nor the home can be written.
        return cast("Callable[..., Any]", njit(nogil=True, error_model="numpy")(function))


# A line kernel gives (bytes of payload, or -1 where the line is not plain; time; ID; 1 for 29 bits; label; channel):
# numbers, not writes to arrays, which would count references on every line.


@_compiled
def _time(buf: Any, at: int, end: int) -> Any:
    """Decimal number at ``at``: value and the place behind it, or -1 where it is not plain.

    Up to 2**53 over a power of ten up to 22 is one correctly rounded division (Clinger's fast path).
    """
    mantissa, start, point = np.int64(0), at, -1
    while at < end:
        digit = np.int64(buf[at]) - _ZERO
        if 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
        elif digit == _POINT - _ZERO and point < 0:
            point = at
        else:
            break
        at += 1
    whole = (at if point < 0 else point) - start
    decimals = 0 if point < 0 else at - point - 1
    if whole == 0 or whole + decimals > 17 or mantissa >= 9007199254740992 or decimals == 0 <= point:
        return 0.0, -1
    return np.float64(mantissa) / _TENS[decimals], at


@_compiled
def _hex(buf: Any, at: int, end: int) -> Any:
    """Run of up to nine hexadecimal digits: value and the place behind it."""
    value, stop = np.int64(0), min(end, at + 9)
    while at < stop and _HEX[buf[at]] < 16:
        value = value * 16 + _HEX[buf[at]]
        at += 1
    return value, at


@_compiled
def _payload(buf: Any, a: int, b: int, payload: Any, used: int) -> Any:
    """Up to eight bytes in hexadecimal, without blanks, that fill [a, b); their number, or -1."""
    digits = b - a
    if digits > 16 or digits % 2:
        return -1
    wrong = np.uint8(0)
    for i in range(digits // 2):
        high, low = _HEX[buf[a + 2 * i]], _HEX[buf[a + 2 * i + 1]]
        wrong |= high | low
        payload[used + i] = high << 4 | low
    return -1 if wrong > 15 else digits // 2


@_compiled
def _channel(buf: Any, a: int, b: int, channels: Any) -> Any:
    """Code of a channel name; channels[0] counts, then a row (start, length) each. -1 for an empty or late one."""
    if a == b:
        return -1
    for code in range(channels[0, 0]):
        start, length = channels[code + 1, 0], channels[code + 1, 1]
        same = length == b - a
        i = 0
        while same and i < length:
            same = buf[start + i] == buf[a + i]
            i += 1
        if same:
            return code
    if channels[0, 0] == MAX_CHANNELS:
        return -1
    channels[0, 0] += 1
    channels[channels[0, 0], 0], channels[channels[0, 0], 1] = a, b - a
    return channels[0, 0] - 1


@_compiled
def _candump(buf: Any, a: int, b: int, payload: Any, used: int, channels: Any) -> Any:
    """``(T) CHANNEL ID#HEX``."""
    if b - a < 12 or buf[a] != _OPEN:
        return -1, 0.0, 0, 0, 0, 0
    value, at = _time(buf, a + 1, b)
    if at < 0 or at + 3 > b or buf[at] != _CLOSE or buf[at + 1] != _BLANK:
        return -1, 0.0, 0, 0, 0, 0
    name_at = at + 2
    at = name_at
    while at < b and _BLANK < buf[at] < _DELETE:
        at += 1
    start = at + 1
    if at >= b or buf[at] != _BLANK:
        return -1, 0.0, 0, 0, 0, 0
    name, stop = _hex(buf, start, b)
    width = stop - start
    if (width != 3 and width != 8) or stop >= b or buf[stop] != _HASH or name > 0x1FFFFFFF:
        return -1, 0.0, 0, 0, 0, 0
    if width == 3 and name > 0x7FF:
        return -1, 0.0, 0, 0, 0, 0
    size = _payload(buf, stop + 1, b, payload, used)
    code = _channel(buf, name_at, at, channels) if size >= 0 else -1
    return size if code >= 0 else -1, value, name, width == 8, UNLABELLED, code


@_compiled
def _can_train_and_test(buf: Any, a: int, b: int, payload: Any, used: int) -> Any:
    """``T,ID,HEX,LABEL``."""
    value, at = _time(buf, a, b)
    if at < 0 or at >= b or buf[at] != _COMMA:
        return -1, 0.0, 0, 0, 0, 0
    start = at + 1
    name, at = _hex(buf, start, b)
    if at == start or at >= b or buf[at] != _COMMA or name > 0x1FFFFFFF or b - at < 3 or buf[b - 2] != _COMMA:
        return -1, 0.0, 0, 0, 0, 0
    truth = np.int64(buf[b - 1]) - _ZERO
    if truth != 0 and truth != 1:
        return -1, 0.0, 0, 0, 0, 0
    size = _payload(buf, at + 1, b - 2, payload, used)
    return size, value, name, name > 0x7FF, truth, 0


@_compiled
def _hcrl_csv(buf: Any, a: int, b: int, payload: Any, used: int) -> Any:
    """``T,ID,DLC,B0,...,FLAG``."""
    value, at = _time(buf, a, b)
    if at < 0 or at >= b or buf[at] != _COMMA:
        return -1, 0.0, 0, 0, 0, 0
    start = at + 1
    name, at = _hex(buf, start, b)
    if at == start or b - at < 4 or buf[at] != _COMMA or name > 0x1FFFFFFF or buf[at + 2] != _COMMA:
        return -1, 0.0, 0, 0, 0, 0
    size = np.int64(buf[at + 1]) - _ZERO
    at += 3
    if size < 0 or size > 8 or b - at != 3 * size + 1 or (buf[b - 1] != _REGULAR and buf[b - 1] != _INJECTED):
        return -1, 0.0, 0, 0, 0, 0
    wrong, commas = np.uint8(0), np.int64(0)
    for i in range(size):
        high, low = _HEX[buf[at + 3 * i]], _HEX[buf[at + 3 * i + 1]]
        wrong |= high | low
        commas += buf[at + 3 * i + 2] == _COMMA
        payload[used + i] = high << 4 | low
    if wrong > 15 or commas != size:
        return -1, 0.0, 0, 0, 0, 0
    return size, value, name, name > 0x7FF, buf[b - 1] == _INJECTED, 0


@_compiled
def scan(
    layout: int, buf: Any, first: int, spans: Any, rest: Any, out: Any, payload: Any, ends: Any, channels: Any
) -> Any:
    """Lines of a block → outputs filled; gives how many lines were taken and how many left."""
    t, ident, flags, label, channel = out
    k, r, used, at, number = 0, 0, 0, 0, first
    while at < len(buf):
        a = at
        while at < len(buf) and buf[at] != _NEWLINE:
            at += 1
        b = at - 1 if at > a and buf[at - 1] == _RETURN else at
        if b > a:
            if layout == 0:
                size, value, name, wide, truth, code = _candump(buf, a, b, payload, used, channels)
            elif layout == 1:
                size, value, name, wide, truth, code = _can_train_and_test(buf, a, b, payload, used)
            else:
                size, value, name, wide, truth, code = _hcrl_csv(buf, a, b, payload, used)
            if size >= 0:
                used += size
                ends[k + 1] = used
                spans[0, k], spans[1, k], spans[2, k] = number, a, b
                t[k], ident[k], flags[k], label[k], channel[k] = value, name, wide, truth, code
                k += 1
            else:
                rest[0, r], rest[1, r], rest[2, r] = number, a, b
                r += 1
        at += 1
        number += 1
    return k, r
