"""How long answers take when as many are asked for at once as the run will ask.

    Plan -> one sample at each address, then `concurrency` of them, a connection each -> Findings

No text is one that was graded before. A wait ends at the limit: what has not come by then is too late.
"""

import asyncio
import random
from collections.abc import Sequence
from statistics import median

from rbr_trainer.errors import Unavailable
from rbr_trainer.preflight.finding import Finding
from rbr_trainer.preflight.plan import Plan
from rbr_trainer.preflight.texts import PROMPT, lengthy
from rbr_trainer.preflight.wire import Sample, Sent, send
from rbr_trainer.progress import Progress

FIRST, LATENCY = "first sample", "latency"
MARGIN = 0.8  # of the limit: a run's completions are longer than these, and its load is less even
MOST = 512  # connections at once; more is extrapolated


async def first(plan: Plan, label: object) -> tuple[Finding, list[Sent]]:
    """One sample at every address, with the key as the run will send it."""
    sample = Sample(PROMPT + lengthy(random.Random()), PROMPT, label)
    calls = [send(address, plan.client, sample, _limit(plan)) for address in plan.addresses]
    sent = await asyncio.gather(*calls)
    lines = [f"{address.root}: {_told(one)}" for address, one in zip(plan.addresses, sent, strict=True)]
    faults = [str(one.error) for one in sent if one.error]
    keyed = any(address.key for address in plan.addresses)
    way = "in the URL, as Basic authentication" if plan.client == "plain" else "as Bearer"
    lines.append(f"the key was sent {way}" if keyed else "no key was sent")
    return Finding(FIRST, not faults, "\n".join(lines), "\n".join(faults)), sent


def late(plan: Plan, sent: Sequence[Sent]) -> Finding | None:
    """The latency's finding where one sample alone shows that it is too long."""
    if not any(isinstance(one.error, Unavailable) and one.seconds >= _limit(plan) for one in sent):
        return None
    return Finding(LATENCY, False, f"one sample alone had no answer within {_limit(plan):g} s", _remedy(plan))


async def measure(plan: Plan, labels: Sequence[object]) -> tuple[Finding, list[Sent]]:
    """The slowest of `concurrency` answers, the samples labelled in turn."""
    count, chance = min(plan.concurrency, MOST), random.Random()
    samples = [Sample(PROMPT + lengthy(chance), PROMPT, labels[i % len(labels)]) for i in range(count)]
    with Progress(LATENCY, count, "answers") as progress:

        async def sent(number: int) -> Sent:
            address = plan.addresses[number % len(plan.addresses)]
            one = await send(address, plan.client, samples[number], _limit(plan))
            progress.step()
            return one

        answers = await asyncio.gather(*map(sent, range(count)))
    return _judged(plan, answers), answers


def overdue(sent: Sequence[Sent]) -> bool:
    """Whether an answer did not come at all: every further check might then wait in vain, to its limit."""
    return any(isinstance(one.error, Unavailable) for one in sent)


def _judged(plan: Plan, sent: Sequence[Sent]) -> Finding:
    count, failed = len(sent), [one.error for one in sent if one.error]
    if failed:
        detail = f"{len(failed)} of {count} samples sent at once had no reward, such as: {failed[0]}"
        return Finding(LATENCY, False, detail, f"{detail}\n{_remedy(plan)}")
    slowest = max(one.seconds for one in sent)
    detail = f"{count} at once: slowest {slowest:.2f} s, median {median(one.seconds for one in sent):.2f} s"
    expected = slowest * plan.concurrency / count
    if plan.concurrency > count:
        detail += f"; extrapolated to {plan.concurrency} at once: up to {expected:.2f} s"
    detail += f"; the client waits {plan.answer_limit:g} s"
    passed = expected <= _limit(plan)
    return Finding(LATENCY, passed, detail, "" if passed else _remedy(plan))


def _limit(plan: Plan) -> float:
    return MARGIN * plan.answer_limit


def _told(sent: Sent) -> str:
    return f"reward {sent.reward.reward:.2f} in {sent.seconds:.2f} s" if sent.reward else "no reward"


def _remedy(plan: Plan) -> str:
    end = "tries five times and then ends the run" if plan.client == "plain" else "has to ask again"
    return (
        f"the service is too slow, or fails, with {plan.concurrency} samples in flight: an answer is wanted "
        f"within {_limit(plan):.3g} s, as the client waits {plan.answer_limit:g} s and {end}; "
        "add replicas, give the grader's engine more room (--grader-concurrency), or roll out less at once"
    )
