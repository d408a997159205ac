"""How far a reward can go: what a trainer that clips rewards has to leave room for.

    ResponseType, weights -> (least, greatest) RBR reward over all P in [0, 1]^n

The reward is linear in each P, so its extremes lie where every proposition is certain, and there exactly
one class holds. Each proposition has an answer that its own weight prefers; a class is reached at the
least loss of weight along a path of the decision diagram, which is found node by node.
"""

from collections.abc import Mapping
from math import inf

from rbr_service.rbr.policy import ResponseType


def reach(kind: ResponseType, weights: Mapping[str, float]) -> tuple[float, float]:
    """The least and the greatest reward; `weights` has one entry per feature of `kind`."""
    turned = {feature: -weight for feature, weight in weights.items()}
    return 0.0 - _greatest(kind, turned), _greatest(kind, weights)  # never -0.0


def _greatest(kind: ResponseType, weights: Mapping[str, float]) -> float:
    own = {p: weights[f"p:{p}"] for p in kind.feature_propositions}
    losses = [inf, 0.0]  # of the terminals: false is out of reach, true is there
    for variable, low, high in kind.diagram.nodes:
        weight = own.get(kind.diagram.variables[variable], 0.0)
        losses.append(min(losses[low] + max(weight, 0.0), losses[high] + max(-weight, 0.0)))
    classes = [weights[f"class:{c}"] if kind.class_features else 0.0 for c in kind.classes]
    reached = zip(classes, kind.diagram.roots, strict=True)
    return sum(max(w, 0.0) for w in own.values()) + max(w - losses[root] for w, root in reached)
