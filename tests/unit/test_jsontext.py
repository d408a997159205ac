"""JSON with one reading: Python's own where it is sound, and a ValueError with a sentence where not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.jsontext import line, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=9,
)


@given(VALUES, st.booleans())
@settings(derandomize=True, deadline=None, max_examples=200)
def test_sound_json_is_read_as_python_reads_it(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert loads(text) == loads(text.encode()) == loads(b"\xef\xbb\xbf" + text.encode()) == value


@given(VALUES)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_a_line_is_one_and_reads_as_what_it_was(value: Any) -> None:
    assert line(value).endswith(b"\n")
    assert line(value).count(b"\n") == 1
    assert loads(line(value)) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1 column 2"),
        ("", "Expecting value"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        ("[]".encode("utf-16"), "not UTF-8"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' stands twice"),
        ('[{"x": {"a": 1, "\\u0061": 2}}]', "'a' stands twice"),
        ('"\\ud800"', "surrogate"),
        ('"\\udc00\\ud800"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_unsound_json_is_refused(text: str | bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        loads(text)


def test_a_whole_pair_is_a_character() -> None:
    assert loads('"\\ud83d\\ude00"') == "\U0001f600"
    assert loads('"\\\\ud800"') == "\\ud800"
