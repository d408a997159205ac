"""From results to the bodies of the HTTP contract."""

from collections.abc import Sequence, Set
from dataclasses import asdict
from typing import Any

from rbr_service import schemas
from rbr_service.conversation import Message
from rbr_service.labels import MessageIn
from rbr_service.rbr.policy import Policy, ResponseType, fold
from rbr_service.scorer import Result, Sample, Scorer
from rbr_service.settings import Settings


def openrlhf(results: Sequence[Result], scorer: Scorer) -> schemas.OpenRLHFAnswer:
    """OpenRLHF's answer: flat lists as long as its query."""
    return schemas.OpenRLHFAnswer(
        rewards=[r.reward for r in results],
        scores=[r.score for r in results],
        extra_logs=schemas.ExtraLogs(
            rbr_reward=[r.rbr_reward for r in results],
            rbr_base=[r.base_reward for r in results],
            rbr_p_best=[r.score for r in results],
            rbr_in_scope=[float(r.response_type is not None) for r in results],
            rbr_label_mass_min=[r.label_mass_min for r in results],
        ),
        reward_version=scorer.reward_version,
        accepted_mismatches=list(scorer.model.mismatches),
    )


def v1(ids: Sequence[str | int | None], results: Sequence[Result], scorer: Scorer) -> schemas.ScoreAnswer:
    """Every term of every reward."""
    made = [result(i, r) for i, r in zip(ids, results, strict=True)]
    return schemas.ScoreAnswer(results=made, **_made_by(scorer))


def explain(
    ids: Sequence[str | int | None], results: Sequence[Result], scorer: Scorer
) -> schemas.ExplainAnswer:
    """Every term of every reward, and what would have changed it. Takes a while for many."""
    made = [
        schemas.ExplainedOut(**dict(result(i, r)), flips=_flips(r, scorer))
        for i, r in zip(ids, results, strict=True)
    ]
    return schemas.ExplainAnswer(results=made, **_made_by(scorer))


def _made_by(scorer: Scorer) -> dict[str, Any]:
    return {
        "policy": scorer.policy.name,
        "versions": _versions(scorer),
        "reward_version": scorer.reward_version,
        "accepted_mismatches": list(scorer.model.mismatches),
    }


def _flips(r: Result, scorer: Scorer) -> dict[str, schemas.FlipOut]:
    if r.response_type is None:
        return {}
    flips = scorer.model.types[r.response_type].flips([verdict.p for verdict in r.verdicts.values()])
    return {
        name: schemas.FlipOut(
            p=flip.p, reward=r.base_reward + flip.scored.rbr_reward, best_class=flip.scored.best_class
        )
        for name, flip in flips.items()
    }


def result(sample_id: str | int | None, r: Result) -> schemas.ResultOut:
    """One sample's part of the answer."""
    return schemas.ResultOut(
        id=sample_id,
        reward=r.reward,
        base_reward=r.base_reward,
        rbr_reward=r.rbr_reward,
        score=r.score,
        response_type=r.response_type,
        found=schemas.FoundOut(by=r.found.by, category=r.found.category, p=r.found.p),
        class_probabilities=r.class_probabilities,
        propositions={
            name: schemas.VerdictOut(p=v.p, label_mass=v.label_mass, lower_bound=name in r.bounded)
            for name, v in r.verdicts.items()
        },
        contributions=r.contributions,
        cuts=schemas.CutsOut(messages=r.cuts.messages, tokens=r.cuts.tokens),
    )


def read(samples: Sequence[Sample], policy: Policy) -> schemas.ReadAnswer:
    """Samples as bodies of /v1/score; each label stands where the policy knows it."""
    categories = {fold(category) for category in policy.file.content_policy}
    return schemas.ReadAnswer(samples=[_read(sample, categories) for sample in samples])


def _read(sample: Sample, categories: Set[str]) -> schemas.ReadOut:
    turns = [*sample.conversation.prompt, Message("assistant", sample.conversation.completion)]
    label = sample.label if sample.label and sample.label.strip() else None
    is_category = label is not None and fold(label) in categories
    return schemas.ReadOut(
        messages=[MessageIn(role=turn.role, content=turn.content) for turn in turns],
        response_type=None if is_category else label,
        category=label if is_category else None,
        base_reward=sample.base_reward,
    )


def readiness(scorer: Scorer, settings: Settings, *, ready: bool, reason: str) -> schemas.Readiness:
    """What the service scores with, and whether it can; `reason` says why not."""
    return schemas.Readiness(
        status="ready" if ready else "not_ready",
        reason=reason,
        policy=scorer.policy.name,
        versions=_versions(scorer),
        reward_version=scorer.reward_version,
        grader=scorer.grader.name,
        grader_note=scorer.grader.note,
        on_low_mass=settings.on_low_mass,
        accepted_mismatches=list(scorer.model.mismatches),
    )


def policy(scorer: Scorer) -> schemas.PolicyAnswer:
    """The policy in force with its identities and weights."""
    kinds, models = scorer.policy.response_types, scorer.model.types
    return schemas.PolicyAnswer(
        policy=scorer.policy.name,
        version=scorer.policy.version,
        reward_version=scorer.reward_version,
        accepted_mismatches=list(scorer.model.mismatches),
        question_hashes=scorer.policy.question_hashes,
        response_type_hashes={name: kind.hash for name, kind in kinds.items()},
        weights={name: kind.weights for name, kind in models.items()},
        weight_intervals={name: _intervals(scorer, kind) for name, kind in kinds.items()},
        reward_range={name: schemas.RangeOut(low=m.low, high=m.high) for name, m in models.items()},
        content=scorer.policy.file.model_dump(),
    )


def _intervals(scorer: Scorer, kind: ResponseType) -> dict[str, schemas.IntervalOut]:
    """Of the features that the type has: weights accepted as they are may be of others."""
    found = scorer.model.weights.intervals(kind.name)
    return {
        feature: schemas.IntervalOut(low=found[feature].low, high=found[feature].high)
        for feature in kind.features
        if feature in found
    }


def reload(before: Scorer, after: Scorer) -> schemas.ReloadAnswer:
    """What is in force now, and what was."""
    return schemas.ReloadAnswer(
        policy=after.policy.name,
        versions=_versions(after),
        reward_version=after.reward_version,
        previous_reward_version=before.reward_version,
        accepted_mismatches=list(after.model.mismatches),
    )


def _versions(scorer: Scorer) -> schemas.VersionsOut:
    return schemas.VersionsOut(**asdict(scorer.versions))
