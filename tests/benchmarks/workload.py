"""What the grader is asked in the measurements: a policy as long as the paper's, conversations about nothing.

Lengths are tokens of the tokenizer that the tests train, which is the one of the models measured.
"""

import json

from rbr_service.conversation import Conversation, Message
from rbr_service.graders.base import GradeRequest
from rbr_service.rbr.policy import Policy, parse
from tests.tokenizer import text, tokenizer

QUESTIONS = 23
QUESTION, DEFINITION = 20, 520  # tokens
MESSAGE = 300  # tokens of a prompt, and on average of a completion
BLOCK = 32  # tokens that the engine caches together, on a CPU
SEED = 7_000_000


def policy() -> Policy:
    """QUESTIONS propositions, all of them asked about every completion."""
    names = [f"p{n:02}" for n in range(1, QUESTIONS + 1)]
    content = {
        "policy": "synthetic",
        "description": "Made up, to be measured.",
        "classes": ["good", "bad"],
        "unlabelled": "error",
        "response_types": {"any": {"description": "Any.", "features": {"propositions": names}}},
        "propositions": {
            name: {"question": passage(QUESTION, SEED + n), "definition": passage(DEFINITION, SEED - 1 - n)}
            for n, name in enumerate(names)
        },
        "rules": {"any": {"good": {names[0]: True}, "bad": {names[0]: False}}},
    }
    return parse(json.dumps(content), "synthetic.yaml")


def passage(tokens: int, seed: int) -> str:
    """Random sentences of about so many tokens."""
    long = text(tokens, seed)
    return long[: tokenizer().encode(long).offsets[tokens - 1][1]].strip()


def conversations(count: int, first: int = 0) -> list[Conversation]:
    """Conversations from the `first` on; no two are alike, nor their prompts.

    Of BLOCK in a row each ends at another place of a block, as real ones would.
    """
    return [
        Conversation(
            (Message("user", passage(MESSAGE, 2 * n)),),
            passage(MESSAGE - BLOCK // 2 + n % BLOCK, 2 * n + 1),
        )
        for n in range(first, first + count)
    ]


def requests(asked: Policy, talk: list[Conversation]) -> list[GradeRequest]:
    """Every proposition of the policy about every conversation."""
    names = tuple(asked.file.propositions)
    return [GradeRequest(one, names, "completion") for one in talk]
