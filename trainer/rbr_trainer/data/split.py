"""Which prompts are trained on, which are held out, and which are left out to keep a mix.

    prompts, seed -> held out + the rest -> the rest in the wanted mix -> trimmed to whole batches -> Split

What is drawn depends on the seed and a prompt's own text, not on the order of files or rows. What is held
out does not depend on the mix, so runs with different mixes are measured on the same prompts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from rbr_trainer.data.policy import AUTO, OUT_OF_SCOPE, Policy
from rbr_trainer.data.prompts import Prompt
from rbr_trainer.errors import InputError


@dataclass(frozen=True)
class Mix:
    """Shares among prompts: each of `parts` is a group of kinds and its share, relative to the others'.

    Prompts of `kept` kinds are taken whole and do not count; those of other kinds are left out.
    """

    parts: Sequence[tuple[frozenset[str], float]]
    kept: frozenset[str] = frozenset()

    @classmethod
    def of_refusals(cls, policy: Policy, share: float) -> "Mix":
        """A share of refusals among the prompts in scope, the others being those to comply with.

        The policy's metrics say which these are: a response type for which some class is an over-refusal.
        Raises InputError where there are none, or no others.
        """
        complied = frozenset(policy.overrefusal)
        refused = frozenset(policy.response_types) - complied
        if not complied or not refused:
            raise InputError(
                f"--refusal-share: the policy {policy.name!r} does not tell refusals from the rest "
                "(metrics.overrefusal names the types to comply with): give the shares by --mix"
            )
        return cls(((refused, share), (complied, 1 - share)), frozenset({OUT_OF_SCOPE, AUTO}))


@dataclass
class Split:
    """Prompts by what becomes of them, each list in an order drawn by the seed."""

    train: list[Prompt] = field(default_factory=list)
    held_out: list[Prompt] = field(default_factory=list)
    left_out: list[Prompt] = field(default_factory=list)


@dataclass(frozen=True)
class Splitter:
    """Splits prompts: `held_out` in [0, 1) is a share of each kind, in whole groups where there are any."""

    seed: int = 0
    held_out: float = 0.0
    mix: Mix | None = None
    multiple_of: int = 1

    def split(self, prompts: Sequence[Prompt]) -> Split:
        """Raises InputError where nothing of a kind, or nothing at all, is left to train on."""
        ordered = sorted(prompts, key=lambda prompt: _draw(self.seed, repr(prompt.key)))
        made = Split()
        chosen = self._chosen(ordered)
        for prompt in ordered:
            (made.held_out if prompt.place in chosen else made.train).append(prompt)
        if gone := Counter(p.kind for p in ordered).keys() - Counter(p.kind for p in made.train).keys():
            raise InputError(
                f"holding out {self.held_out:g} leaves no prompt of {min(gone)} to train on: "
                "hold out less, or by smaller groups"
            )
        if self.mix:
            self._keep(made, _mixed(made.train, self.mix))
        self._keep(
            made,
            {prompt.place for prompt in made.train[: len(made.train) // self.multiple_of * self.multiple_of]},
        )
        if not made.train:
            raise InputError(
                f"no prompt is left to train on: of {len(prompts)}, {len(made.held_out)} are held out and "
                f"the others do not fill a batch of {self.multiple_of}"
            )
        return made

    def _chosen(self, ordered: Sequence[Prompt]) -> set[str]:
        """The places of the prompts that are held out."""
        if not self.held_out:
            return set()
        if any(prompt.group for prompt in ordered):
            return self._groups(ordered)
        taken: set[str] = set()
        for kind, wanted in self._wanted(ordered).items():
            taken |= {prompt.place for prompt in [p for p in ordered if p.kind == kind][:wanted]}
        return taken

    def _groups(self, ordered: Sequence[Prompt]) -> set[str]:
        """Whole groups, drawn until each kind has its share; the rarest kind chooses first."""
        members: dict[str, list[Prompt]] = {}
        for prompt in ordered:
            members.setdefault(prompt.group, []).append(prompt)
        drawn = sorted(members, key=lambda group: _draw(self.seed, group))
        held: Counter[str] = Counter()
        taken: set[str] = set()
        for kind, wanted in sorted(self._wanted(ordered).items(), key=lambda item: (item[1], item[0])):
            for group in drawn:
                kinds = Counter(prompt.kind for prompt in members[group])
                if held[kind] < wanted and kinds[kind] and members[group][0].place not in taken:
                    taken |= {prompt.place for prompt in members[group]}
                    held += kinds
        return taken

    def _wanted(self, ordered: Sequence[Prompt]) -> dict[str, int]:
        """How many to hold out of each kind: the share, at least one, and never the only one."""
        counts = Counter(prompt.kind for prompt in ordered)
        return {kind: min(n - 1, max(1, round(self.held_out * n))) for kind, n in counts.items()}

    @staticmethod
    def _keep(made: Split, places: set[str]) -> None:
        made.left_out += [prompt for prompt in made.train if prompt.place not in places]
        made.train = [prompt for prompt in made.train if prompt.place in places]


def _mixed(train: Sequence[Prompt], mix: Mix) -> set[str]:
    """The places of as many prompts as can be had in the mix. Raises InputError where a part has none."""
    found = [([p for p in train if p.kind in kinds], kinds, share) for kinds, share in mix.parts if share > 0]
    for prompts, kinds, share in found:
        if not prompts:
            raise InputError(
                f"there is no prompt of {', '.join(sorted(kinds))} for its part of {share:g} in the mix"
            )
    size = min(len(prompts) / share for prompts, _, share in found)
    taken = {prompt.place for prompt in train if prompt.kind in mix.kept}
    for prompts, _, share in found:
        # A product that should be whole may lie just below it.
        taken |= {prompt.place for prompt in prompts[: int(size * share + 1e-9)]}
    return taken


def _draw(seed: int, text: str) -> bytes:
    return blake2b(text.encode(), key=str(seed).encode(), digest_size=16).digest()
