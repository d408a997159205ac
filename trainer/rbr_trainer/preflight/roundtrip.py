"""Whether the service finds the completion, and the conversation, in the text that OpenRLHF makes of them.

    dataset row -> chat template -> prompt; its tokens + a completion's + EOS -> decoded -> query
    (query, prompt, label) to /get_reward, the same conversation as messages to /v1/score -> equal rewards?

A template or tokenizer that does not give back what went in (it lower-cases, normalises, adds spaces) makes
the service cut at the wrong place, or not at all. Completions that earn different rewards show it, and one
that ends at once, and one that holds what opens an answer in its middle.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from rbr_trainer.client import Client
from rbr_trainer.data import label
from rbr_trainer.errors import InputError, Refused, Unsound
from rbr_trainer.preflight.chat import Tokenizer
from rbr_trainer.preflight.finding import Finding, blocked
from rbr_trainer.preflight.labels import TOLD, counted, turns
from rbr_trainer.preflight.plan import Plan
from rbr_trainer.preflight.texts import ANSWER, CLOSE, LECTURE, OPEN, REFUSAL
from rbr_trainer.preflight.wire import patient

TEMPLATE = "chat template"
EACH = 2  # prompts of each label that are sent
SENT = 8  # in all, and as many more of those that the tokenizer changes
SAME = 1e-6  # one sample's rewards by two roads differ by no more
THOUGHT = f"Let me think about it.\n{CLOSE}\n\n"
NAMED = ("response_type", "category", "base_reward")  # of a label, what a sample of /v1/score may hold
Outcome = float | str  # the reward, or the code of the service's refusal


@dataclass(frozen=True)
class Example:
    """A row as the trainer has it. `messages` None: nothing tells what its text was made from."""

    place: str
    prompt: str
    label: Any
    messages: list[dict[str, str]] | None

    @property
    def reasons(self) -> bool:
        """The template has opened the reasoning that the completion goes on with."""
        return self.prompt.rstrip().endswith(OPEN)

    @property
    def marker(self) -> str:
        """What the template writes behind the last message, up to the answer."""
        last = self.messages[-1]["content"].strip() if self.messages else ""
        return self.prompt.rpartition(last)[2] if last and last in self.prompt else ""


@dataclass
class Examples:
    """The prompts of a dataset: how many, how many the tokenizer changes, and those that are sent."""

    prompts: int = 0
    changed: int = 0
    chosen: list[Example] = field(default_factory=list)


def choose(plan: Plan, path: Path, tokenizer: Tokenizer) -> Examples:
    """Every prompt through the tokenizer; the first few of each kind and label. Raises InputError."""
    found, taken = Examples(), Counter[str]()
    for number, row in counted(path, (plan.input_key, plan.label_key), "prompts"):
        if isinstance(row, InputError) or (name := _name(row.get(plan.label_key))) is None:
            continue  # the dataset's own check tells of it
        example = _example(plan, f"{path}:{number}", row, tokenizer)
        found.prompts += 1
        changed = tokenizer.decode(tokenizer.encode(example.prompt)) != example.prompt
        found.changed += changed
        kind, most = ("changed", SENT) if changed else (name, EACH)
        if taken[kind] < most and (changed or len(found.chosen) < SENT):
            taken[kind] += 1
            found.chosen.append(example)
    return found


def _name(raw: Any) -> str | None:
    """What a label names; None for one that is not sound."""
    try:
        found = label.parse(raw)
    except InputError:
        return None
    return str(found.response_type or found.category)


def _fields(raw: Any) -> dict[str, Any]:
    """A label's fields that are filled."""
    return label.parse(raw).model_dump(exclude_none=True)


def _example(plan: Plan, place: str, row: Mapping[str, Any], tokenizer: Tokenizer) -> Example:
    """A row, rendered as OpenRLHF's PromptDataset does. Raises InputError."""
    given, raw = row.get(plan.input_key), row.get(plan.label_key)
    if not plan.apply_chat_template:
        prompt = plan.input_template.format(given) if plan.input_template else str(given)
        return Example(place, prompt, raw, _fields(raw).get("messages"))
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else turns(given)
    if messages is None:
        raise InputError(f"{place}: {plan.input_key!r} is neither a text nor messages")
    try:
        return Example(place, tokenizer.render(messages), raw, messages)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


async def roundtrip(plan: Plan, path: Path, tokenizer: Tokenizer) -> Finding:
    """The template's finding. Raises InputError, ServiceError."""
    examples = choose(plan, path, tokenizer)
    if not examples.chosen:
        return blocked(TEMPLATE, "no row of the dataset can be used")
    async with patient(plan.addresses[0], plan.answer_limit) as client:
        compared = await asyncio.gather(*(_compared(client, one, tokenizer) for one in examples.chosen))
    faults = [fault for fault, _ in compared if fault]
    apart = max((rewards for _, rewards in compared), default=0)
    detail = f"{len(examples.chosen)} of {examples.prompts} prompts sent as text and as messages"
    if examples.changed:
        detail += f"; the tokenizer changes {examples.changed} of them"
    if faults:
        lines = "\n".join(faults[:TOLD])
        return Finding(TEMPLATE, False, f"{detail}\n{lines}", f"{lines}\n{_remedy(examples)}")
    if apart < 2:
        why = (
            "all completions earned alike, so a wrong cut would not show: is any label in the policy's scope?"
        )
        return Finding(TEMPLATE, False, f"{detail}\n{why}", why)
    return Finding(TEMPLATE, True, f"{detail}: equal rewards, {apart} different ones")


def _remedy(examples: Examples) -> str:
    told = all(label.parse(example.label).messages for example in examples.chosen)
    if told:
        return (
            "the labels hold the prompts' messages already, and the query does not hold what the tokenizer "
            "makes of them: take a tokenizer that gives back the text it is given"
        )
    return (
        "what the service reads in this model's prompts is not what the dataset holds: put the prompt's "
        "messages into each label, which spares reading the text (`rbr-train prepare` writes them)"
    )


async def _compared(client: Client, example: Example, tokenizer: Tokenizer) -> tuple[str, int]:
    """The first completion that earns two things, if any, and how many different rewards were seen."""
    seen: set[float] = set()
    for name, text, ended in _completions(example):
        tokens = tokenizer.encode(THOUGHT + text if example.reasons else text) if text else []
        answer = tokenizer.decode(tokens) if tokens else ""
        query = decoded(tokenizer, example.prompt, [*tokens, *(tokenizer.end if ended else ())])
        as_text = await _outcome(_as_text(client, query, example))
        as_messages = await _outcome(_as_messages(client, answer, example))
        if not _equal(as_text, as_messages):
            differ = f"as text {_told(as_text)}, as messages {_told(as_messages)}"
            return f"{example.place}: {name}: {differ}", len(seen)
        if isinstance(as_text, float):
            seen.add(round(as_text, 6))
    return "", len(seen)


def decoded(tokenizer: Tokenizer, prompt: str, action: Sequence[int]) -> str:
    """The query of a prompt and the tokens that the model goes on with, as OpenRLHF's agent makes it."""
    return tokenizer.decode([*tokenizer.encode(prompt), *action])


def _completions(example: Example) -> list[tuple[str, str, bool]]:
    """(name, text, whether the model ended it by itself)."""
    marked = f"{ANSWER}{example.marker}{REFUSAL}"
    return [
        ("a refusal", REFUSAL, True),
        ("an answer", ANSWER, True),
        ("a lecture cut short", LECTURE, False),
        ("an answer with what opens one in its middle", marked, True),
        ("an answer that ends at once", "", True),
    ]


async def _as_text(client: Client, query: str, example: Example) -> float:
    return (await client.rewards(query, example.prompt, example.label)).reward


async def _as_messages(client: Client, answer: str, example: Example) -> float:
    """The same by another road: /slime takes the completion apart from a prompt that is text."""
    named = _fields(example.label)
    if example.messages is None or example.reasons:
        told = {"messages": example.messages} if example.messages else {}
        body = {"prompt": example.prompt, "response": answer, "label": named | told}
        reward = await client.post("/slime", body)
        if not isinstance(reward, float) or not isfinite(reward):
            raise Unsound("the service answered /slime with what is no reward")
        return reward
    sample: dict[str, Any] = {name: named[name] for name in NAMED if name in named}
    sample["messages"] = [*example.messages, {"role": "assistant", "content": answer}]
    (result,) = (await client.score([sample]))["results"]
    return float(result["reward"])


async def _outcome(reward: Any) -> Outcome:
    try:
        return float(await reward)
    except Refused as error:
        return error.code


def _equal(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return abs(one - other) <= SAME


def _told(outcome: Outcome) -> str:
    return outcome if isinstance(outcome, str) else f"{outcome:.3f}"
