"""Progress on a terminal and in a log."""

import io
import sys
from math import inf

import pytest

from rbr_trainer.progress import Progress


def test_a_log_gets_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 1000, "rows", quiet=0) as progress:
        for _ in range(1000):
            progress.step()
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"reading: {i}00 of 1000 rows" for i in range(1, 11)]
    assert captured.out == ""


def test_short_work_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 10, "rows", quiet=inf) as progress:
        progress.step(10)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("reading", 3, "rows") as progress:
        for _ in range(3):
            progress.step()
    assert "reading" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    with Progress("nothing", 0, "rows"):
        pass
