"""The page and the tests tell of the same faults."""

import re
from pathlib import Path

from .page import ROOT, rows


def test_every_rows_test_exists() -> None:
    missing = [row.test for row in rows() if not row.exists]
    assert not missing


def test_every_fault_that_is_made_has_its_row() -> None:
    here = Path(__file__)
    made = [
        f"{path.relative_to(ROOT)}::{name}"
        for path in here.parent.glob("test_*.py")
        if path != here
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    ]
    told = [row.test for row in rows()]
    assert sorted(test for test in told if test in made) == sorted(made)
    assert len(set(told)) == len(told)
