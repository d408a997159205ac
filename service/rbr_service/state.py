"""What one running app holds: made by build.py, read by the routes, changed by reload.py."""

import asyncio
from dataclasses import dataclass, field

from rbr_service.metrics import Metrics
from rbr_service.recent import Recent
from rbr_service.scorelog.writer import ScoreLog
from rbr_service.scorer import Result, Scorer
from rbr_service.settings import Settings
from rbr_service.work import Work


@dataclass
class State:
    """`scorer` is what serves now: a request reads it once and keeps it to its end.

    `in_force`: the settings that it was made from, where they are no longer `settings`. `fault`: why it
    cannot score now, "" where it can. `dead`: the grader's engine is gone for good. `recent`: the last
    scores.
    """

    settings: Settings
    metrics: Metrics
    scorer: Scorer
    work: Work[list[Result]] = field(default_factory=Work)
    fault: str = "starting"
    stopping: bool = False
    dead: bool = False
    log: ScoreLog | None = None
    in_force: Settings = field(init=False)
    recent: Recent = field(init=False)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.recent = Recent(self.scorer, texts=self.settings.live_texts)
        self.take(self.scorer, self.settings)

    def take(self, scorer: Scorer, settings: Settings) -> None:
        """Serve with another scorer, made from `settings`; what has begun ends with the one before."""
        self.scorer, self.in_force = scorer, settings
        self.recent.follow(scorer)

    @property
    def ready(self) -> bool:
        """Able to score, and meant to go on."""
        return not (self.fault or self.stopping or self.dead)

    @property
    def reason(self) -> str:
        """Why it is not ready; "" where it is."""
        return self.fault or ("shutting down" if self.stopping else "")
