"""Bar charts as SVG: panels of horizontal bars on one scale, with whiskers from the least to the most of all rounds.

Written by hand since nothing else is needed: no script, no font, no library, the same bytes for the same figures.
Colours follow the reader's light or dark mode, and a meaning never hangs on a colour alone: who is behind says so in
words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
LEFT = 168
"""Where bars begin; names stand before it."""
RIGHT = 190
"""Room for the figures after the longest bar."""
BAR = 12
STEP = 18
HEAD = 34
"""Height of a panel's own title."""
GAP = 10
TOP = 66
BOTTOM = 46

STYLE = """\
svg { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
text { fill: #1f2328; } .quiet { fill: #59636e; } .title { font-size: 15px; font-weight: 600; }
.head { font-weight: 600; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: #d8dee4; } .one { stroke: #59636e; stroke-dasharray: 3 2; } .whisker { stroke: #1f2328; opacity: .55; }
.rival { fill: #b6bfc9; } .base { fill: #8a949f; } .ours { fill: #2f6fd0; } .spin { fill: #8db4ea; }
.behind { fill: #d9571e; } .word { fill: #b3400d; font-weight: 600; } .name { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9aa4af; } .grid { stroke: #3a414a; } .one { stroke: #9aa4af; }
  .whisker { stroke: #e6edf3; } .rival { fill: #59636e; } .base { fill: #848d97; } .ours { fill: #4c93f5; }
  .spin { fill: #35588c; } .behind { fill: #ee7434; } .word { fill: #ff9a63; }
}"""


@dataclass(frozen=True)
class Bar:
    """``middle`` with its spread, and what is written after it."""

    name: str
    role: str
    """``ours``, ``spin`` (ours, at the price of a core), ``behind`` (ours, behind a rival), ``base`` or ``rival``."""
    middle: float
    low: float
    high: float
    label: str
    note: str = ""
    """Said after the label."""


@dataclass(frozen=True)
class Panel:
    """The bars of one scenario, and what failed in it."""

    title: str
    aside: str
    bars: tuple[Bar, ...]
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def height(self) -> int:
        return HEAD + STEP * (len(self.bars) + len(self.failures)) + GAP


@dataclass(frozen=True)
class Chart:
    """Panels under one title and over one scale."""

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    reference: float | None = 1.0
    """Where the line stands that all bars are compared with."""
    suffix: str = "×"

    @property
    def description(self) -> str:
        """All figures in words, for those who do not see the picture."""
        parts = []
        for panel in self.panels:
            bars = [f"{bar.name} {bar.label}{f' ({bar.note})' if bar.note else ''}" for bar in panel.bars]
            bars += [f"{name} failed" for name, _ in panel.failures]
            parts.append(f"{panel.title}: {', '.join(bars)}.")
        return " ".join(parts)

    def svg(self, slug: str) -> str:
        """The picture; ``slug`` makes its ids unique in a page that has several."""
        highest = max((max(bar.middle, bar.high) for panel in self.panels for bar in panel.bars), default=1.0)
        step = nice_step(highest)
        scale = (WIDTH - LEFT - RIGHT) / max(highest, step)
        bottom = TOP + sum(panel.height for panel in self.panels)
        height = bottom + BOTTOM
        size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="{slug}-title {slug}-desc">',
            f'<title id="{slug}-title">{escape(self.title)}</title>',
            f'<desc id="{slug}-desc">{escape(self.description)}</desc>',
            f"<style>{STYLE}</style>",
            text(0, 20, self.title, "title"),
            text(0, 40, self.subtitle, "quiet"),
        ]
        for tick in range(int(highest / step) + 1):
            x = LEFT + tick * step * scale
            lines.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
            lines.append(text(x, bottom + 16, f"{tick * step:,g}{self.suffix}", "quiet middle"))
        if self.reference is not None:
            x = LEFT + self.reference * scale
            lines.append(f'<path class="one" d="M{x:.1f} {TOP}V{bottom}"/>')
        top = TOP
        for panel in self.panels:
            lines += panel_lines(panel, top, scale)
            top += panel.height
        lines += legend(bottom + 36, {bar.role for panel in self.panels for bar in panel.bars})
        return "\n".join([*lines, "</svg>"]) + "\n"


def nice_step(highest: float) -> float:
    """The distance of ticks: 1, 2 or 5 times a power of ten, so that there are at most eight."""
    power: float = 10.0 ** math.floor(math.log10(highest / 8)) if highest > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10) if highest <= power * factor * 8)


def panel_lines(panel: Panel, top: float, scale: float) -> Iterable[str]:
    yield text(0, top + 20, panel.title, "head")
    yield text(WIDTH, top + 20, panel.aside, "quiet end")
    y = top + HEAD
    for bar in panel.bars:
        base = y + BAR - 2
        yield text(LEFT - 8, base, bar.name, "end quiet" if bar.role in ("base", "rival") else "end name")
        yield f'<rect class="{bar.role}" x="{LEFT}" y="{y}" width="{bar.middle * scale:.1f}" height="{BAR}"/>'
        low, high = LEFT + bar.low * scale, LEFT + bar.high * scale
        middle = y + BAR / 2
        if high - low >= 1:
            yield (
                f'<path class="whisker" d="M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 3:g}v6'
                f'M{high:.1f} {middle - 3:g}v6"/>'
            )
        emphasis = "word" if bar.role == "behind" else "quiet"
        note = f'<tspan class="{emphasis}" dx="6">{escape(bar.note)}</tspan>' if bar.note else ""
        end = LEFT + max(bar.middle, bar.high) * scale + 7
        yield f'<text x="{end:.1f}" y="{base:g}">{escape(bar.label)}{note}</text>'
        y += STEP
    for name, why in panel.failures:
        yield text(LEFT - 8, y + BAR - 2, name, "end quiet")
        yield text(LEFT + 6, y + BAR - 2, f"failed: {shortened(why, 80)}", "quiet")
        y += STEP


def legend(y: float, roles: set[str]) -> Iterable[str]:
    x = 0.0
    for role, name in LEGEND.items():
        if role in roles:
            yield f'<rect class="{role}" x="{x:g}" y="{y - 10:g}" width="12" height="12"/>'
            yield text(x + 17, y, name, "quiet")
            x += 17 + 6.4 * len(name) + 20


LEGEND = {
    "ours": "fastws",
    "spin": "fastws, never sleeping",
    "behind": "fastws, a rival is ahead",
    "base": "picows callback",
    "rival": "rivals",
}


def text(x: float, y: float, words: str, names: str) -> str:
    return f'<text class="{names}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def shortened(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1].rstrip() + "…"
