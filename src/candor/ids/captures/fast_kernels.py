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
_ZERO, _NINE, _REGULAR, _INJECTED = (ord(c) for c in "09RT")


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """njit, its machine code kept on disk where there is a place for it: compiling takes a second."""
    try:
        return cast("Callable[..., Any]", njit(cache=True, nogil=True)(function))
    except RuntimeError:  # Neither the package nor the home can be written.
        return cast("Callable[..., Any]", njit(nogil=True)(function))


@_compiled
def _time(buf: Any, at: int, end: int) -> Any:
    """Decimal number at ``at``: value and the place behind it, or -1 where it is not plain.

    Up to 2**53 over a power of ten up to 22 is one correctly rounded division (Clinger's fast path).
    """
    mantissa, digits, decimals, seen = np.int64(0), 0, 0, False
    while at < end:
        c = buf[at]
        if _ZERO <= c <= _NINE:
            mantissa = mantissa * 10 + (c - _ZERO)
            digits += 1
            decimals += seen
        elif c == _POINT and not seen:
            seen = True
        else:
            break
        at += 1
    if (
        digits == 0
        or digits > 17
        or decimals == digits
        or mantissa >= 9007199254740992
        or (seen and not decimals)
    ):
        return 0.0, -1
    return np.float64(mantissa) / _TENS[decimals], at


@_compiled
def _hex(buf: Any, at: int, end: int) -> Any:
    """Run of up to eight hexadecimal digits: value and the place behind it."""
    value, start = np.int64(0), at
    while at < end and at - start < 9 and _HEX[buf[at]] < 16:
        value = value * 16 + _HEX[buf[at]]
        at += 1
    return value, at


@_compiled
def _candump(buf: Any, a: int, b: int, k: int, out: Any, payload: Any, used: int, channels: Any) -> Any:
    """``(T) CHANNEL ID#HEX``; gives bytes of payload, or -1."""
    t, ident, flags, label, channel = out
    if b - a < 12 or buf[a] != _OPEN:
        return -1
    value, at = _time(buf, a + 1, b)
    if at < 0 or at + 3 > b or buf[at] != _CLOSE or buf[at + 1] != _BLANK:
        return -1
    start = at + 2
    at = start
    while at < b and buf[at] > _BLANK and buf[at] < 127:
        at += 1
    code = _channel(buf, start, at, channels)
    if code < 0 or at >= b or buf[at] != _BLANK:
        return -1
    start = at + 1
    name, at = _hex(buf, start, b)
    width = at - start
    if (width != 3 and width != 8) or at >= b or buf[at] != _HASH or name > 0x1FFFFFFF:
        return -1
    if width == 3 and name > 0x7FF:
        return -1
    size = _payload(buf, at + 1, b, payload, used)
    t[k], ident[k], flags[k], label[k], channel[k] = value, name, width == 8, UNLABELLED, code
    return size


@_compiled
def _payload(buf: Any, a: int, b: int, payload: Any, used: int) -> Any:
    """Up to eight bytes in hexadecimal, without blanks, that fill [a, b); their number, or -1."""
    digits = b - a
    if digits > 16 or digits % 2:
        return -1
    for i in range(digits // 2):
        high, low = _HEX[buf[a + 2 * i]], _HEX[buf[a + 2 * i + 1]]
        if high > 15 or low > 15:
            return -1
        payload[used + i] = high * 16 + low
    return digits // 2


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
def _can_train_and_test(buf: Any, a: int, b: int, k: int, out: Any, payload: Any, used: int) -> Any:
    """``T,ID,HEX,LABEL``; gives bytes of payload, or -1."""
    t, ident, flags, label, channel = out
    value, at = _time(buf, a, b)
    if at < 0 or at >= b or buf[at] != _COMMA:
        return -1
    start = at + 1
    name, at = _hex(buf, start, b)
    if at == start or at >= b or buf[at] != _COMMA or name > 0x1FFFFFFF or b - at < 3 or buf[b - 2] != _COMMA:
        return -1
    truth = buf[b - 1] - _ZERO
    if truth != 0 and truth != 1:
        return -1
    size = _payload(buf, at + 1, b - 2, payload, used)
    t[k], ident[k], flags[k], label[k], channel[k] = value, name, name > 0x7FF, truth, 0
    return size


@_compiled
def _hcrl_csv(buf: Any, a: int, b: int, k: int, out: Any, payload: Any, used: int) -> Any:
    """``T,ID,DLC,B0,...,FLAG``; gives bytes of payload, or -1."""
    t, ident, flags, label, channel = out
    value, at = _time(buf, a, b)
    if at < 0 or at >= b or buf[at] != _COMMA:
        return -1
    start = at + 1
    name, at = _hex(buf, start, b)
    if at == start or b - at < 5 or buf[at] != _COMMA or name > 0x1FFFFFFF or buf[at + 2] != _COMMA:
        return -1
    size = np.int64(buf[at + 1]) - _ZERO
    at += 3
    if size < 0 or size > 8 or b - at != 3 * size + 1:
        return -1
    for i in range(size):
        high, low = _HEX[buf[at]], _HEX[buf[at + 1]]
        if high > 15 or low > 15 or buf[at + 2] != _COMMA:
            return -1
        payload[used + i] = high * 16 + low
        at += 3
    if buf[at] != _REGULAR and buf[at] != _INJECTED:
        return -1
    t[k], ident[k], flags[k], label[k], channel[k] = value, name, name > 0x7FF, buf[at] == _INJECTED, 0
    return size


@_compiled
def scan(
    layout: int, buf: Any, first: int, spans: Any, rest: Any, out: Any, payload: Any, ends: Any, channels: Any
) -> Any:
    """Lines of a block → outputs filled; gives how many lines were taken and how many left."""
    k, r, used, at, number = 0, 0, 0, 0, first
    while at < len(buf):
        a = at
        while at < len(buf) and buf[at] != _NEWLINE:
            at += 1
        b = at - 1 if at > a and buf[at - 1] == _RETURN else at
        size = -1
        if b > a:
            if layout == 0:
                size = _candump(buf, a, b, k, out, payload, used, channels)
            elif layout == 1:
                size = _can_train_and_test(buf, a, b, k, out, payload, used)
            else:
                size = _hcrl_csv(buf, a, b, k, out, payload, used)
        if size >= 0:
            used += size
            ends[k + 1] = used
            spans[0, k], spans[1, k], spans[2, k] = number, a, b
            k += 1
        elif b > a:
            rest[0, r], rest[1, r], rest[2, r] = number, a, b
            r += 1
        at += 1
        number += 1
    return k, r
