"""Labels of every JSON kind: read, or refused by name."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.errors import BadLabelError
from rbr_service.labels import Label, MessageIn, parse

FULL = {
    "response_type": "comply",
    "category": "K-C",
    "base_reward": 1.5,
    "messages": [{"role": "user", "content": " Hi\n"}],
}


@pytest.mark.parametrize("raw", ["comply", "Hard Refuse", "K-R", "None", "5", "\x00", " K-R "])
def test_a_plain_text_is_a_name(raw: str) -> None:
    assert parse(raw) == Label(response_type=raw)


@pytest.mark.parametrize(
    "raw", [None, "", {}, "{}", " {} ", "null", '""', {"response_type": None}, {"category": ""}]
)
def test_nothing_names_nothing(raw: Any) -> None:
    label = parse(raw)
    assert not label.name
    assert (label.base_reward, label.messages) == (None, None)


@pytest.mark.parametrize("raw", [FULL, json.dumps(FULL), " " + json.dumps(FULL, indent=1)])
def test_an_object_and_its_json_text_are_the_same(raw: Any) -> None:
    label = parse(raw)
    assert label.model_dump() == FULL
    assert label.messages == [MessageIn(role="user", content=" Hi\n")]
    assert label.messages[0].message().content == "Hi"


def test_json_text_of_a_name_is_a_name() -> None:
    assert parse('"K-R"') == Label(response_type="K-R")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ({"response_type": "comply", "category": "K-R"}, "comply"),
        ({"response_type": "", "category": "K-R"}, "K-R"),
        ({"response_type": None, "category": "K-R"}, "K-R"),
    ],
)
def test_the_response_type_wins_over_the_category(raw: dict[str, Any], name: str) -> None:
    assert parse(raw).name == name


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e6, -1e6])
def test_base_rewards(value: float) -> None:
    assert parse({"base_reward": value}).base_reward == value


@pytest.mark.parametrize("value", [1e6 + 1, -1e7, 10**400, float("nan"), float("inf"), "1", True, [1], {}])
def test_bad_base_rewards_are_named(value: Any) -> None:
    with pytest.raises(BadLabelError, match="the label's base_reward: "):
        parse({"base_reward": value})


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (5, "not a number"), (1.5, "not a number"), (True, "not a boolean"), ([], "not a list"),
        ("[1]", "not a list"),
        ({"foo": 1}, "foo: "), ({"body": 1}, "body: "), ({"response_type": 1}, "response_type: "),
        ({"category": ["a"]}, "category: "), ({"messages": "Hi"}, "messages: "),
        ({"messages": [{"role": "user"}]}, r"messages\.0\.content: "),
        ('{"a"', "not sound"), ('"a" b', "not sound"), ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"category": "\\ud800"}', "surrogate"), ('{"a":' + "[" * 99_999, "too deeply"),
        ('{"base_reward": NaN}', "finite"),
    ],
)  # fmt: skip
def test_bad_labels_say_what_is_wrong(raw: Any, told: str) -> None:
    with pytest.raises(BadLabelError, match=told):
        parse(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["{", '"', "K-R"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(FULL)) | st.text(max_size=3), children, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON)
@settings(derandomize=True, deadline=None, max_examples=400)
def test_any_json_value_is_a_label_or_a_typed_error(raw: Any) -> None:
    for value in (raw, json.dumps(raw)):
        with suppress(BadLabelError):
            label = parse(value)
            assert label.base_reward is None or abs(label.base_reward) <= 1e6
