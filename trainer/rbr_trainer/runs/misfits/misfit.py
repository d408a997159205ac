"""Keys of a run that contradict each other."""

from dataclasses import dataclass

from rbr_trainer.runs.document import Key


@dataclass(frozen=True)
class Misfit:
    """`keys`: the first is the one to change. `problem`: why, and what to do, to be read after a key."""

    keys: tuple[Key, ...]
    problem: str

    @classmethod
    def of(cls, keys: str, problem: str) -> "Misfit":
        """From keys as they are read, `sizes.train_batch hardware.nodes`."""
        return cls(tuple(tuple(key.split(".")) for key in keys.split()), problem)
