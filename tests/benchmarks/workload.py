"""What the grader is asked in the measurements: which questions, and about which conversations.

synthetic: a policy as long as the paper's, random words, the tokenizer that the tests train
shipped: the safety policy's hard refusals, sentences of its own corpus, a real model's tokenizer
"""

import json
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from random import Random

from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

from rbr_service.build import policy_path
from rbr_service.conversation import Conversation, Message
from rbr_service.encoder import Encoder
from rbr_service.rbr.policy import Policy, load, parse
from tests.tokenizer import save_tokenizer, text

from . import lexical

QUESTIONS = 23
QUESTION, DEFINITION = 20, 520  # tokens
MESSAGE = 300  # tokens of a prompt, and on average of a completion
BLOCK = 32  # tokens that the engine caches together, on a CPU
SEED = 7_000_000
TYPE = "hard_refusal"
TEKKEN = "tekken_240911.json"  # Mistral's tokenizer of 131,072 tokens, which comes with vLLM

Say = Callable[[int, int], str]  # tokens, seed -> a text of about so many tokens


@dataclass(frozen=True)
class Workload:
    """A policy's propositions, those of them that are asked, and what is said."""

    encoder: Encoder
    policy: Policy
    asked: Sequence[str]
    say: Say

    def conversations(self, numbers: Iterable[int]) -> list[Conversation]:
        """One for each number; no two are alike, nor their prompts.

        The number decides in which place of a block one ends: BLOCK in a row cover all, as real ones would.
        """
        return [
            Conversation(
                (Message("user", self.say(MESSAGE, 2 * n)),),
                self.say(MESSAGE - BLOCK // 2 + n % BLOCK, 2 * n + 1),
            )
            for n in numbers
        ]


def synthetic(folder: Path) -> Workload:
    """QUESTIONS propositions, all of them asked; writes the tokenizer into the folder."""
    save_tokenizer(folder)
    encoder = Encoder.load(str(folder))
    say = partial(_cut, encoder, text)
    names = [f"p{n:02}" for n in range(1, QUESTIONS + 1)]
    content = {
        "policy": "synthetic",
        "description": "Made up, to be measured.",
        "classes": ["good", "bad"],
        "unlabelled": "error",
        "response_types": {"any": {"description": "Any.", "features": {"propositions": names}}},
        "propositions": {
            name: {"question": say(QUESTION, SEED + n), "definition": say(DEFINITION, SEED - 1 - n)}
            for n, name in enumerate(names)
        },
        "rules": {"any": {"good": {names[0]: True}, "bad": {names[0]: False}}},
    }
    return Workload(encoder, parse(json.dumps(content), "synthetic.yaml"), names, say)


def shipped(folder: Path) -> Workload:
    """What hard refusals are asked; writes the tokenizer into the folder."""
    convert_tekken_tokenizer(str(files("mistral_common") / "data" / TEKKEN)).save_pretrained(folder)
    encoder, policy = Encoder.load(str(folder)), load(policy_path("safety"))
    said = [one.completion for one in lexical.conversations()]

    def mixed(words: int, seed: int) -> str:
        return " ".join(Random(seed).choices(said, k=words))

    return Workload(encoder, policy, policy.response_types[TYPE].propositions, partial(_cut, encoder, mixed))


def _cut(encoder: Encoder, write: Say, tokens: int, seed: int) -> str:
    """The first words of a text that `write` makes long enough, about so many tokens of it."""
    words = write(tokens, seed).split(" ")
    fitting = bisect(range(len(words) + 1), tokens, key=lambda n: len(encoder.plain(" ".join(words[:n]))))
    return " ".join(words[: fitting - 1])
