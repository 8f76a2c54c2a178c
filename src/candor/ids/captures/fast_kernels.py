"""Compiled kernels that read plain lines of text from their bytes; see fast.py.

A kernel reads forward and needs no end of line found first; ``buf`` ends with PADDING zero bytes, which are neither digit
nor separator, so that no step has to look whether it is still inside. 8 bytes at a time where it pays (digits).
One long file, because Numba's cache looks at the age of no other than the compiled function's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

MAX_CHANNELS = 64
UNLABELLED = 255
#: More than any kernel looks ahead of the last line.
PADDING: Final = 64

_HEX = np.full(256, 255, dtype=np.uint8)
_HEX[ord("0") : ord("9") + 1] = np.arange(10)
_HEX[ord("A") : ord("F") + 1] = np.arange(10, 16)
_HEX[ord("a") : ord("f") + 1] = np.arange(10, 16)
_BASE64 = np.full(256, 255, dtype=np.uint8)
for _code, _letter in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):
    _BASE64[_letter] = _code
#: Powers of ten that a double holds exactly.
_TENS = 10.0 ** np.arange(23)
_WHOLE_TENS = 10 ** np.arange(18, dtype=np.int64)

_OPEN, _CLOSE, _BLANK, _HASH, _COMMA, _POINT, _NEWLINE, _RETURN = (ord(c) for c in "() #,.\n\r")
_ZERO, _REGULAR, _INJECTED, _DELETE, _X, _EQUALS = (ord(c) for c in "0RT\x7fx=")

# Eight characters at once; see _digits.
_ZEROS, _OVER_NINE, _HIGH_BITS = (np.uint64(b * 0x0101010101010101) for b in (0x30, 0x76, 0x80))
_PAIRS, _UPPER, _LOWER = np.uint64(0xFF000000FF), np.uint64(0xF424000000064), np.uint64(0x271000000001)
_1, _8, _10, _16, _32, _64 = (np.uint64(k) for k in (1, 8, 10, 16, 32, 64))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """njit, its machine code kept on disk where there is a place for it: compiling takes a second."""
    try:
        return cast("Callable[..., Any]", njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # Neither the package nor the home can be written.
        return cast("Callable[..., Any]", njit(nogil=True, error_model="numpy")(function))


def _inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A part of a kernel. A call costs as much as the work: an array is seven arguments."""
    return cast("Callable[..., Any]", njit(nogil=True, error_model="numpy", forceinline=True)(function))


#: Numba's decorator, whose type says nothing of what it makes.
_intrinsic = cast("Callable[[Callable[..., Any]], Callable[..., Any]]", intrinsic)

# The parts of a kernel read and write by address: an array handed to a function has its references counted, and that
# costs more than the work.


@_intrinsic
def _address(typing: Any, array: Any) -> Any:
    """Where the bytes of an array begin. The caller keeps it alive."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(held.data, ir.IntType(64))

    return types.int64(array), generate


@_intrinsic
def _at(typing: Any, address: Any, index: Any) -> Any:
    """Byte ``index`` behind an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(builder.add(*arguments), ir.IntType(8).as_pointer())
        return builder.load(place)

    return types.uint8(types.int64, types.int64), generate


@_intrinsic
def _put(typing: Any, address: Any, index: Any, byte: Any) -> Any:
    """Write a byte ``index`` behind an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(builder.add(*arguments[:2]), ir.IntType(8).as_pointer())
        builder.store(arguments[2], place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint8), generate


@_intrinsic
def _trailing_zeros(typing: Any, value: Any) -> Any:
    """Of a u64; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@_inlined
def _word(buf: int, at: int) -> Any:
    """Eight bytes as a little-endian number; one load once compiled."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(_at(buf, at + i)) << np.uint64(8 * i)
    return word


@_inlined
def _digits(buf: int, at: int) -> Any:
    """Up to eight decimal digits at ``at``: their value and number.

    Lemire, "Number parsing at a gigabyte per second" (Software: Practice and Experience, 2021), section 9, after
    shifting out what follows the digits, so that zeros lead.
    """
    word = _word(buf, at) ^ _ZEROS
    other = ((word + _OVER_NINE) | word) & _HIGH_BITS
    count = _trailing_zeros(other) // _8
    if count == 0:
        return np.int64(0), np.int64(0)
    word <<= _64 - count * _8
    word = word * _10 + (word >> _8)
    value = ((word & _PAIRS) * _UPPER + ((word >> _16) & _PAIRS) * _LOWER) >> _32
    return np.int64(value), np.int64(count)


@_inlined
def _number(buf: int, at: int) -> Any:
    """As _digits, up to sixteen."""
    value, count = _digits(buf, at)
    if count == 8:
        more, extra = _digits(buf, at + 8)
        value, count = value * _WHOLE_TENS[extra] + more, count + extra
    return value, count


# A line kernel gives: bytes of payload, or -1 where the line is not plain; time; ID; 1 for 29 bits; label; start and length
# of the channel's name, 0 where the format has none; place behind the last character.


@_inlined
def _time(buf: int, at: int) -> Any:
    """Decimal number at ``at``: value and the place behind it, or -1 where it is not plain.

    Up to 2**53 over a power of ten up to 22 is one correctly rounded division (Clinger's fast path).
    """
    mantissa, whole = _number(buf, at)
    at += whole
    decimals = np.int64(0)
    if _at(buf, at) == _POINT:
        fraction, decimals = _number(buf, at + 1)
        at += 1 + decimals
        if decimals == 0 or whole + decimals > 17:
            return 0.0, -1
        mantissa = mantissa * _WHOLE_TENS[decimals] + fraction
    if whole == 0 or mantissa >= 9007199254740992:
        return 0.0, -1
    return np.float64(mantissa) / _TENS[decimals], at


@_inlined
def _hex(buf: int, at: int) -> Any:
    """Run of up to nine hexadecimal digits: value and the place behind it."""
    value, stop = np.int64(0), at + 9
    digit = _HEX[_at(buf, at)]
    while at < stop and digit < 16:
        value = value * 16 + digit
        at += 1
        digit = _HEX[_at(buf, at)]
    return value, at


@_inlined
def _payload(buf: int, at: int, payload: int, used: int) -> Any:
    """Up to eight bytes in hexadecimal, without blanks: their number, or -1 for half a byte."""
    size = 0
    while size < 8:
        high = _HEX[_at(buf, at + 2 * size)]
        if high > 15:
            break
        low = _HEX[_at(buf, at + 2 * size + 1)]
        if low > 15:
            return -1
        _put(payload, used + size, high << 4 | low)
        size += 1
    return size


@_inlined
def _same(buf: int, a: int, b: int, size: int) -> Any:
    """Whether the ``size`` bytes at ``a`` and at ``b`` are equal."""
    i = 0
    while i < size and _at(buf, a + i) == _at(buf, b + i):
        i += 1
    return i == size


@_inlined
def _channel(buf: int, a: int, size: int, channels: Any) -> Any:
    """Code of a channel name; channels[0] counts, then a row (start, length) each. -1 for an empty or late one."""
    for code in range(channels[0, 0]):
        if channels[code + 1, 1] == size and _same(buf, channels[code + 1, 0], a, size):
            return code
    if size == 0 or channels[0, 0] == MAX_CHANNELS:
        return -1
    channels[0, 0] += 1
    channels[channels[0, 0], 0], channels[channels[0, 0], 1] = a, size
    return channels[0, 0] - 1


@_inlined
def _candump(buf: int, a: int, payload: int, used: int) -> Any:
    """``(T) CHANNEL ID#HEX``."""
    left = -1, 0.0, 0, 0, 0, 0, 0, a
    if _at(buf, a) != _OPEN:
        return left
    value, at = _time(buf, a + 1)
    if at < 0 or _at(buf, at) != _CLOSE or _at(buf, at + 1) != _BLANK:
        return left
    name_at = at + 2
    at = name_at
    while _BLANK < _at(buf, at) < _DELETE:
        at += 1
    if _at(buf, at) != _BLANK:
        return left
    start = at + 1
    name, stop = _hex(buf, start)
    width = stop - start
    if (width != 3 and width != 8) or _at(buf, stop) != _HASH or name > 0x1FFFFFFF:
        return left
    if width == 3 and name > 0x7FF:
        return left
    size = _payload(buf, stop + 1, payload, used)
    return size, value, name, width == 8, UNLABELLED, name_at, at - name_at, stop + 1 + 2 * size


@_inlined
def _can_train_and_test(buf: int, a: int, payload: int, used: int) -> Any:
    """``T,ID,HEX,LABEL``."""
    left = -1, 0.0, 0, 0, 0, 0, 0, a
    value, at = _time(buf, a)
    if at < 0 or _at(buf, at) != _COMMA:
        return left
    start = at + 1
    name, at = _hex(buf, start)
    if at == start or _at(buf, at) != _COMMA or name > 0x1FFFFFFF:
        return left
    size = _payload(buf, at + 1, payload, used)
    stop = at + 1 + 2 * size
    if size < 0 or _at(buf, stop) != _COMMA:
        return left
    truth = np.int64(_at(buf, stop + 1)) - _ZERO
    if truth != 0 and truth != 1:
        return left
    return size, value, name, name > 0x7FF, truth, 0, 0, stop + 2


@_inlined
def _hcrl_csv(buf: int, a: int, payload: int, used: int) -> Any:
    """``T,ID,DLC,B0,...,FLAG``."""
    left = -1, 0.0, 0, 0, 0, 0, 0, a
    value, at = _time(buf, a)
    if at < 0 or _at(buf, at) != _COMMA:
        return left
    start = at + 1
    name, at = _hex(buf, start)
    if at == start or _at(buf, at) != _COMMA or name > 0x1FFFFFFF or _at(buf, at + 2) != _COMMA:
        return left
    size = np.int64(_at(buf, at + 1)) - _ZERO
    at += 3
    if size < 0 or size > 8:
        return left
    wrong, commas = np.uint8(0), np.int64(0)
    for i in range(size):
        high, low = _HEX[_at(buf, at + 3 * i)], _HEX[_at(buf, at + 3 * i + 1)]
        wrong |= high | low
        commas += _at(buf, at + 3 * i + 2) == _COMMA
        _put(payload, used + i, high << 4 | low)
    flag = _at(buf, at + 3 * size)
    if wrong > 15 or commas != size or (flag != _REGULAR and flag != _INJECTED):
        return left
    return size, value, name, name > 0x7FF, flag == _INJECTED, 0, 0, at + 3 * size + 1


@_inlined
def _base64(buf: int, at: int, size: int, payload: int, used: int) -> Any:
    """``size`` bytes in padded base64: the place behind them, or -1."""
    wrong = np.uint8(0)
    for done in range(0, size, 3):
        left = size - done
        a, b = _BASE64[_at(buf, at)], _BASE64[_at(buf, at + 1)]
        c, d = _BASE64[_at(buf, at + 2)], _BASE64[_at(buf, at + 3)]
        if left < 3:  # What the last digit says beyond the last byte must be nothing.
            wrong |= np.uint8(64) * (_at(buf, at + 3) != _EQUALS)
            d = np.uint8(0)
            wrong |= np.uint8(64) * ((c if left == 2 else b) % (4 if left == 2 else 16) != 0)
        if left < 2:
            wrong |= np.uint8(64) * (_at(buf, at + 2) != _EQUALS)
            c = np.uint8(0)
        wrong |= a | b | c | d
        _put(payload, used + done, a << 2 | b >> 4)
        if left > 1:
            _put(payload, used + done + 1, b << 4 | c >> 2)
        if left > 2:
            _put(payload, used + done + 2, c << 6 | d)
        at += 4
    return -1 if wrong > 63 else at


@_inlined
def _python_can_csv(buf: int, a: int, payload: int, used: int) -> Any:
    """``T,0xID,EXTENDED,0,0,DLC,BASE64``."""
    left = -1, 0.0, 0, 0, 0, 0, 0, a
    value, at = _time(buf, a)
    if at < 0 or _at(buf, at) != _COMMA or _at(buf, at + 1) != _ZERO or _at(buf, at + 2) != _X:
        return left
    start = at + 3
    name, at = _hex(buf, start)
    if at == start or name > 0x1FFFFFFF:
        return left
    for i in (0, 2, 4, 6, 8):
        if _at(buf, at + i) != _COMMA:
            return left
    wide, size = np.int64(_at(buf, at + 1)) - _ZERO, np.int64(_at(buf, at + 7)) - _ZERO
    if wide != 0 and wide != 1:
        return left
    if _at(buf, at + 3) != _ZERO or _at(buf, at + 5) != _ZERO or size < 0 or size > 8:
        return left
    stop = _base64(buf, at + 9, size, payload, used)
    if stop < 0:
        return left
    return size, value, name, wide == 1 or name > 0x7FF, UNLABELLED, 0, 0, stop


@_compiled
def scan(
    layout: int, text: Any, first: int, spans: Any, rest: Any, out: Any, data: Any, ends: Any, channels: Any
) -> Any:
    """Lines of a block → outputs filled; gives how many lines were taken and how many left."""
    t, ident, flags, label, channel = out
    buf, payload, end = _address(text), _address(data), len(text) - PADDING
    k, r, used, a, number, code, known_at, known_size = 0, 0, 0, 0, first, 0, 0, -1
    while a < end:
        if layout == 0:
            size, value, name, wide, truth, name_at, name_size, b = _candump(buf, a, payload, used)
        elif layout == 1:
            size, value, name, wide, truth, name_at, name_size, b = _can_train_and_test(buf, a, payload, used)
        elif layout == 2:
            size, value, name, wide, truth, name_at, name_size, b = _hcrl_csv(buf, a, payload, used)
        else:
            size, value, name, wide, truth, name_at, name_size, b = _python_can_csv(buf, a, payload, used)
        at = b + (_at(buf, b) == _RETURN)
        plain = size >= 0 and (at == end or (at < end and _at(buf, at) == _NEWLINE))
        # Nearly always the channel of the line before.
        if (
            plain
            and layout == 0
            and not (known_size == name_size and _same(buf, known_at, name_at, name_size))
        ):
            code, known_at, known_size = _channel(buf, name_at, name_size, channels), name_at, name_size
        if plain and code >= 0:
            used += size
            ends[k + 1] = used
            spans[0, k], spans[1, k], spans[2, k] = number, a, b
            t[k], ident[k], flags[k], label[k], channel[k] = value, name, wide, truth, code
            k += 1
        else:
            at = a
            while at < end and _at(buf, at) != _NEWLINE:
                at += 1
            if at > a:
                rest[0, r], rest[1, r], rest[2, r] = number, a, at
                r += 1
        a = at + 1
        number += 1
    return k, r
