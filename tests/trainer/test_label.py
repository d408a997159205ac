"""A label read as the service reads it, or refused before a run."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service import labels as service
from rbr_service.errors import BadLabelError
from rbr_trainer.data import label as trainer
from rbr_trainer.errors import InputError

FORMS: list[Any] = [
    "hard_refusal", " K-R ", "", None, "null", '""', '"comply"', "{", "[1]", "{}", {}, 3, True, ["comply"],
    '{"response_type": "comply", "category": null}', '{"category": "K-R", "base_reward": 1.5}',
    '{"category": 1}', '{"a": 1, "a": 2}', '{"category": "\\ud800"}', {"base_reward": float("nan")},
    {"base_reward": 2e6}, {"base_reward": True}, {"base_reward": 3}, {"responsetype": "comply"},
    {"messages": [{"role": "user", "content": "Hi"}]}, {"messages": [{"role": "user"}]}, {"messages": "Hi"},
    {"messages": [{"role": "user", "content": "Hi", "name": None}]}, {"messages": None}, {"messages": []},
]  # fmt: skip


def said(parse: Any, raw: Any) -> Any:
    try:
        label = parse(raw).model_dump(exclude_none=True)
    except (BadLabelError, InputError):
        return "refused"
    return label | ({"messages": [*label["messages"]]} if "messages" in label else {})


@pytest.mark.parametrize("raw", FORMS, ids=repr)
def test_a_form_is_what_it_is_to_the_service(raw: Any) -> None:
    assert said(trainer.parse, raw) == said(service.parse, raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["response_type", "category", "base_reward", "messages", "role", "content", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(JSON)
def test_any_value_is_what_it_is_to_the_service(raw: Any) -> None:
    assert said(trainer.parse, raw) == said(service.parse, raw)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (3, r"^the label 3 is neither text nor an object: .* --label-key"),
        ("{", r"^the label looks like JSON and is not sound: "),
        ({"x": 1}, r"^the label's x: is not known here"),
        ({"messages": [{"role": "user", "content": 1}]}, r"^the label's messages\.0\.content: "),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(raw: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        trainer.parse(raw)
