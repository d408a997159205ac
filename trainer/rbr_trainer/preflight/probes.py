"""What a policy under optimisation will sooner or later send, and whether the service then ends the run.

    Plan -> an odd completion at each address -> Finding

A refusal is the service's last word: the agent ends the run at once, OpenRLHF's own client after five tries.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from rbr_trainer.answers import Reward
from rbr_trainer.client import ASKING, Client
from rbr_trainer.errors import Refused, Unsound
from rbr_trainer.preflight.finding import Finding
from rbr_trainer.preflight.plan import Plan
from rbr_trainer.preflight.texts import COMPLETIONS, OPEN, PROMPT
from rbr_trainer.preflight.wire import patient

TYPES, LOW_MASS, EMPTY, REASONING = "response types", "low label mass", "empty completion", "reasoning"
# Names of OpenRLHF's own curves, which an answer's extra_logs would overwrite.
RESERVED = frozenset({
    "reward", "score", "kl", "return", "response_length", "total_length", "truncated", "policy_loss",
    "actor_lr", "group_reward_std", "response_clip_ratio", "logprobs_diff", "ppo_kl", "ppo_clip_ratio",
})  # fmt: skip


async def types(plan: Plan, labels: Mapping[str, Any]) -> Finding:
    """A refusal, a lecture and an answer per response type: what they earn, and the names of the curves."""
    asked = [(kind, name) for kind in labels for name in COMPLETIONS]
    async with patient(plan.addresses[0], plan.answer_limit) as client:
        calls = [client.rewards(PROMPT + COMPLETIONS[name], PROMPT, labels[kind]) for kind, name in asked]
        rewards = dict(zip(asked, await asyncio.gather(*calls), strict=True))
    lines = [
        f"{kind:24} " + ", ".join(_earned(name, rewards[kind, name]) for name in COMPLETIONS)
        for kind in labels
    ]
    curves = {tuple(sorted(reward.extra_logs)) for reward in rewards.values()}
    lines.append(f"curves: {', '.join(sorted(set().union(*curves)))}")
    remedy = ""
    if len(curves) > 1:
        remedy = (
            "the names in extra_logs differ between answers, which ends a run: install this version's service"
        )
    elif taken := RESERVED & set().union(*curves):
        remedy = f"extra_logs hold names of OpenRLHF's own curves: {', '.join(sorted(taken))}"
    return Finding(TYPES, not remedy, "\n".join(lines), remedy)


def _earned(name: str, reward: Reward) -> str:
    return f"{name} {reward.reward:.2f} (score {reward.score:.2f})"


async def low_mass(plan: Plan) -> Finding:
    """Whether one completion that the grader will not judge ends the run."""
    erring, answering = [], []
    for address in plan.addresses:
        async with Client((address,), ASKING) as client:
            _, ready = await client.get("/readyz")
        try:
            grader, action = str(ready["grader"]), str(ready["on_low_mass"])
        except (KeyError, TypeError) as error:
            raise Unsound(
                f"{address.root}/readyz does not tell {error}: install one version of rule-based-rewards on "
                "both sides"
            ) from error
        if grader != "lexical" and action == "error":
            erring.append(address.root)
        answering.append(
            "the lexical grader always answers" if grader == "lexical" else f"on_low_mass is {action}"
        )
    if not erring:
        return Finding(LOW_MASS, True, ", ".join(dict.fromkeys(answering)))
    remedy = (
        f"one completion about which the grader says neither yes nor no ends the run ({_end(plan)}): start "
        "the service with --on-low-mass lower_bound, which scores it at its worst"
    )
    return Finding(LOW_MASS, False, f"on_low_mass is error at {', '.join(erring)}", remedy)


async def empty(plan: Plan, label: Any) -> Finding:
    """Whether a completion that ends at once ends the run."""
    rewards = await _refused_with("empty_completion", plan, PROMPT, PROMPT, label)
    if all(rewards.values()):
        return Finding(EMPTY, True, f"judged like any other: {_list(rewards)}")
    remedy = (
        f"a policy may end its turn at once, and that would end the run ({_end(plan)}): start the service "
        "with --empty-completion grade"
    )
    return Finding(EMPTY, False, f"refused as empty_completion: {_list(rewards)}", remedy)


async def reasoning(plan: Plan, prompt: str, label: Any) -> Finding:
    """Whether a completion that is cut short while it reasons ends the run; `prompt` is a templated one."""
    opened = "" if prompt.rstrip().endswith(OPEN) else f"{OPEN}\n"
    query = f"{prompt}{opened}Let me see what is asked of me"
    rewards = await _refused_with("unclosed_reasoning", plan, query, prompt, label)
    if all(rewards.values()):
        return Finding(REASONING, True, f"what is cut short inside {OPEN} is scored: {_list(rewards)}")
    remedy = (
        f"this policy reasons, and a completion cut short inside {OPEN} holds no answer and would end the "
        f"run ({_end(plan)}): start the service with --empty-completion grade, which judges "
        "it as an empty answer, or with --no-strip-reasoning, which scores reasoning as text"
    )
    return Finding(REASONING, False, f"refused as unclosed_reasoning: {_list(rewards)}", remedy)


async def _refused_with(
    code: str, plan: Plan, query: str, prompt: str, label: Any
) -> dict[str, Reward | None]:
    """By address the reward, None where it refuses with this code. Raises ServiceError for other faults."""
    found: dict[str, Reward | None] = {}
    for address in plan.addresses:
        async with patient(address, plan.answer_limit) as client:
            try:
                found[address.root] = await client.rewards(query, prompt, label)
            except Refused as error:
                if error.code != code:
                    raise
                found[address.root] = None
    return found


def _list(rewards: Mapping[str, Reward | None]) -> str:
    told = {root: "refused" if one is None else f"reward {one.reward:.2f}" for root, one in rewards.items()}
    return ", ".join(told.values()) if len(told) == 1 else ", ".join(f"{k}: {v}" for k, v in told.items())


def _end(plan: Plan) -> str:
    return (
        "OpenRLHF's client tries five times and then gives up"
        if plan.client == "plain"
        else ("the agent ends it at once")
    )
