"""What a person is shown: nothing acts on the screen, nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.cli.terminal import Terminal, visible, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, äöü, 漢字, 🙂", "plain, äöü, 漢字, 🙂"),
        ("\x1b[2Jgone\x07", "␛[2Jgone␇"),
        ("over\rwritten\x7f", "over␍written␡"),
        ("\x9b31m", "<U+009B>31m"),
        ("turned \u202eround\u2066", "turned <U+202E>round<U+2066>"),
        ("hid\u200bden \U000e0041", "hid<U+200B>den <U+E0041>"),
        ("می\u200cخواهم 👩\u200d🚒", "می\u200cخواهم 👩\u200d🚒"),
        ("a\tb\nc\u00a0d\u3000e", "a\tb\nc\u00a0d\u3000e"),
        ("line\u2028separator", "line<U+2028>separator"),
    ],
)
def test_hostile_characters_are_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_keep_their_breaks_and_indents() -> None:
    text = "first\n\n    code = 1\n\tlast words of a longer line"
    assert wrapped(text, 20) == ["first", "", "    code = 1", "    last words of a", "longer line"]


def test_wide_characters_count_two_columns() -> None:
    assert wrapped("漢" * 25, 20) == ["漢" * 10, "漢" * 10, "漢" * 5]


@given(st.text(), st.integers(20, 100))
def test_nothing_is_lost_and_no_line_is_too_long(text: str, columns: int) -> None:
    lines = wrapped(text, columns)
    assert all(len(line) <= columns for line in lines)
    letters = "".join(visible(text).split())
    assert "".join("".join(lines).split()) == letters
    assert all(
        character.isprintable() or character in "\u200c\u200d" or character.isspace() for character in letters
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen of 7 lines: pages of 5."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "7")


LINES = [f"line number {i}" for i in range(12)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("keys", "last", "goes_on"),
    [("  ", 11, True), (" x\n", 9, True), ("\n", 4, True), ("q", 4, False), ("", 4, False)],
)
def test_long_text_comes_by_the_page(
    capsys: pytest.CaptureFixture[str], keys: str, last: int, goes_on: bool
) -> None:
    assert Terminal(iter(keys), interactive=True).show(LINES) is goes_on
    shown = capsys.readouterr().out
    assert LINES[last] in shown
    assert f"line number {last + 1}\n" not in shown
    assert "-- line 5 of 12" in shown


@pytest.mark.usefixtures("small")
def test_short_text_and_text_for_a_pipe_come_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert Terminal(iter(""), interactive=True).show(LINES[:5])
    assert Terminal(iter(""), interactive=False).show(LINES)
    assert capsys.readouterr().out == "\n".join([*LINES[:5], *LINES]) + "\n"
