"""The shape of a policy file, before its names are checked against each other (see checks.py)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

OUT_OF_SCOPE = "out_of_scope"
AUTO = "auto"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300, pattern=r"^[^\n]+$")
]

# A condition holds when all of a mapping's names have the value given there (a proposition or a
# derived one: true or false), or when any mapping of a list does.
AllOf = Annotated[dict[Name, bool], Field(min_length=1)]
Condition = AllOf | Annotated[list[AllOf], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Example(_Part):
    """A completion and the right answer to the question about it."""

    user: Text | None = None
    assistant: str
    answer: bool
    because: Text | None = None


class Proposition(_Part):
    """A yes/no question about a completion."""

    question: Line
    definition: Text
    examples: list[Example] = []


class Category(_Part):
    """An area of requests and how it is to be answered.

    Where the policy finds a request's type itself, whether the description fits is a yes/no question.
    """

    description: Text
    response_type: Name | Literal["out_of_scope"]


class Auto(_Part):
    """How the type of a request without a label is chosen among the content policy's categories.

    The most probable category decides if its probability is at least `threshold` (over 0, at most 1);
    of equally probable ones the one whose type stands first in `strictest_first`, which names every
    type once. Out of scope is the least strict, and what a request is that fits no category.
    """

    threshold: float
    strictest_first: list[Name]


class Features(_Part):
    """What the linear model sees: P of these propositions, and the class probabilities or not."""

    propositions: list[Name]
    classes: bool = True


class ResponseType(_Part):
    """A wanted way of answering; good and bad traits name propositions."""

    description: Text
    aliases: list[Line] = []
    good: list[Name] = []
    bad: list[Name] = []
    features: Features


class Metrics(_Part):
    """Per response type, the classes that count as unsafe and as over-refusal."""

    unsafe: dict[Name, list[Name]] = {}
    overrefusal: dict[Name, list[Name]] = {}


class PolicyFile(_Part):
    """A whole policy file."""

    policy: Name
    description: Text
    classes: Annotated[list[Name], Field(min_length=2)]
    unlabelled: Name | Literal["out_of_scope", "error", "auto"]
    auto: Auto | None = None
    content_policy: dict[Line, Category] = {}
    response_types: Annotated[dict[Name, ResponseType], Field(min_length=1)]
    propositions: Annotated[dict[Name, Proposition], Field(min_length=1, max_length=256)]
    derived: dict[Name, Condition] = {}
    rules: dict[Name, Annotated[dict[Name, Condition], Field(min_length=1)]]
    metrics: Metrics = Metrics()
