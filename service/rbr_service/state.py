"""What one running app holds: made by build.py, read by the routes."""

from dataclasses import dataclass, field

from rbr_service.metrics import Metrics
from rbr_service.scorer import Result, Scorer
from rbr_service.settings import Settings
from rbr_service.work import Work


@dataclass
class State:
    """`ready` turns true when the grader has started and false when shutdown begins."""

    settings: Settings
    metrics: Metrics
    scorer: Scorer
    work: Work[list[Result]] = field(default_factory=Work)
    ready: bool = False
