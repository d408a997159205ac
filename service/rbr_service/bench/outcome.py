"""What became of one sample."""

from dataclasses import dataclass

SCORED, DEADLINE_MISSED = "", "deadline_missed"


@dataclass(frozen=True)
class Answer:
    """`fault`: SCORED, DEADLINE_MISSED, or a code of what went wrong. `version`: the reward's, if scored."""

    fault: str
    version: str = ""


@dataclass(frozen=True)
class Outcome:
    """An answer, and when its request was due, made and answered, in seconds from the start."""

    answer: Answer
    due: float
    sent: float
    ended: float

    @property
    def latency(self) -> float:
        """Seconds from when it was due: what a stalled server or a slow client adds is in it."""
        return self.ended - self.due

    @property
    def late(self) -> float:
        """Seconds by which the client itself was late."""
        return self.sent - self.due
