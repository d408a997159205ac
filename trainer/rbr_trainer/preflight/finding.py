"""What the preflight found.

[Finding] -> table, a line each and more where the detail has more
"""

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass

from rbr_trainer.errors import InputError, ServiceError


@dataclass(frozen=True)
class Finding:
    """One check. `passed` False stands against a run; `detail` says what was seen, `remedy` what to do.

    `made` False: it was not made, for the reason in `detail`; that stands against a run where an earlier
    check's failure is the reason, not where there was nothing to look at.
    """

    name: str
    passed: bool
    detail: str
    remedy: str = ""
    made: bool = True

    @property
    def result(self) -> str:
        """The table's word for it."""
        return ("ok" if self.passed else "FAIL") if self.made else "-"

    @property
    def fault(self) -> str:
        """What a person is told of a failed check, beside the table; "" where there is nothing to do."""
        if self.passed or not self.made:
            return ""
        return self.remedy or f"{self.name}: {self.detail}"


def blocked(name: str, reason: str) -> Finding:
    """A check that could not be made because of an earlier one."""
    return Finding(name, False, f"not made: {reason}", made=False)


def idle(name: str, reason: str) -> Finding:
    """A check that had nothing to look at."""
    return Finding(name, True, f"not made: {reason}", made=False)


async def attempted(name: str, check: Awaitable[Finding]) -> Finding:
    """The check's finding; what keeps it from being made is one too."""
    try:
        return await check
    except (ServiceError, InputError) as error:
        first, *more = str(error).splitlines()
        return Finding(name, False, "\n".join([f"not to be made: {first}", *more]), remedy=str(error))


def table(findings: Iterable[Finding]) -> list[str]:
    """Name, ok or FAIL or - (not made), and detail of each, in lines."""
    found = list(findings)
    width = max((len(finding.name) for finding in found), default=0)
    lines = [f"{'check':{width}}  result  detail"]
    for finding in found:
        head, *more = finding.detail.splitlines() or [""]
        lines.append(f"{finding.name:{width}}  {finding.result:6}  {head}".rstrip())
        lines += [f"{'':{width}}          {line}".rstrip() for line in more]
    return lines
