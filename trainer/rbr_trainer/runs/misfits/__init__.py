"""What does not fit together in a run.

    RunConfig, and the number of its prompts where their file is here -> Misfit(keys, problem) for each

OpenRLHF asserts some of this after minutes of loading, waits for GPUs that never come, mends some in
silence, and lets the rest through as a run that logs steps and learns nothing.
"""

from itertools import chain

from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.misfits import batches, handover, hardware, method, prompts
from rbr_trainer.runs.misfits.misfit import Misfit

__all__ = ["Misfit", "misfits"]


def misfits(config: RunConfig) -> list[Misfit]:
    """All that does not fit. Raises InputError for a file of prompts that cannot be read."""
    return list(
        chain.from_iterable(part.found(config) for part in (method, batches, prompts, hardware, handover))
    )
