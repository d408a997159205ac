"""The linear model: weights, what they were fitted to, and the reward they give.

    weights JSON -> Weights -> bind(policy, grader, base reward) -> LinearModel
    features phi -> contributions w * phi -> RBR reward, their sum

Weights mean nothing away from what they were fitted to, so each file carries the hash of every
response type, the grader's fingerprint, the calibration and the source of the base reward.
(R_rbr = sum_i w_i phi_i, no bias: paper, section on the RBR model.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rbr_service.errors import WeightsError
from rbr_service.rbr.calibration import NONE, Calibration, GraderIdentity
from rbr_service.rbr.policy import Policy, ResponseType, digest
from rbr_service.rbr.reach import reach

# Far above any fit; a sum of such terms stays finite.
Weight = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TypeWeights(_Part):
    """One response type's weights and the hash of the type they belong to."""

    hash: str
    weights: dict[str, Weight]


class Bounds(_Part):
    """A weight's 95% interval: bootstrap over the prompts of the fit."""

    low: Finite
    high: Finite


class _Fitted(BaseModel):
    intervals: dict[str, Bounds] = {}


class _Origin(BaseModel):
    """What is read of an origin; the rest is for people."""

    response_types: dict[str, _Fitted] = {}


class Weights(_Part):
    """A weights file. `origin` tells how to make it again, and how sure the fit was of each weight."""

    policy: str
    grader: GraderIdentity
    calibration: str
    base_reward: str
    response_types: dict[str, TypeWeights]
    origin: dict[str, Any]

    @field_validator("origin")
    @classmethod
    def _sound(cls, origin: dict[str, Any]) -> dict[str, Any]:
        _Origin.model_validate(origin)
        return origin

    def intervals(self, response_type: str) -> dict[str, Bounds]:
        """The interval of each weight of a type, by feature; {} where the file tells none."""
        fitted = _Origin.model_validate(self.origin).response_types.get(response_type)
        return fitted.intervals if fitted else {}

    @property
    def version(self) -> str:
        """Hash of everything but the origin: equal weights are equal, however they came about."""
        return digest(self.model_dump(exclude={"origin"}))

    @classmethod
    def load(cls, path: Path, remedy: str) -> "Weights":
        """Read a weights file; `remedy` is the command that makes one. Raises WeightsError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise WeightsError(f"{path}: no weights there; make them with: {remedy}") from error
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise WeightsError(
                f"{path}: {place or 'content'}: {first['msg']}; make the file anew with: {remedy}"
            ) from error


@dataclass(frozen=True, slots=True)
class Scored:
    """The RBR part of a completion's reward, term by term."""

    rbr_reward: float
    p_best: float
    class_probabilities: dict[str, float]
    contributions: dict[str, float]

    @property
    def best_class(self) -> str:
        """The most probable class."""
        return max(self.class_probabilities, key=self.class_probabilities.__getitem__)


@dataclass(frozen=True, slots=True)
class Flip:
    """What a completion would earn if the answer about one proposition were `p`, 0 or 1, instead."""

    p: float
    scored: Scored


class TypeModel:
    """One response type's features and weights, laid out for scoring one row at a time."""

    def __init__(
        self,
        response_type: ResponseType,
        weights: Mapping[str, float],
        calibration: Calibration | None = None,
    ) -> None:
        """`weights` has one entry per feature of `response_type`."""
        kind = response_type
        self.response_type = kind
        self.weights = dict(weights)
        self.low, self.high = reach(kind, weights)
        used = {p for p in kind.feature_propositions if weights[f"p:{p}"] != 0.0}
        rules = kind.diagram.variables
        self.propositions = (
            *rules,
            *(p for p in kind.feature_propositions if p in used and p not in rules),
        )
        curves = calibration.propositions if calibration else {}
        self._curves = [(i, curves[name]) for i, name in enumerate(self.propositions) if name in curves]
        index = {name: i for i, name in enumerate(self.propositions)}
        self._p_terms = [
            (f"p:{p}", index[p], weights[f"p:{p}"]) for p in kind.feature_propositions if p in used
        ]
        self._class_weights = (
            [(f"class:{c}", weights[f"class:{c}"]) for c in kind.classes] if kind.class_features else []
        )

    def reached(self, rbr_reward: float) -> float | None:
        """Where a reward lies between the least there is, 0, and the greatest, 1; None if they are one."""
        width = self.high - self.low
        return min(1.0, max(0.0, (rbr_reward - self.low) / width)) if width > 0.0 else None

    def calibrated(self, p: Sequence[float]) -> list[float]:
        """The grader's P of each of `propositions`, as the weights were fitted on it."""
        made = list(p)
        for i, curve in self._curves:
            made[i] = curve.of(p[i])
        return made

    def score(self, p: Sequence[float]) -> Scored:
        """The reward of one completion from calibrated P of each of `propositions`, in order."""
        classes = self.response_type.diagram.of_row(p)
        contributions = {name: weight * p[i] for name, i, weight in self._p_terms}
        for (name, weight), probability in zip(self._class_weights, classes, strict=False):
            contributions[name] = weight * probability
        named = dict(zip(self.response_type.classes, classes, strict=True))
        return Scored(sum(contributions.values()), min(1.0, classes[0]), named, contributions)

    def flips(self, p: Sequence[float]) -> dict[str, Flip]:
        """For each of `propositions` the reward if its answer were the other one, for certain."""
        found = {}
        for i, name in enumerate(self.propositions):
            other = 0.0 if p[i] >= 0.5 else 1.0
            found[name] = Flip(other, self.score([*p[:i], other, *p[i + 1 :]]))
        return found

    def least(self, p: Sequence[float], unknown: Sequence[int]) -> tuple[float, ...]:
        """`p` with its entries at `unknown` set to the 0s and 1s that give the smallest reward.

        The reward is linear in each entry, so no other values give a smaller one. All of the
        2^unknown rows are compared.
        """
        rows = np.tile(np.asarray(p, dtype=float), (2 ** len(unknown), 1))
        rows[:, list(unknown)] = list(product((0.0, 1.0), repeat=len(unknown)))
        rules = len(self.response_type.diagram.variables)
        rewards = np.zeros(len(rows))
        for _, index, weight in self._p_terms:
            rewards += weight * rows[:, index]
        if self._class_weights:
            weights = np.array([weight for _, weight in self._class_weights])
            rewards += self.response_type.diagram.of_rows(rows[:, :rules]) @ weights
        return tuple(rows[int(rewards.argmin())].tolist())


class LinearModel:
    """The weights of a policy, bound to it."""

    def __init__(
        self, policy: Policy, weights: Weights, calibration: Calibration | None, mismatches: tuple[str, ...]
    ) -> None:
        """Build with `bind`, which finds the mismatches."""
        self.weights = weights
        self.calibration = version(calibration)
        self.calibrated = frozenset(calibration.propositions if calibration else ())
        self.mismatches = mismatches
        self.types = {
            name: TypeModel(kind, _complete(kind, weights), calibration)
            for name, kind in policy.response_types.items()
        }


def _complete(kind: ResponseType, weights: Weights) -> dict[str, float]:
    """A weight for each feature; a missing one is 0, which `bind` lets pass only when accepted."""
    given = weights.response_types.get(kind.name)
    return {f: given.weights.get(f, 0.0) if given else 0.0 for f in kind.features}


def bind(
    policy: Policy,
    weights: Weights,
    grader: GraderIdentity,
    base_reward: str,
    *,
    calibration: Calibration | None = None,
    accept_mismatch: bool,
    remedy: str,
) -> LinearModel:
    """The model, if the weights were fitted to exactly this. Raises WeightsError otherwise.

    With `accept_mismatch` the differences are kept on the model for every answer to tell.
    """
    found = tuple(_mismatches(policy, weights, grader, base_reward, calibration))
    if found and not accept_mismatch:
        raise WeightsError(
            f"the weights do not belong to this service: {'; '.join(found)}. Fit new ones with: {remedy} "
            "(or start with --accept-mismatch for a trial)",
            {"mismatches": list(found)},
        )
    return LinearModel(policy, weights, calibration, found)


def version(calibration: Calibration | None) -> str:
    """What weights remember of a calibration."""
    return calibration.version if calibration else NONE


def _mismatches(
    policy: Policy,
    weights: Weights,
    grader: GraderIdentity,
    base_reward: str,
    calibration: Calibration | None,
) -> list[str]:
    found = []
    if weights.policy != policy.name:
        found.append(f"fitted to the policy {weights.policy!r}, not {policy.name!r}")
    if weights.grader != grader:
        found.append(
            f"fitted on the grader {weights.grader.name}/{weights.grader.fingerprint[:12]}, "
            f"not {grader.name}/{grader.fingerprint[:12]}"
        )
    if calibration:
        wrong = calibration.mismatches(grader, policy.question_hashes)
        found += [f"the calibration: {one}" for one in wrong]
    if weights.calibration != version(calibration):
        found.append(
            f"fitted with the calibration {weights.calibration[:12]}, not {version(calibration)[:12]}"
        )
    if weights.base_reward != base_reward:
        found.append(f"fitted with base reward {weights.base_reward!r}, not {base_reward!r}")
    for name, kind in policy.response_types.items():
        given = weights.response_types.get(name)
        if given is None:
            found.append(f"no weights for the response type {name!r}")
        elif given.hash != kind.hash or set(given.weights) != set(kind.features):
            found.append(f"the response type {name!r} has changed since the fit")
    return found
