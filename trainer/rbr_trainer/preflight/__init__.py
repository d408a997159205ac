"""What would spoil a run, looked for before it starts.

Plan -> examine -> [Finding] -> table
"""

from rbr_trainer.preflight.examine import examine
from rbr_trainer.preflight.finding import Finding, table
from rbr_trainer.preflight.plan import Plan

__all__ = ["Finding", "Plan", "examine", "table"]
