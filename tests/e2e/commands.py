"""`rbr` run to its end, as a process or in the test's own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rbr_service.cli import main

PATIENCE = 60.0  # seconds; reached only by what hangs
RBR = [str(Path(sys.executable).with_name("rbr"))]

Finished = subprocess.CompletedProcess[str]


def rbr(*arguments: str | Path, **options: Any) -> Finished:
    """A process; its exit code is the caller's to judge."""
    command = RBR + [str(argument) for argument in arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)


def here(*arguments: str | Path) -> Result:
    """In the test's own process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="rbr")


def said(*arguments: str | Path) -> str:
    """What a command that succeeds writes to stdout."""
    result = here(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    """The one line of a command that refuses its input with exit code 2; notes and progress aside."""
    result = here(*arguments)
    assert result.exit_code == 2, result.output
    said = [line for line in result.stderr.splitlines() if line.startswith("rbr: ")]
    *notes, line = said
    assert all(note.startswith("rbr: note: ") for note in notes), result.output
    return line
