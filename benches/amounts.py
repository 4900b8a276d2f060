"""Figures in words: an amount with its unit, and how many times."""

from __future__ import annotations

LARGER = {"/s": ((1e6, "M/s"), (1e3, "k/s"))}
"""Units that large figures are given in, largest first."""


def unit_of(value: float, unit: str) -> tuple[float, str]:
    """What to divide by, and the name of the result's unit."""
    return next((step for step in LARGER.get(unit, ()) if abs(value) >= step[0]), (1.0, unit))


def amount(value: float, unit: str) -> str:
    """A figure with three digits and the unit that suits it."""
    factor, name = unit_of(value, unit)
    scaled = value / factor
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    if name == "/s":
        digits = 0
    return f"{scaled:,.{digits}f}{'' if name == '/s' else ' '}{name}"


def times(ratio: float) -> str:
    if ratio < 0.0995:
        return f"{ratio:.2g}"
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}"
