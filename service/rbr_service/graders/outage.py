"""Times when something that may fail does fail: counted, told once, not paid for at every call.

    passes() -> try it -> worked() or failed(problem)

A cache that does not answer costs its time limit. So after a fault it is left alone for PAUSE seconds,
then one call tries again on behalf of all.
"""

import logging
import time

PAUSE = 5.0  # seconds

_log = logging.getLogger("rbr.cache")


class Outage:
    """Whether `what` works at present."""

    def __init__(self, what: str, pause: float = PAUSE) -> None:
        """`what` begins the log's lines: an address or file, no secret. `pause` in seconds."""
        self.faults = 0
        self._what, self._pause = what, pause
        self._again: float | None = None  # the instant of the next try; None while it works

    @property
    def on(self) -> bool:
        """Whether the last call that was tried failed."""
        return self._again is not None

    def passes(self) -> bool:
        """Whether this call may be tried; during an outage that is one call in every pause."""
        if self._again is None:
            return True
        now = time.monotonic()
        if now < self._again:
            return False
        self._again = now + self._pause
        return True

    def failed(self, problem: str) -> None:
        """Count a fault; the first of an outage is logged."""
        self.faults += 1
        if self._again is None:
            _log.warning("%s fails: %s; verdicts are graded anew meanwhile", self._what, problem)
        self._again = time.monotonic() + self._pause

    def worked(self) -> None:
        """End the outage, if there was one."""
        if self._again is not None:
            _log.warning("%s works again", self._what)
            self._again = None
