"""What a run of the benchmarks found: tables of times, and lines with a target. It can be kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Findings", "Line", "Report", "Table"]


@dataclass(frozen=True)
class Line:
    """One line of the targets.

    :param group: what the line is about. Lines of one group stand together.
    :param limit: the same measure for the least that any program would have to do, if it was measured.
    """

    group: str
    what: str
    value: float
    target: float
    unit: str
    limit: float | None = None
    limit_of: str = ""
    strictly: bool = False

    @property
    def name(self) -> str:
        return f"{self.group}: {self.what}" if self.what else self.group

    @property
    def met(self) -> bool:
        return self.value < self.target if self.strictly else self.value <= self.target

    @property
    def verdict(self) -> str:
        return "met" if self.met else "not met"

    @property
    def asked(self) -> str:
        return f"{'below' if self.strictly else 'at most'} {self.target:g} {self.unit}"

    @property
    def least(self) -> str:
        return "" if self.limit is None else f"{shown(self.limit)}: {self.limit_of}"


@dataclass(frozen=True)
class Table:
    """Medians of one measurement, with the row that the others are compared with, if there is one."""

    title: str
    unit: str
    rows: Mapping[str, float]
    basis: str = ""

    def cells(self) -> list[list[str]]:
        """Return a list of texts for each row: the name, the number, and its ratio to the basis."""
        return [
            [name, shown(value), *([f"{value / self.rows[self.basis]:.2f}"] if self.basis else [])]
            for name, value in self.rows.items()
        ]

    @property
    def header(self) -> list[str]:
        return ["", self.unit, *([f"of {self.basis}"] if self.basis else [])]


@dataclass
class Findings:
    """What one part of the benchmarks found. ``tables`` are named by what the page calls them."""

    lines: list[Line] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What a whole run found, on which machine."""

    machine: dict[str, Any]
    findings: Findings

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        kept = json.loads(path.read_text())
        found = kept["findings"]
        tables = {name: Table(**table) for name, table in found["tables"].items()}
        return cls(
            kept["machine"],
            Findings([Line(**line) for line in found["lines"]], tables, found["notes"]),
        )


def shown(value: float) -> str:
    """Return *value* with three digits that count.

    >>> shown(1234.5), shown(12.34), shown(0.0123), shown(2)
    ('1,234', '12.3', '0.0123', '2')
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
