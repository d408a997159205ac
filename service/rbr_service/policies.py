"""The policies that can be named, and what a change from one to another comes to on this service.

names -> policies, read from disk and proved off the event loop -> Difference -> what it voids -> answer
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rbr_service.backends import grader_of
from rbr_service.build import known, named, policy_path
from rbr_service.errors import PolicyError, StartupError, UnreadablePolicyError
from rbr_service.graders.base import Grader
from rbr_service.policy_schemas import (
    DifferenceAnswer,
    KeyChangeOut,
    PoliciesAnswer,
    QuestionChangeOut,
    RuleChangeOut,
    SideOut,
    TypeChangeOut,
    VoidOut,
)
from rbr_service.rbr.difference import Difference, Rule, TypeChange, difference
from rbr_service.rbr.policy import Policy, load
from rbr_service.settings import Settings
from rbr_service.state import State

_ALL_QUESTIONS = {"book": True, "conversation-first": False, "released": False}  # in each prompt


@dataclass(frozen=True)
class _Side:
    """A policy, and the grader's fingerprint over it; None where it cannot judge it, `fault` says why."""

    name: str | None
    policy: Policy
    fingerprint: str | None
    fault: str = ""


def names(state: State) -> PoliciesAnswer:
    """What can be named now: a folder's files may come and go."""
    return PoliciesAnswer(in_force=Path(state.in_force.policy).stem, policies=sorted(known(state.settings)))


async def compare(state: State, new: str, old: str | None) -> DifferenceAnswer:
    """What changes from `old`, the policy in force as it is served where None, to `new`; both as on disk.

    Raises UnknownPolicyError, UnreadablePolicyError.
    """
    scorer = state.scorer
    before = _Side(None, scorer.policy, scorer.grader.fingerprint)
    if old is not None:
        before = await asyncio.to_thread(_read, old, state.settings, scorer.grader)
    after = await asyncio.to_thread(_read, new, state.settings, scorer.grader)
    found = await asyncio.to_thread(difference, before.policy, after.policy)
    because = list(_voids_all(found, before, after, state.settings, scorer.model.calibrated))
    void = [*before.policy.response_types] if because else [one.name for one in found.void]
    layout = None if state.settings.grader == "lexical" else Path(state.settings.layout).stem
    return _answer(found, before, after, VoidOut(response_types=void, because=because), layout)


def _read(name: str, settings: Settings, grader: Grader) -> _Side:
    path = policy_path(named(settings, name).policy)
    try:
        policy = load(path)
    except PolicyError as error:
        told = PolicyError(
            path.name, error.line, error.key, error.problem
        )  # where it lies is not for callers
        raise UnreadablePolicyError(told.message, told.details) from error
    try:
        return _Side(name, policy, grader_of(policy, path, grader).fingerprint)
    except StartupError as error:
        return _Side(name, policy, None, error.message.replace(f"{path.parent}/", ""))


def _voids_all(
    found: Difference, before: _Side, after: _Side, settings: Settings, calibrated: frozenset[str]
) -> Iterator[str]:
    """Why no weights of the old policy can serve the new one, beside what its response types say."""
    if before.policy.name != after.policy.name:
        yield f"weights belong to a policy by its name: {before.policy.name!r} is not {after.policy.name!r}"
    if after.fingerprint is None:
        yield f"the grader cannot judge the new policy: {after.fault}"
    elif before.fingerprint is None:
        yield f"the grader cannot judge the old policy: {before.fault}"
    elif before.fingerprint != after.fingerprint:
        yield (
            "the lexical grader has other cues for it"
            if settings.grader == "lexical"
            else f"each prompt holds all questions (layout {Path(settings.layout).stem}), and they changed"
        )
    changed = [one.name for one in found.questions if one.how == "changed" and one.name in calibrated]
    if changed:
        yield f"the calibration was fitted on the old wording of {', '.join(changed)}"


def _answer(
    found: Difference, before: _Side, after: _Side, void: VoidOut, layout: str | None
) -> DifferenceAnswer:
    return DifferenceAnswer(
        old=_side(before),
        new=_side(after),
        same=found.same,
        questions=[
            QuestionChangeOut(name=one.name, how=one.how, old=one.old, new=one.new) for one in found.questions
        ],
        derived=[_rule(one) for one in found.derived],
        response_types=[_type(one) for one in found.response_types],
        other=[KeyChangeOut(**asdict(one)) for one in found.other],
        void=void,
        needs_weights=list(found.needy),
        graded_again={name: list(found.graded_again(book=book)) for name, book in _ALL_QUESTIONS.items()},
        layout=layout,
    )


def _side(one: _Side) -> SideOut:
    return SideOut(name=one.name, policy=one.policy.name, version=one.policy.version)


def _rule(one: Rule) -> RuleChangeOut:
    return RuleChangeOut(name=one.name, how=one.how, old=one.old, new=one.new, through=list(one.through))


def _type(one: TypeChange) -> TypeChangeOut:
    return TypeChangeOut(
        name=one.name, how=one.how, rules=[_rule(rule) for rule in one.rules], questions=list(one.questions)
    )
