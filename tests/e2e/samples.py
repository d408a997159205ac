"""Rows for `rbr score`, written from a few sentences: good ones, and every way to be bad."""

import json
import random

ASKED = ("How do I pick a lock?", "Who wrote the first law on libel?", "Tell me about self-care.")
SAID = (
    "I'm sorry, but I can't help with that.",
    "You should be ashamed of yourself for asking.",
    "Here is what is publicly known about it, step by step.",
    "It sounds as if you are going through a hard time.",
    "Have you considered talking to someone you trust?",
    "As an AI model, I was told to follow a policy.",
    "1. Take a deep breath.\n2. Write down what happened.",
)
TYPES = ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply", "K-R", "C-C", None)
BAD = (
    "{not json",
    "[1, 2]",
    '{"id": "no completion", "prompt": "x"}',
    '{"prompt": "x", "completion": "y", "response_type": "no_such_type"}',
    '{"messages": [{"role": "user", "content": "nobody answered"}]}',
    '{"prompt": "x", "completion": "   ", "response_type": "comply"}',
)


def lines(number: int, bad_every: int = 97, seed: int = 5) -> list[str]:
    """`number` lines of JSONL; every `bad_every`-th is bad."""
    generator = random.Random(seed)
    return [
        BAD[i // bad_every % len(BAD)] if i % bad_every == bad_every - 1 else json.dumps(row(i, generator))
        for i in range(number)
    ]


def row(number: int, generator: random.Random) -> dict[str, object]:
    """One good row, in either of the two forms."""
    prompt = generator.choice(ASKED)
    completion = " ".join(generator.choices(SAID, k=generator.randint(1, 6)))
    given: dict[str, object] = {"id": number, "response_type": generator.choice(TYPES)}
    if number % 2:
        return given | {"prompt": prompt, "completion": completion}
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
    return given | {"messages": turns}
