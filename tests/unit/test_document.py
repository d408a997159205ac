"""YAML read as plain data with lines; whatever is wrong with a file is a PolicyError with its line."""

from pathlib import Path

import pytest

from rbr_service.errors import PolicyError
from rbr_service.rbr.document import Document, load, parse

TEXT = """\
# a comment

name: x
rules:
  first: {a: true, "b": false}
  second:
    - a: 1
      c: [x,
          y]
    - "text: with colon"
5: five
"""


@pytest.fixture
def document() -> Document:
    return parse(TEXT, "file.yaml")


def test_data_is_plain(document: Document) -> None:
    assert document.data == {
        "name": "x",
        "rules": {
            "first": {"a": True, "b": False},
            "second": [{"a": 1, "c": ["x", "y"]}, "text: with colon"],
        },
        5: "five",
    }


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ((), 3), (("name",), 3), (("rules",), 4), (("rules", "first"), 5), (("rules", "first", "b"), 5),
        (("rules", "second"), 6), (("rules", "second", 0), 7), (("rules", "second", 0, "c"), 8),
        (("rules", "second", 0, "c", 1), 9), (("rules", "second", 1), 10), ((5,), 11),
    ],
)  # fmt: skip
def test_every_key_has_its_line(document: Document, key: tuple[str | int, ...], line: int) -> None:
    assert document.line(key) == line


def test_a_key_that_is_missing_has_its_ancestors_line(document: Document) -> None:
    assert document.line(("rules", "first", "nope", 0)) == 5
    assert document.line(("nope",)) == 3


def test_an_error_names_file_line_key_and_problem(document: Document) -> None:
    error = document.error(("rules", "second", 0), "is odd")
    assert str(error) == "file.yaml:7: rules.second.0: is odd"
    assert (error.line, error.key, error.problem) == (7, "rules.second.0", "is odd")
    assert error.details == {"file": "file.yaml", "line": 7, "key": "rules.second.0"}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_holds_nothing(text: str) -> None:
    assert parse(text, "file.yaml").data is None


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: \x00\n", 2, "not valid YAML: special characters"),
        ("a: 1\n\nb: \ud800\n", 3, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: 'x\n", 2, "not valid YAML"),
        ("a: &x 1\nb: 2\nc: *x\n", 3, "aliases"),
        ("a: &x [1, *x]\n", 1, "aliases"),
        ("a: 1\nb: *nothing\n", 2, "aliases"),
        ("a: {x: 1}\nb:\n  <<: {x: 1}\n", 3, "not valid YAML"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "not valid YAML"),
        ("a: 1\n? [x]\n: 2\n", 2, "a key must be a plain word"),
        ("a: 1\n? {x: y}\n: 2\n", 2, "a key must be a plain word"),
        ("a: " + "[" * 10_000, 1, "nested too deeply"),
        ("a: " + "{a: " * 10_000, 1, "nested too deeply"),
    ],
)
def test_faults_of_the_text(text: str, line: int, told: str) -> None:
    with pytest.raises(PolicyError, match=told) as caught:
        parse(text, "file.yaml")
    assert (caught.value.line, caught.value.key) == (line, "")
    assert str(caught.value).startswith(f"file.yaml:{line}: ")


@pytest.mark.parametrize(
    "value",
    ["2024-99-99", "!!int ''", "!!int x", "!!bool maybe", "!!timestamp x", "!!float x", "0x_", "1" * 5000],
)
def test_values_that_are_none(value: str) -> None:
    with pytest.raises(PolicyError, match="is not a value of the YAML type") as caught:
        parse(f"a:\n  b: {value}\n", "file.yaml")
    assert (caught.value.line, caught.value.key) == (2, "a.b")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("again", ["a: 2", '"a": 2', "'a': 2", "a:", "? a\n: 2", "!!str a: 2"])
def test_a_key_may_not_stand_twice(again: str) -> None:
    with pytest.raises(PolicyError, match=r"x\.a: stands twice \(first on line 2\)") as caught:
        parse("x:\n  a: 1\n  b: 1\n" + "".join(f"  {line}\n" for line in again.split("\n")), "file.yaml")
    assert caught.value.line == 4


def test_a_key_called_key_is_like_any_other() -> None:
    document = parse("x: 1\nkey: {key: 2, b: 3}\n", "file.yaml")
    assert document.data == {"x": 1, "key": {"key": 2, "b": 3}}
    assert "key" not in {part for key in parse("a: {b: 1}\n", "file.yaml").lines for part in key}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\n")
    for path, told in (
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path, "cannot be read"),
        (binary, "not UTF-8"),
    ):
        with pytest.raises(PolicyError, match=told) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}:1: ")


def test_messages_may_call_the_file_otherwise(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"^policy:1: "):
        load(tmp_path / "none.yaml", "policy")
