"""Platt scaling: P(yes) of each proposition made to mean what it says, before class probabilities.

    P (n,), labels (n,) -> slope, offset -> sigmoid(slope * logit(P) + offset)
                        -> P of each row by curves fitted on the other prompts (cross-validation), repeated

Fitted to labelled data by logistic regression (Platt 1999). Instead of Platt's smoothed targets, which
pull every probability towards the middle, the grader's own probabilities count as one more row: that keeps
the curve finite where the labels are separable, and says nothing where the grader is already right.
A slope is never negative, so that a calibration may flatten a grader's order and never turns it round.
Bound to the grader and the questions whose answers it was fitted on. Cross-validation is repeated, for on a
few hundred rows ECE hangs on how the folds were dealt (Kohavi 1995).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.optimize import minimize
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from rbr_service.errors import CalibrationError
from rbr_service.rbr.policy import digest
from rbr_service.rbr.ranked import Floats, Ints

NONE = "none"  # the version of no calibration
LEAST_OF_A_KIND = 10  # labels of yes and of no below which a proposition keeps its probability
CLOSEST = 1e-6  # to 0 and 1 that a probability is taken for
STEEPEST = 50.0  # slope
OWN = 1.0  # rows that the grader's own probabilities count as

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e3, le=1e3)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GraderIdentity(_Part):
    """Which grader's probabilities something was fitted on."""

    name: str
    fingerprint: str


class Curve(_Part):
    """sigmoid(slope * logit(p) + offset), fitted on `n` rows of which `positives` were yes."""

    slope: Annotated[Finite, Field(ge=0)]
    offset: Finite
    n: Annotated[int, Field(ge=0)]
    positives: Annotated[int, Field(ge=0)]

    def of(self, p: float) -> float:
        """One probability through the curve."""
        inside = min(max(p, CLOSEST), 1 - CLOSEST)
        z = self.slope * math.log(inside / (1 - inside)) + self.offset
        small = math.exp(-abs(z))  # 0 at worst, where exp(-z) could be too large for a float
        return (1 if z >= 0 else small) / (1 + small)


class Calibration(_Part):
    """A calibration file. Propositions that it does not name keep their probability.

    `questions`: the hash of each calibrated question, as the policy has it.
    """

    grader: GraderIdentity
    propositions: dict[str, Curve]
    questions: dict[str, str] = {}
    origin: dict[str, Any] = {}

    @property
    def version(self) -> str:
        """Hash of everything but the origin."""
        return digest(self.model_dump(exclude={"origin"}))

    @classmethod
    def load(cls, path: Path, remedy: str) -> "Calibration":
        """Read a calibration file; `remedy` is the command that makes one. Raises CalibrationError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CalibrationError(
                f"{path}: cannot be read: {error.strerror}; make it with: {remedy}"
            ) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise CalibrationError(
                f"{path}: {place or 'content'}: {first['msg']}; make the file anew with: {remedy}"
            ) from error

    def mismatches(self, grader: GraderIdentity, questions: Mapping[str, str]) -> list[str]:
        """What differs from the grader and the policy's question hashes; empty where it belongs to them."""
        found = []
        if self.grader != grader:
            found.append(
                f"fitted on the grader {self.grader.name}/{self.grader.fingerprint[:12]}, "
                f"not {grader.name}/{grader.fingerprint[:12]}"
            )
        changed = [n for n in self.propositions if n in questions and questions[n] != self.questions.get(n)]
        if changed:
            found.append(f"the questions of {', '.join(sorted(changed))} have changed since")
        return found

    def apply(self, names: Sequence[str], p: Floats) -> Floats:
        """Calibrated (n, len(names)) probabilities of those; columns are `names` in order."""
        made = p.copy()
        for i, name in enumerate(names):
            curve = self.propositions.get(name)
            if curve is not None:
                made[:, i] = scaled(curve, p[:, i])
        return made


def scaled(curve: Curve, p: Floats) -> Floats:
    """Probabilities through a curve."""
    return np.asarray(expit(curve.slope * logit(_inside(p)) + curve.offset))


def fit(p: Floats, labels: Floats) -> Curve | None:
    """The curve of one proposition, from P(yes) and labels 0, 1 or NaN (not labelled).

    None with fewer than LEAST_OF_A_KIND labels of either kind: the probability stays as it is.
    """
    known = ~np.isnan(labels)
    own, truth = _inside(p[known]), labels[known] == 1
    n, positives = len(truth), int(truth.sum())
    if min(positives, n - positives) < LEAST_OF_A_KIND:
        return None
    target = (n * truth + OWN * own) / (n + OWN)
    # Around the mean, slope and height hardly depend on each other: a constant P keeps the slope 1.
    x = logit(own)
    center = float(x.mean())
    x = x - center

    def loss(v: Floats) -> tuple[float, Floats]:
        z = v[0] * x + v[1]
        wrong = expit(z) - target
        return float((np.logaddexp(0, z) - target * z).mean()), np.array([(wrong * x).mean(), wrong.mean()])

    found = minimize(loss, np.array([1.0, center]), jac=True, method="L-BFGS-B", 
                     bounds=[(0, STEEPEST), (-20, 20)],
                     options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000})  # fmt: skip
    slope = round(float(found.x[0]), 9) + 0.0
    offset = round(float(found.x[1]) - slope * center, 9) + 0.0
    return Curve(slope=slope, offset=offset, n=n, positives=positives)


def cross_validated(
    p: Floats, labels: Floats, prompts: Ints, folds: int, repeats: int, seed: int
) -> Floats:  # fmt: skip
    """(repeats, n) P of one proposition, each by the curve of the rows outside its fold.

    `prompts` numbers each row's prompt; a prompt is never in two folds, and each repeat deals the prompts
    anew. Where a fold's training rows make no curve, P stays as it is.
    """
    dealt = (_folds(prompts, labels == 1, folds, np.random.default_rng([seed, i])) for i in range(repeats))
    with threadpool_limits(1, user_api="blas"):  # for two parameters more threads only wait for each other
        return np.array([_held_out(p, labels, assigned) for assigned in dealt])


def _held_out(p: Floats, labels: Floats, assigned: Ints) -> Floats:
    made = p.copy()
    for fold in np.unique(assigned):
        inside = assigned == fold
        curve = fit(p[~inside], labels[~inside])
        if curve is not None:
            made[inside] = scaled(curve, p[inside])
    return made


def _folds(prompts: Ints, positive: NDArray[np.bool_], folds: int, rng: np.random.Generator) -> Ints:
    """The fold of each row; prompts with and without a positive are dealt out evenly (Kohavi 1995)."""
    numbers = np.unique(prompts, return_inverse=True)[1]
    count = int(numbers.max(initial=-1)) + 1
    with_positive = np.bincount(numbers, weights=positive, minlength=count) > 0
    order = np.lexsort((rng.permutation(count), with_positive))
    fold_of = np.empty(count, dtype=np.intp)
    fold_of[order] = np.arange(count) % folds
    return fold_of[numbers]


def _inside(p: Floats) -> Floats:
    return np.clip(p, CLOSEST, 1 - CLOSEST)
