"""Evidence as a fit and an evaluation of the safety policy would hand it over, at full size, made up."""

import json
from typing import Any

import numpy as np

CLASSES = ["ideal", "minimum_acceptable", "unacceptable", "illogical", "disallowed"]
TYPES = ["hard_refusal", "soft_refusal", "comply", "comply_with_disclaimer"]
PROPOSITIONS = [
    "apology", "inability_to_comply", "inability_to_comply_without_recourse", "judgement", "condescending",
    "empathetic_apology", "emotional_state_reference", "encourage_professional_help", "offers_resources",
    "suggests_solution_to_user", "prescriptive_advice", "mentions_topic_policy", "refusal_reason",
    "disallowed_content", "disclaimer", "warning", "contains_everything_wanted", "illogical", "repetitive",
    "definitively_complies", "provides_partial_answer", "threatening", "tangential",
]  # fmt: skip


def interval(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def evidence(samples: int = 2000) -> dict[str, Any]:
    """`samples` held-out completions in each class of each response type."""
    random = np.random.default_rng(7)
    return {
        "title": "safety / lexical",
        "command": "rbr fit --policy my/safety.yaml --strength auto --report out.html",
        "facts": {
            "policy": "safety",
            "grader": "lexical/1b42dc074f7d",
            "base reward": "simulated",
            "data": "983397a3bf443bc5162acaa57363fdfa559084eee75185438b181f94bdee4449",
        },
        "response_types": {name: _kind(random, i, samples) for i, name in enumerate(TYPES)},
        "propositions": {name: _proposition(random, i) for i, name in enumerate(PROPOSITIONS)},
        "slices": {"correction": "holm", "tests": [_slice(i) for i in range(8)]},
        "ablation": [
            {"left_out": part, "response_type": name, "error": interval(0.02 + 0.03 * i, 0.012)}
            for name in TYPES
            for i, part in enumerate(["p:apology", "class features", "base reward", "half the data"])
        ],
    }


def _kind(random: np.random.Generator, place: int, samples: int) -> dict[str, Any]:
    base_error = (0.7, 0.32, 0.105, 0.2)[place]
    rewards = {}
    for rank, name in enumerate(CLASSES):
        base = random.normal(-1 + 0.4 * rank * (1 - place), 1.0, samples)
        rbr = random.normal(4 - 2.2 * rank, 0.8, samples)
        rewards[name] = {"base": base.tolist(), "rbr": rbr.tolist(), "total": (base + rbr).tolist()}
    features = [f"p:{name}" for name in PROPOSITIONS[place::2]] + [f"class:{name}" for name in CLASSES]
    strengths = [0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0, 3.0]
    return {
        "classes": CLASSES,
        "train": {"prompts": 240, "completions": 960, "pairs": 1400, "loss": 0.1, "objective": 0.11},
        "held_out": {
            "prompts": 500,
            "completions": 2000,
            "pairs": 2900,
            "ranking_error": {
                "base": interval(base_error, 0.02),
                "rbr": interval(0.04, 0.012),
                "total": {"value": 0.005 * place, "low": 0.0, "high": 0.005 * place + 0.006},
            },
            "rank_correlation": interval(0.71, 0.05),
        },
        "rewards": rewards,
        "weights": {name: interval(float(random.normal(0, 1.5)), 0.4) for name in features},
        "strength": {
            "chosen": 1.4,
            "wanted_error": 0.01,
            "curve": [
                {
                    "strength": s,
                    "error": base_error * 0.02**s,
                    "low": base_error * 0.02**s * 0.8,
                    "high": base_error * 0.02**s * 1.2,
                    "rank_correlation": 1 / (1 + 0.3 * s),
                }
                for s in strengths
            ],
        },
        "range": {"low": -7.1, "high": 6.2},
        "confusion": {
            "classes": CLASSES,
            "counts": [[412 if a == b else 30 * (abs(a - b) < 2) for b in range(5)] for a in range(5)],
        },
    }


def _proposition(random: np.random.Generator, place: int) -> dict[str, Any]:
    edges = np.linspace(0.05, 0.95, 10)
    share = np.clip(edges**2 + random.normal(0, 0.05, 10), 0, 1)
    found = {"n": 351, "positives": 5 + 3 * place, "accuracy": 0.91, "brier": 0.071, "ece": 0.052}
    counts = [180, 60, 30, 12, 9, 8, 8, 12, 14, 18]
    bins = [
        {"p": p, "share": s, "n": n} for p, s, n in zip(edges.tolist(), share.tolist(), counts, strict=True)
    ]
    after = [{"p": s, "share": s, "n": b["n"]} for s, b in zip(share.tolist(), bins, strict=True)]
    calibrated = {**found, "accuracy": 0.905, "brier": 0.06, "ece": 0.021, "bins": after}
    return {**found, "bins": bins, **({"calibrated": calibrated} if place % 3 else {})}


def _slice(place: int) -> dict[str, Any]:
    return {
        "column": ("category", "response_type", "length")[place % 3],
        "value": ("K-R", "hard_refusal", "301 to 800 characters", "E-SG")[place % 4],
        "measure": "class_right",
        "n": 40 + place,
        "here": 0.7,
        "elsewhere": 0.85,
        "p": 0.01,
        "adjusted": 0.2 / (place + 1),
        "differs": place >= 6,
    }


HOSTILE = "</svg></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$\\frac$ \x00\u202e\ud800"


def hostile(found: dict[str, Any]) -> dict[str, Any]:
    """The same, its names and texts long and an attack on the page."""
    names = [*TYPES, *CLASSES, *PROPOSITIONS, "policy", "simulated", "category", "K-R", "class_right", "holm"]
    names += [f"p:{name}" for name in PROPOSITIONS] + [f"class:{name}" for name in CLASSES]
    text = json.dumps(found)
    for name in [*names, found["title"], found["command"], "base reward"]:
        text = text.replace(json.dumps(name), json.dumps(name + 3 * HOSTILE))
    attacked: dict[str, Any] = json.loads(text)
    return attacked
