"""The chart of the targets: one bar for each line, as a share of what it may be."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from .report import Line, shown

__all__ = ["svg"]

ROW, NAMES, BARS, NUMBERS, TOP = 20, 430, 320, 260, 34

#: The bar of a line that takes more than twice its target ends at the edge.
MOST = 2.0

_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.quiet { fill: #656d76 }
.met { fill: #2da44e } .missed { fill: #cf222e } .target { stroke: #1f2328; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 } .target { stroke: #e6edf3 }
}
</style>"""


def svg(lines: list[Line]) -> str:
    """Return a picture of *lines*. A bar that stays left of the dashed line meets its target."""
    height = TOP + ROW * len(lines) + 10
    width = NAMES + BARS + NUMBERS
    target = NAMES + BARS / MOST
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'aria-label="Each measurement as a share of its target">',
            _STYLE,
            f'<text x="{target}" y="16" text-anchor="middle" class="quiet">target</text>',
            f'<line x1="{target}" x2="{target}" y1="22" y2="{height - 6}" class="target"/>',
            *_rows(lines),
            "</svg>\n",
        ]
    )


def _rows(lines: list[Line]) -> Iterator[str]:
    for number, line in enumerate(lines):
        y = TOP + ROW * number
        share = min(line.value / line.target if line.target else 0.0 if line.met else MOST, MOST)
        kind = "met" if line.met else "missed"
        yield (
            f'<text x="{NAMES - 8}" y="{y + 11}" text-anchor="end">{escape(line.name)}</text>'
            f'<rect x="{NAMES}" y="{y}" width="{max(share, 0.005) * BARS / MOST:.1f}" height="14" '
            f'rx="2" class="{kind}"/>'
            f'<text x="{NAMES + BARS + 8}" y="{y + 11}" class="quiet">'
            f"{escape(f'{shown(line.value)} of {line.target:g} {line.unit}')}</text>"
        )
