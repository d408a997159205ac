"""How far long work is: a bar on a terminal, a few lines in a log."""

import sys
from typing import Any

import click

CLEAR_LINE = "\r\x1b[K"


def say(message: str) -> None:
    """A line for the person who runs a command; what it prints for other programs is on stdout."""
    click.echo(f"rbr: {message}", err=True)


class Progress:
    """A bar on a terminal; elsewhere a line for every tenth."""

    def __init__(self, label: str, noun: str = "rows") -> None:
        """`label` says what is done, `noun` to what."""
        self._label, self._noun = label, noun
        self._terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._tenth = -1

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.render_finish()

    def show(self, done: int, total: int) -> None:
        """`done` of `total`; the first call may begin in the middle."""
        if self._terminal:
            # click takes the rows done before for this run's and would promise too early an end.
            self._bar = self._bar or click.progressbar(
                length=total, label=self._label, show_pos=True, show_eta=not done, file=sys.stderr
            )
            self._bar.update(done - self._bar.pos)
        elif (tenth := 10 * done // max(total, 1)) != self._tenth:
            self._tenth = tenth
            self.say(f"{self._label}: {done} of {total} {self._noun}")

    def say(self, message: str) -> None:
        """A line of its own, above the bar."""
        click.echo(CLEAR_LINE if self._bar else "", nl=False, err=True)
        say(message)
