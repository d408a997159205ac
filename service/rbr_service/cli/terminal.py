"""A person at a terminal, or a pipe that stands in: what is read there and what is typed.

    text -> visible -> wrapped -> pages;  keys on a terminal, lines elsewhere -> one key at a time

What is shown was written by a policy under optimisation: nothing of it may move the cursor, hide behind
other text or turn it round.
"""

import os
import re
import shutil
import sys
import termios
import textwrap
import tty
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import click

WIDEST = 100  # columns that read well
RESERVED = 2  # lines of a page for the prompt behind it
QUIT, ENTER = "q", "\n"

_JOINERS = "\u200c\u200d"  # invisible, and needed: letters of Persian, emoji of several parts
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?")  # arrow and function keys
_WORDS = {"": ENTER, "yes": "y", "no": "n", "skip": "s", "back": "b", "read": "r", "quit": QUIT}


def visible(text: str) -> str:
    """The text with control and format characters as signs; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" + _JOINERS else _sign(c) for c in text)


def _sign(character: str) -> str:
    code = ord(character)
    if unicodedata.category(character) not in _HIDDEN:
        return character  # spaces of all widths
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"<U+{code:04X}>"


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most so many columns, hostile characters visible; line breaks and indents stay."""
    return list(chain.from_iterable(_folded(line, columns) for line in visible(text).split("\n")))


def _folded(line: str, columns: int) -> list[str]:
    wide = any(unicodedata.east_asian_width(c) in "WF" for c in line)  # two columns each
    width = max(columns // 2 if wide else columns, 10)
    return textwrap.wrap(line.expandtabs(4), width, replace_whitespace=False, break_on_hyphens=False) or [""]


class Terminal:
    """Shows text and tells the keys that are typed."""

    def __init__(self, keys: Iterator[str], *, interactive: bool) -> None:
        """`interactive`: a person looks on, so long text comes by the page. See `terminal`."""
        self._keys = keys
        self._interactive = interactive

    @property
    def columns(self) -> int:
        """How wide text is set."""
        return min(shutil.get_terminal_size().columns, WIDEST)

    def key(self, prompt: str) -> str:
        """The next key; QUIT when there are no more."""
        click.echo(prompt, nl=False)
        found = next(self._keys, QUIT)
        click.echo(visible(found).strip() if found != ENTER else "")
        return found

    def show(self, lines: Sequence[str]) -> bool:
        """Print lines, by the page where they are more than the screen holds; False to quit."""
        page = max(shutil.get_terminal_size().lines - RESERVED, 1)
        if not self._interactive or len(lines) <= page:
            click.echo("\n".join(lines))
            return True
        for begin in range(0, len(lines), page):
            click.echo("\n".join(lines[begin : begin + page]))
            if begin + page < len(lines):
                key = self._turned(
                    f"-- line {begin + page} of {len(lines)}: space, or Enter to the questions -- "
                )
                if key != " ":
                    return key == ENTER
        return True

    def _turned(self, prompt: str) -> str:
        key = self.key(prompt)
        while key not in (" ", ENTER, QUIT):
            key = self.key(prompt)
        return key


@contextmanager
def terminal() -> Iterator[Terminal]:
    """The terminal at stdin, each key counting at once until the block ends; else stdin's lines."""
    if not sys.stdin.isatty():
        yield Terminal(_lines(), interactive=False)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    # Not TCSAFLUSH: what was typed ahead counts.
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield Terminal(_pressed(descriptor), interactive=True)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _pressed(descriptor: int) -> Iterator[str]:
    while True:
        try:
            typed = os.read(descriptor, 1024).decode(errors="replace")
        except OSError:
            return  # the terminal is gone
        for key in _ESCAPES.sub("", typed):
            if key == "\x04":  # Control-D
                return
            yield ENTER if key == "\r" else key
        if not typed:
            return


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        word = line.strip().lower()
        yield _WORDS.get(word, word)
