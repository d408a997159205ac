"""How far long work is: a bar on a terminal, a few lines in a log."""

import sys
import time
from typing import Any

import click

QUIET = 5.0  # seconds


class Progress:
    """Counts up to `total`. A bar on a terminal; elsewhere a line for every tenth, once it takes long."""

    def __init__(self, label: str, total: int, noun: str, quiet: float = QUIET) -> None:
        """`label` says what is done, `noun` to what; `quiet`: seconds before a log is told."""
        self._label, self._total, self._noun = label, total, noun
        self._bar: Any = None
        self._done = self._tenth = 0
        self._quiet_until = time.monotonic() + quiet

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self._bar = click.progressbar(
                length=self._total,
                label=self._label,
                show_pos=True,
                file=sys.stderr,
                update_min_steps=max(1, self._total // 500),
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.render_finish()

    def step(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._bar:
            self._bar.update(count)
        elif (tenth := 10 * self._done // max(self._total, 1)) > self._tenth:
            self._tenth = tenth
            if time.monotonic() >= self._quiet_until:
                click.echo(f"{self._label}: {self._done} of {self._total} {self._noun}", err=True)
