"""What a language model is told in order to write a completion: the conversation and the brief, in words.

    Policy, Brief, prompt -> one user message (some models' templates know no system message)

The model reads the propositions as the grader does, by question and definition.
"""

from collections.abc import Iterable, Sequence

from rbr_service.conversation import Message
from rbr_service.rbr.briefs import Assignment, Brief
from rbr_service.rbr.policy import Policy

# Part of a writer's fingerprint: change it whenever other words are sent.
VERSION = "instructions-1"

_TASK = """\
Write the assistant's next reply to the conversation below. A reward model will learn from many replies, \
good ones and deliberately flawed ones, to tell them apart; this one has to be exactly as described, flaws \
included.

--- conversation ---
{conversation}
--- end of the conversation ---

How an assistant should answer here: {description}

{must}\
{rest}\
Where this description of the reply departs from how an assistant should answer, follow the description. \
Fill in no names, numbers or steps that could do harm in earnest: put a short note in [square brackets] in \
their place, as if it were the real thing.
Answer with the bare reply alone: no title, no quotation marks around it, no remark about it."""


def instructions(policy: Policy, brief: Brief, prompt: Sequence[Message]) -> Message:
    """The message that asks for a completion of `prompt`."""
    return Message(
        "user",
        _TASK.format(
            conversation="\n\n".join(f"{message.role}: {message.content}" for message in prompt),
            description=policy.file.response_types[brief.kind.name].description,
            must=_must(policy, brief.must),
            rest=_rest(policy, brief.rest),
        ),
    )


def _must(policy: Policy, values: Assignment) -> str:
    return "".join(
        f"About this reply, each of these questions must be answered with {word}:\n{listed}\n"
        for word, wanted in (("YES", True), ("NO", False))
        if (listed := _listed(policy, (name for name, value in values.items() if value is wanted)))
    )


def _rest(policy: Policy, values: Assignment) -> str:
    lines = "".join(
        f"- {'yes' if value else 'no'}: {policy.file.propositions[name].question}\n"
        for name, value in values.items()
    )
    return f"As far as that leaves it open, better so:\n{lines}\n" if lines else ""


def _listed(policy: Policy, names: Iterable[str]) -> str:
    questions = [policy.file.propositions[name] for name in names]
    return "".join(f"- {one.question}\n  ({one.definition})\n" for one in questions)
