"""All checks, in the order in which a run needs what they look at.

    Plan -> service, answers, dataset, policy model, clip -> [Finding]

Checks do not stop at the first failure. One that cannot be made because an earlier one failed says so, and
does not count as passed.
"""

from typing import Any

from rbr_trainer.errors import InputError
from rbr_trainer.preflight import chat, clip, labels, latency, probes, replicas, roundtrip
from rbr_trainer.preflight.chat import Load, Tokenizer
from rbr_trainer.preflight.finding import Finding, attempted, blocked, idle
from rbr_trainer.preflight.plan import Plan
from rbr_trainer.preflight.texts import OPEN, PROMPT
from rbr_trainer.service import Service

ANSWERED = (
    latency.LATENCY, probes.TYPES, labels.LABELS, roundtrip.TEMPLATE, probes.REASONING, probes.LOW_MASS,
    probes.EMPTY,
)  # fmt: skip


async def examine(plan: Plan, load: Load = chat.load) -> list[Finding]:
    """What was found; `load` gives the policy model's tokenizer."""
    seen = await replicas.look(plan.addresses)
    found = [seen.readiness(), seen.version(plan.reward_version)]
    if not seen.services:
        return [
            *found,
            *(blocked(name, "no service answers") for name in (latency.FIRST, *ANSWERED, clip.NAME)),
        ]
    service = seen.services[0]
    found += (
        await _answers(plan, service, load)
        if found[0].passed
        else [blocked(name, "the service is not ready") for name in (latency.FIRST, *ANSWERED)]
    )
    return [*found, clip.reach(service, plan.clip)]


async def _answers(plan: Plan, service: Service, load: Load) -> list[Finding]:
    """The checks for which the service has to grade."""
    kinds = {name: _label(service, name) for name in service.ranges}
    label = next(iter(kinds.values()))
    first, sent = await latency.first(plan, label)
    if not first.passed:
        late = latency.late(plan, sent)
        return [
            first,
            *([late] if late else []),
            *(blocked(name, "a first sample got no reward") for name in ANSWERED[1 if late else 0 :]),
        ]
    speed, sent = await latency.measure(plan, list(kinds.values()))
    if latency.overdue(sent):
        return [first, speed, *(blocked(name, "the service did not answer in time") for name in ANSWERED[1:])]
    return [
        first,
        speed,
        await attempted(probes.TYPES, probes.types(plan, kinds)),
        *await _datasets(plan, service),
        *await _policy(plan, label, load),
        await attempted(probes.LOW_MASS, probes.low_mass(plan)),
        await attempted(probes.EMPTY, probes.empty(plan, label)),
    ]


def _label(service: Service, response_type: str) -> dict[str, Any]:
    base = {"base_reward": 0.0} if service.base_reward == "given" else {}
    return {"response_type": response_type, **base}


async def _datasets(plan: Plan, service: Service) -> list[Finding]:
    """The prompts, and those that the run evaluates itself on, where it does: a label there ends it too."""
    given = {labels.LABELS: plan.dataset} | ({labels.EVALUATION: plan.evaluation} if plan.evaluation else {})
    return [
        await attempted(name, labels.labels(plan, path, service.base_reward, name))
        if path
        else idle(name, "no dataset is given")
        for name, path in given.items()
    ]


async def _policy(plan: Plan, label: Any, load: Load) -> list[Finding]:
    """What depends on the policy model's tokenizer."""
    if plan.model is None:
        return [idle(name, "no policy model is given") for name in (roundtrip.TEMPLATE, probes.REASONING)]
    try:
        tokenizer = load(plan.model)
    except InputError as error:
        failed = Finding(roundtrip.TEMPLATE, False, "the tokenizer cannot be loaded", str(error))
        return [failed, blocked(probes.REASONING, failed.detail)]
    return [
        await _template(plan, tokenizer),
        await attempted(probes.REASONING, _reasoning(plan, label, tokenizer)),
    ]


async def _template(plan: Plan, tokenizer: Tokenizer) -> Finding:
    if plan.dataset is None:
        return idle(roundtrip.TEMPLATE, "no dataset is given")
    return await attempted(roundtrip.TEMPLATE, roundtrip.roundtrip(plan, plan.dataset, tokenizer))


async def _reasoning(plan: Plan, label: Any, tokenizer: Tokenizer) -> Finding:
    prompt = PROMPT
    if plan.apply_chat_template:
        prompt = tokenizer.render([{"role": "user", "content": PROMPT}])
    if OPEN not in tokenizer.template:
        return Finding(probes.REASONING, True, f"the policy's template knows no {OPEN}")
    return await probes.reasoning(plan, prompt, label)
