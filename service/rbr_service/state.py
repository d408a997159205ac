"""What one running app holds: made by build.py, read by the routes."""

from dataclasses import dataclass, field

from rbr_service.metrics import Metrics
from rbr_service.scorelog.writer import ScoreLog
from rbr_service.scorer import Result, Scorer
from rbr_service.settings import Settings
from rbr_service.work import Work


@dataclass
class State:
    """`fault`: why it cannot score now, "" where it can. `dead`: the grader's engine is gone for good."""

    settings: Settings
    metrics: Metrics
    scorer: Scorer
    work: Work[list[Result]] = field(default_factory=Work)
    fault: str = "starting"
    stopping: bool = False
    dead: bool = False
    log: ScoreLog | None = None

    @property
    def ready(self) -> bool:
        """Able to score, and meant to go on."""
        return not (self.fault or self.stopping or self.dead)

    @property
    def reason(self) -> str:
        """Why it is not ready; "" where it is."""
        return self.fault or ("shutting down" if self.stopping else "")
