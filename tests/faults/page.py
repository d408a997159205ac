"""The table of docs/faults.md: for every fault what happens, what is lost, and the test that makes it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"


@dataclass(frozen=True)
class Row:
    """`test` is path::name."""

    fault: str
    happens: str
    lost: str
    test: str

    @property
    def exists(self) -> bool:
        """Whether there is such a test."""
        path, _, name = self.test.partition("::")
        return f"\ndef {name}(" in (ROOT / path).read_text()


def rows() -> list[Row]:
    """The table's rows, in order."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, _, *found = table
    assert head == ["fault", "what happens", "lost", "test"], head
    return [Row(fault, happens, lost, re.sub("`", "", test)) for fault, happens, lost, test in found]
