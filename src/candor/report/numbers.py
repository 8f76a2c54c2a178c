"""How numbers are written, in every table alike."""

from __future__ import annotations

UNDEFINED = "–"


def share(value: float | None, digits: int = 3) -> str:
    """A share. ``1`` and ``0`` are exact: what only rounds to them keeps a digit more (0.9996), or is >0.9999."""
    if value is None:
        return UNDEFINED
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    for more in (digits, digits + 1):
        text = f"{value:.{more}f}"
        if float(text) not in (0.0, 1.0):
            return text
    smallest = 10.0 ** -(digits + 1)
    if abs(value) < 0.5:
        return f"{'<' if value > 0 else '>-'}{smallest:.{digits + 1}f}"
    return f">{1 - smallest:.{digits + 1}f}"


def quantity(value: float | None) -> str:
    """A number with a unit: three significant digits, no exponent below a million."""
    if value is None:
        return UNDEFINED
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def threshold(value: float) -> str:
    """A threshold to three digits; the smallest float above 0 flags whatever is not 0, and is written so."""
    return ">0" if 0 < value < 1e-300 else f"{value:.3g}"


def estimate(row: dict[str, float | None], *, digits: int = 3, is_share: bool = True) -> str:
    """``value ± sd`` over seeds, ``value [low, high]`` of one seed, or a dash."""
    value, sd, low, high = (row.get(k) for k in ("value", "sd", "low", "high"))
    if value is None:
        return UNDEFINED

    def write(v: float | None) -> str:
        return share(v, digits) if is_share else quantity(v)

    if sd is not None:
        return f"{write(value)} ± {write(sd)}"
    if low is not None and high is not None:
        return f"{write(value)} [{write(low)}, {write(high)}]"
    return write(value)
