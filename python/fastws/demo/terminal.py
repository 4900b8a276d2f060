"""What the live view and the report share: styled text of a known width, numbers in words, and the terminal's size."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BOLD: Final = "1"
DIM: Final = "2"
CYAN: Final = "36"
GREEN: Final = "32"
YELLOW: Final = "33"
RED: Final = "31"
BLUE: Final = "34"
MAGENTA: Final = "35"

TIMES: Final = "\N{MULTIPLICATION SIGN}"
ABSENT: Final = "\N{EN DASH}"
"""Stands for a number that there is not."""

SPARKS: Final = "▁▂▃▄▅▆▇█"
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"

Size = tuple[int, int]
"""Columns and rows."""


class Line:
    """One line of text in pieces, each with a style; it knows how many columns it takes.

    Every character in it must be one column wide; `printable` makes sure of that for text from outside.
    """

    __slots__ = ("_pieces", "width")

    def __init__(self, text: str = "", style: str = "") -> None:
        self._pieces: list[tuple[str, str]] = []
        self.width = 0
        if text:
            self.add(text, style)

    def add(self, text: str, style: str = "") -> Line:
        """Append ``text`` in ``style`` (SGR codes, like ``"1;36"``) and return the line itself."""
        if text:
            self._pieces.append((text, style))
            self.width += len(text)
        return self

    def extend(self, other: Line) -> Line:
        """Append the pieces of another line and return the line itself."""
        self._pieces += other._pieces
        self.width += other.width
        return self

    def to(self, column: int) -> Line:
        """Append blanks up to ``column``; nothing if the line is there already."""
        return self.add(" " * (column - self.width))

    def end_at(self, column: int, text: str, style: str = "") -> Line:
        """Append ``text`` so that it ends at ``column``, at least one blank behind what is there."""
        return self.to(max(column - len(text), self.width + 1 if self.width else 0)).add(text, style)

    def render(self, width: int, *, color: bool) -> str:
        """Return the line, cut to ``width`` columns, with escape sequences if ``color``."""
        parts = []
        room = width
        for text, style in self._pieces:
            shown = text[:room]
            room -= len(shown)
            parts.append(f"\x1b[{style}m{shown}\x1b[0m" if color and style and shown else shown)
        return "".join(parts)


def bar(share: float, columns: int) -> str:
    """Return a bar of up to ``columns`` cells, in eighths of a cell; never empty for a share above 0."""
    eighths = round(min(max(share, 0.0), 1.0) * columns * 8)
    if share > 0 and columns:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float], columns: int) -> str:
    """Return the last ``columns`` of ``values`` as small columns, scaled to the largest of them."""
    shown = values[max(len(values) - columns, 0) :]
    top = max(shown, default=0.0)
    if top <= 0:
        return SPARKS[0] * len(shown)
    return "".join([SPARKS[min(int(value / top * len(SPARKS)), len(SPARKS) - 1)] for value in shown])


def duration_text(nanoseconds: float) -> str:
    """Write a duration in the unit that suits it, with three digits: ``"42.0 µs"``."""
    for unit, size in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        value = nanoseconds / size
        if value < _NEXT_UNIT:
            return f"{value:.0f} {unit}" if size == 1 else f"{_three_digits(value)} {unit}"
    return seconds_text(nanoseconds / 1e9)


def seconds_text(seconds: float) -> str:
    """Write a number of seconds: ``"0.31 s"``, ``"12.4 s"``, ``"3 min 20 s"``."""
    if seconds < _MINUTE:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def megabytes_text(bytes_count: float) -> str:
    """Write bytes as millions of bytes, with three digits and no unit."""
    return _three_digits(bytes_count / 1e6)


def printable(text: str, columns: int) -> str:
    """Make text from outside safe to show: printable ASCII only, cut to ``columns``."""
    clean = _UNPRINTABLE.sub("?", text)
    return clean if len(clean) <= columns else clean[: max(columns - 1, 0)] + "…"


def size_of(stream: TextIO) -> Size:
    """Return the size of the terminal behind ``stream``; 80x24 when there is none."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return _NO_TERMINAL
    return (columns or _NO_TERMINAL[0], rows or _NO_TERMINAL[1])


def is_terminal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether ``stream`` is a terminal that understands escape sequences."""
    try:
        return stream.isatty() and environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def wants_color(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether to use colours: on a terminal, unless ``NO_COLOR`` is set to anything (https://no-color.org)."""
    return is_terminal(stream, environ) and not environ.get("NO_COLOR")


def encodable(lines: Iterable[str], encoding: str | None) -> list[str]:
    """Return ``lines`` as they are if ``encoding`` can carry our symbols, else with ASCII in their place."""
    try:
        _SYMBOLS.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return [line.translate(_TO_ASCII).encode("ascii", "replace").decode() for line in lines]
    return list(lines)


def _three_digits(value: float) -> str:
    if value >= _HUNDRED - _HALF:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TEN - _HALF / 10 else f"{value:.2f}"


_NEXT_UNIT: Final = 999.5
_MINUTE: Final = 120
_HUNDRED: Final = 100
_TEN: Final = 10
_HALF: Final = 0.05
_NO_TERMINAL: Final = (80, 24)
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_SYMBOLS: Final = SPARKS + EIGHTHS + "━─╌·µ…✓✗●○" + TIMES + ABSENT
_TO_ASCII: Final = str.maketrans(_SYMBOLS, "_.-=+*##" + " .:-=+*##" + "=-.-u.+x*ox-")
