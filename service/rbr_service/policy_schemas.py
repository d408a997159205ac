"""The bodies about policies that can be named, and what changes between two of them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from rbr_service.rbr.schema import Proposition

How = Literal["added", "removed", "changed"]


class PoliciesAnswer(BaseModel):
    """Names that can be compared, or put in force: the configured policy, shipped ones, those of a folder."""

    in_force: str
    policies: list[str]


class SideOut(BaseModel):
    """One of the two policies. `name` is what it was asked by; null: the policy in force, as it is served."""

    name: str | None
    policy: str
    version: str


class QuestionChangeOut(BaseModel):
    """A proposition, worded as it was and as it is; null: there was none, or there is none any more."""

    name: str
    how: How
    old: Proposition | None
    new: Proposition | None


class RuleChangeOut(BaseModel):
    """A condition in words, as it was and as it is.

    `through`: the derived names that it reads and that mean something else now.
    """

    name: str
    how: How
    old: str | None
    new: str | None
    through: list[str]


class TypeChangeOut(BaseModel):
    """A response type whose weights no longer belong to it, or that is new.

    `rules`: its classes whose condition changed; `questions`: those it asks that changed. Where both are
    empty, its features, traits or classes did.
    """

    name: str
    how: How
    rules: list[RuleChangeOut]
    questions: list[str]


class KeyChangeOut(BaseModel):
    """What stands at a place of the policy file, from the outermost key in; null: nothing."""

    place: list[str]
    old: Any
    new: Any


class VoidOut(BaseModel):
    """Response types of the old policy whose weights would not serve the new one on this service.

    `because`: what voids all of them at once; empty where only changed types are void.
    """

    response_types: list[str]
    because: list[str]


class DifferenceAnswer(BaseModel):
    """All that differs between two policies, and what that costs."""

    old: SideOut
    new: SideOut
    same: bool = Field(description="Whether both mean the same; comments and order do not count.")
    questions: list[QuestionChangeOut]
    derived: list[RuleChangeOut]
    response_types: list[TypeChangeOut]
    other: list[KeyChangeOut]
    void: VoidOut
    needs_weights: list[str] = Field(description="New response types.")
    graded_again: dict[str, list[str]] = Field(
        description="By prompt layout, the questions whose kept verdicts do not serve the new policy."
    )
    layout: str | None = Field(description="The layout in force; null where the grader has none.")
