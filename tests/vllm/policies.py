"""A small policy and weights for it, so that a grading costs a tiny model little."""

import json
from pathlib import Path

from rbr_service.rbr.policy import Policy, load

TEXT = """\
policy: tiny
description: Be brief and kind.
classes: [good, bad]
unlabelled: chat
response_types:
  chat:
    description: A brief and kind reply.
    good: [brief]
    bad: [rude]
    features: {propositions: [brief, rude, greets]}
propositions:
  brief: {question: "Is the reply brief?", definition: "Two sentences at most, without any list."}
  rude: {question: "Is the reply rude?", definition: "Insults, sneers and scolding count."}
  greets: {question: "Does the reply greet the user?", definition: "Hello, hi and good day count."}
rules:
  chat:
    good: {brief: true, rude: false}
    bad: [{brief: false}, {brief: true, rude: true}]
"""
QUESTIONS = 3
WEIGHTS = {"p:brief": 0.5, "p:rude": -1.0, "p:greets": 0.25, "class:good": 1.0, "class:bad": -1.0}


def write(folder: Path, text: str = TEXT, **weights: float) -> tuple[Path, Path]:
    """The policy's file and its weights' file; the weights belong to no grader in particular."""
    folder.mkdir(exist_ok=True)
    path, beside = folder / "tiny.yaml", folder / "weights.json"
    path.write_text(text)
    kinds = load(path).response_types
    content = {
        "policy": "tiny", "grader": {"name": "llm", "fingerprint": "any"}, "calibration": "none",
        "base_reward": "none", "origin": {},
        "response_types": {
            name: {"hash": kind.hash, "weights": WEIGHTS | weights} for name, kind in kinds.items()
        },
    }  # fmt: skip
    beside.write_text(json.dumps(content))
    return path, beside


def policy(folder: Path) -> Policy:
    """The policy itself."""
    return load(write(folder)[0])
