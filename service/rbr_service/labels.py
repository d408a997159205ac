"""What a trainer's label says about a sample.

    "hard_refusal" | "K-R" | '{"response_type": ...}' | {...} | "" | null -> Label

The dataset column may hold a response type, a category, or an object (or JSON text of one).
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rbr_service import jsontext
from rbr_service.conversation import Message
from rbr_service.errors import BadLabelError
from rbr_service.faults import sentence

# Beyond this the sum with the RBR reward would lose the 1e-6 that the contract promises.
BaseReward = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False, strict=True)]


class Fields(BaseModel):
    """Named fields, null meaning absent: datasets fill columns that a row lacks with null."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if isinstance(given, dict) and None in given.values():
            return {name: value for name, value in given.items() if value is not None}
        return given


class MessageIn(Fields):
    """One chat message."""

    role: Annotated[str, Field(min_length=1, max_length=32, examples=["user"])]
    content: str

    def message(self) -> Message:
        """The service's own value; outer white space, which templates drop, does not count."""
        return Message(self.role, self.content.strip())


class Label(Fields):
    """The fields a label object may have. `messages` are the prompt's."""

    response_type: str | None = None
    category: str | None = None
    base_reward: BaseReward | None = None
    messages: Annotated[list[MessageIn], Field(fail_fast=True)] | None = None

    @property
    def name(self) -> str | None:
        """What the policy resolves; the response type wins over the category."""
        return self.response_type or self.category


def parse(raw: Any) -> Label:
    """A label from any JSON value. Raises BadLabelError."""
    if isinstance(raw, str):
        if raw.strip() != "null" and not raw.lstrip().startswith(("{", "[", '"')):
            return Label(response_type=raw)
        raw = _decoded(raw)
    if raw is None or raw == "":
        return Label()
    if isinstance(raw, str):
        return Label(response_type=raw)
    if not isinstance(raw, dict):
        raise BadLabelError(
            f"a label must be a string, an object or null, not {_kind(raw)}: give a response type, "
            'a category or {"response_type": ...}'
        )
    try:
        return Label.model_validate(raw)
    except ValidationError as error:
        raise BadLabelError(f"the label's {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """The first fault as `place: what is wrong`."""
    return fault(error.errors(include_url=False, include_input=False)[0], "content")


def fault(first: Mapping[str, Any], whole: str) -> str:
    """One of pydantic's faults as `place: what is wrong`; `whole` is what has no place inside."""
    place = ".".join(str(part)[:80] for part in first["loc"]) or whole
    return f"{place}: {sentence(first)}"


def _decoded(text: str) -> Any:
    try:
        return jsontext.loads(text)
    except ValueError as error:
        raise BadLabelError(
            f"the label looks like JSON and is not sound: {error}; mend it or give a plain name"
        ) from error


def _kind(value: Any) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "this")
