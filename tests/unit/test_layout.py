"""Layout files: the shipped ones, and every fault refused by file and place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.errors import SettingsError
from rbr_service.graders import layout
from rbr_service.graders.layout import Template


def test_the_three_layouts_are_shipped() -> None:
    assert list(layout.shipped()) == ["book", "conversation-first", "released"]


@pytest.mark.parametrize("name", ["book", "conversation-first", "released"])
def test_a_shipped_layout_is_sound(name: str) -> None:
    found = layout.load(name)
    assert found.completion.has_book == found.request.has_book == (name == "book")
    assert ("reply" in Template(found.completion.each).names) == (name == "released")


def test_layouts_have_different_digests() -> None:
    assert len({layout.load(name).digest for name in layout.shipped()}) == 3


@given(text=st.text(), name=st.sampled_from(["{{a}}", "{{b}}", "{{", "}}", "{a}", "%s", "\\1"]))
def test_placeholders_are_filled_in_one_pass(text: str, name: str) -> None:
    value = text + name
    assert Template("<{{a}}|{{b}}>").fill({"a": value, "b": "B"}) == f"<{value}|B>"


SOUND = """\
completion: {shared: "{{conversation}}{{reply}}", each: "{{question}}"}
request: {shared: "{{conversation}}", each: "{{question}}"}
"""


def load(folder: Path, text: str) -> layout.Layout:
    path = folder / "mine.yaml"
    path.write_text(text)
    return layout.load(str(path))


def test_a_layout_of_ones_own(tmp_path: Path) -> None:
    assert load(tmp_path, SOUND).completion.each == "{{question}}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{{reply}}", "", r"mine\.yaml:1: .*must hold \{\{reply\}\}"),
        ("{{question}}", "what?", r"must hold \{\{question\}\}"),
        (
            'each: "{{question}}"}\nrequest',
            'each: "{{question}}{{qestion}}"}\nrequest',
            r"\{\{qestion\}\} is no",
        ),
        ("completion:", "compleation:", "completion: is missing"),
        ('"{{conversation}}"', '"none"', r"mine\.yaml:2: request: .*must hold \{\{conversation\}\}"),
        ('"{{conversation}}"', "7", r"mine\.yaml:2: request\.shared: must be text"),
        ("request:", "message: x\nrequest:", r"message must hold \{\{content\}\}"),
    ],
)
def test_a_faulty_layout_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, SOUND.replace(old, new))


def test_an_unknown_name_lists_what_is_shipped() -> None:
    with pytest.raises(SettingsError, match="'bok' is not shipped; shipped: book, conversation-first"):
        layout.load("bok")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.yaml.*cannot be read"):
        layout.load(str(tmp_path / "gone.yaml"))
