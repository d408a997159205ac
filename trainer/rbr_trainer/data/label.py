"""What a row's label says, read as the service reads it.

    "hard_refusal" | "K-R" | '{"response_type": ...}' | {...} | "" | null -> Label

Here a label is looked at before a run, so that none is met by a refusal in the middle of it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rbr_trainer.data import rows
from rbr_trainer.errors import InputError

# What the service takes: beyond this the sum with the RBR reward would lose its exactness.
BaseReward = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False, strict=True)]


class Fields(BaseModel):
    """Named fields, null meaning absent: datasets fill columns that a row lacks with null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if value is not None}
        return given


class Message(Fields):
    """One chat message."""

    role: Annotated[str, Field(min_length=1, max_length=32)]
    content: str

    @property
    def key(self) -> tuple[str, str]:
        """The same for messages that the service takes for the same."""
        return self.role, self.content.strip()


class Label(Fields):
    """The fields a label object may have. `messages` are the prompt's."""

    response_type: str | None = None
    category: str | None = None
    base_reward: BaseReward | None = None
    messages: tuple[Message, ...] | None = None


M = TypeVar("M", bound=Fields)


def parse(raw: Any) -> Label:
    """A label from any JSON value. Raises InputError."""
    if isinstance(raw, str):
        if raw.strip() != "null" and not raw.lstrip().startswith(("{", "[", '"')):
            return Label(response_type=raw)
        raw = _decoded(raw)
    if raw is None or raw == "":
        return Label()
    if isinstance(raw, str):
        return Label(response_type=raw)
    if not isinstance(raw, dict):
        raise InputError(
            f"the label {str(raw)[:40]} is neither text nor an object: give a response type or a category, "
            "or name the column that holds one with --label-key"
        )
    return validated(Label, raw, "the label's ")


def validated(model: type[M], given: Mapping[str, Any], whose: str = "") -> M:
    """The value of a model. Raises InputError that names the field, after `whose`."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"]) or "content"
        raise InputError(f"{whose}{place}: {_sentence(first)}") from error


def _sentence(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "is not known here: remove it or mend its spelling"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _decoded(text: str) -> Any:
    try:
        return rows.loads(text)
    except ValueError as error:
        raise InputError(f"the label looks like JSON and is not sound: {error}") from error
