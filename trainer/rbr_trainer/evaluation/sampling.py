"""How answers are drawn from a model, whoever runs it."""

from dataclasses import dataclass

from rbr_trainer.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """`samples` answers a prompt, of at most `max_new_tokens`; temperature 0 takes the likeliest token."""

    temperature: float = 1.0
    max_new_tokens: int = 512
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.temperature:
            raise InputError("--samples: at temperature 0 all answers to a prompt are the same: ask for one")
