"""The services behind a run's addresses, which have to be ready and of one version.

    addresses -> GET /readyz, GET /v1/policy at each -> Replicas -> Findings

Replicas of different versions would give one batch different rewards.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rbr_trainer.address import Address
from rbr_trainer.client import ASKING, Client
from rbr_trainer.errors import ServiceError
from rbr_trainer.preflight.finding import Finding, blocked
from rbr_trainer.service import Service, ask

READY, VERSION = "service", "reward version"
PREFIX = 12  # characters of a reward version that tell it from others


@dataclass(frozen=True)
class Replicas:
    """What is at each address: a service, or why there is none to be seen."""

    seen: Mapping[Address, Service | ServiceError]

    @property
    def services(self) -> list[Service]:
        """Those that answered, ready or not."""
        return [found for found in self.seen.values() if isinstance(found, Service)]

    def readiness(self) -> Finding:
        """Whether each can score."""
        several = len(self.seen) > 1
        lines, faults = [], []
        for address, found in self.seen.items():
            if isinstance(found, ServiceError):
                lines.append(f"{address.root}: no service that can be used")
                faults.append(str(found))
            elif found.fault:
                lines.append(f"{address.root}: not ready: {found.fault}")
                faults.append(
                    f"the service{f' at {address.root}' if several else ''} is not ready: {found.fault}"
                )
            else:
                lines.append(f"{address.root}: ready, policy {found.policy}")
        return Finding(READY, not faults, "\n".join(lines), "\n".join(faults))

    def version(self, wanted: str | None) -> Finding:
        """Whether all have one reward version, and that is the wanted one, if any."""
        services = self.services
        if not services:
            return blocked(VERSION, "no service tells its version")
        versions = list(dict.fromkeys(service.reward_version for service in services))
        mismatches = dict.fromkeys(mismatch for service in services for mismatch in service.mismatches)
        told = [f"accepted at its start: {mismatch}" for mismatch in mismatches] or ["no mismatch accepted"]
        return Finding(
            VERSION, not (remedy := _remedy(versions, wanted)), "\n".join([*versions, *told]), remedy
        )


def _remedy(versions: Sequence[str], wanted: str | None) -> str:
    if len(versions) > 1:
        return (
            "the replicas differ in their reward version, so one batch would mix rewards: start all with the "
            "same policy, weights, calibration and grader"
        )
    if wanted is not None and len(wanted) < PREFIX:
        return f"the wanted reward version {wanted!r} is too short: give {PREFIX} of its characters or more"
    if wanted is not None and not versions[0].startswith(wanted):
        return (
            f"the service's reward version is {versions[0]}, not {wanted}: start it with the policy, weights "
            "and grader of that version, or ask for this one"
        )
    return ""


async def look(addresses: Sequence[Address]) -> Replicas:
    """Ask each address once."""
    found = await asyncio.gather(*map(_one, addresses))
    return Replicas(dict(zip(addresses, found, strict=True)))


async def _one(address: Address) -> Service | ServiceError:
    async with Client((address,), ASKING) as client:
        try:
            return await ask(client)
        except ServiceError as error:
            return error
