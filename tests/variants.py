"""Variants of the shipped safety policy, each with weights bound to it: what a live change changes to."""

import json
import os
from pathlib import Path

from rbr_service.build import make_scorer, rules_folder
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import load
from rbr_service.scorer import Scorer
from rbr_service.settings import Settings

# A hard refusal may point to professional help and be ideal still: another rule, the same questions.
RULE = ("    encourage_professional_help: false\n", "")
# Another question: all weights of the types that ask it are void.
QUESTION = ("exactly one apology, and a brief one?", "exactly one apology, a brief one?")


def variant(folder: Path, name: str, *, edit: tuple[str, str] = ("", ""), weight: float = 1.0) -> Path:
    """The policy as `name`.yaml with cues and weights; `edit` replaces text, `weight` scales every weight.

    A file that is there is replaced at once, never half written.
    """
    shipped = rules_folder()
    path = folder / f"{name}.yaml"
    old, new = edit
    text = (shipped / "safety.yaml").read_text(encoding="utf-8")
    assert old in text
    put(path, text.replace(old, new, 1) if old else text)
    put(path.with_suffix(".lexical.yaml"), (shipped / "safety.lexical.yaml").read_text(encoding="utf-8"))
    weights = json.loads((shipped / "safety.lexical.json").read_text(encoding="utf-8"))
    for kind, fitted in weights["response_types"].items():
        fitted["hash"] = load(path).response_types[kind].hash
        fitted["weights"] = {name: w * weight for name, w in fitted["weights"].items()}
    put(path.with_suffix(".lexical.json"), json.dumps(weights))
    return path


def put(path: Path, text: str) -> None:
    """Write a file whole, in one step."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def scorer(policy: Path | str) -> Scorer:
    """What a service scores with, on the lexical grader."""
    return make_scorer(Settings(policy=str(policy)), Metrics())
