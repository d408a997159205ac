"""Simulated ranked completions of the size that the paper fitted on."""

from typing import Any

import numpy as np
import yaml

from rbr_service.build import rules_folder
from rbr_service.rbr.policy import ResponseType, parse
from rbr_service.rbr.ranked import Ranked


def wide_type() -> ResponseType:
    """The hard refusal of the safety policy with all its 23 propositions as features, and 5 classes."""
    file: dict[str, Any] = yaml.safe_load((rules_folder() / "safety.yaml").read_text(encoding="utf-8"))
    spec = file["response_types"]["hard_refusal"]
    spec["features"]["propositions"] = list(file["propositions"])
    spec["bad"] = [name for name in spec["bad"] if name != "third_person"]  # one without a sign
    return parse(yaml.safe_dump(file), "simulated.yaml").response_types["hard_refusal"]


def ranked(kind: ResponseType, prompts: int, per_prompt: int = 4, seed: int = 0) -> Ranked:
    """Noisy P that lean towards good traits in better classes, and base rewards that lean the other way."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(len(kind.classes), per_prompt, replace=False) for _ in range(prompts)]
    ranks = np.sort(np.stack(drawn), axis=1).ravel()
    better = 1 - ranks[:, None] / (len(kind.classes) - 1)
    good = np.array([name in kind.good for name in kind.propositions])
    lean = np.where(good, better, 1 - better) * rng.uniform(0.1, 0.9, len(good))
    p = np.clip(lean + rng.normal(0, 0.45, (len(ranks), len(good))), 0.002, 0.998)
    base = rng.normal(size=len(ranks)) + 0.2 * ranks
    return Ranked(kind, np.repeat(np.arange(prompts), per_prompt), ranks, p, base)
