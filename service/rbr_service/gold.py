"""Labelled completions as files hold them: what graders are measured and calibrated on.

    one line: a row of `rbr score` with "propositions": {"apology": true, ...}, and any other columns
    -> Gold (conversations, response types, categories, labels, the columns asked for) -> groups of rows

Rows are read as served ones are, but for empty answers, which are labelled too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbr_service import rows
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError
from rbr_service.rbr import slices
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import Floats, Ints, codes
from rbr_service.reading import Reader
from rbr_service.settings import Settings

RESPONSE_TYPE, LENGTH = "response_type", "length"
USUAL = ("category", RESPONSE_TYPE, LENGTH)  # columns that rows are grouped by
MOST_GROUPS = 100  # of a column
OUT_OF_SCOPE = "(out of scope)"


@dataclass(frozen=True)
class Gold:
    """Labelled rows. `labels` (n, propositions): 0, 1 or NaN where a row does not say.

    `types` are the policy's response types, None out of scope; `categories` those of its content policy,
    None where a row names none; `columns` hold each row's value of the further columns asked for. `sha256` is
    that of the file.
    """

    conversations: list[Conversation]
    types: list[str | None]
    categories: list[str | None]
    labels: Floats
    columns: dict[str, list[Any]]
    sha256: str

    @property
    def prompts(self) -> Ints:
        """(n,) a number for each different prompt."""
        return codes([repr(conversation.prompt) for conversation in self.conversations])

    def groups(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The group of each row by each column of USUAL and of those that were read.

        response_type is what the policy makes of the row; length is the completion's in words, unless rows
        have a column of that name. Columns that say nothing of any row are left out. Raises DataError.
        """
        found = {}
        for name in names:
            values: list[Any] = self.columns.get(name, [])
            if name == RESPONSE_TYPE:
                values = [kind or OUT_OF_SCOPE for kind in self.types]
            elif name == LENGTH and all(value is None for value in values):
                values = [len(one.completion.split()) for one in self.conversations]
            if any(value is not None for value in values):
                try:
                    found[name] = slices.groups(values)
                except OverflowError as error:
                    raise DataError(f"{name}: holds a number too large to group rows by") from error
                if (count := len(set(found[name]))) > MOST_GROUPS:
                    raise DataError(
                        f"{name}: {count} different values: a column of groups has {MOST_GROUPS} at most"
                    )
        return found


def read(path: Path, policy: Policy, settings: Settings, columns: Sequence[str] = ()) -> Gold:
    """The labelled rows of a regular file, which is read twice. Raises DataError that names the line."""
    reader = Reader(settings.model_copy(update={"empty_completion": "grade"}))
    conversations, types, categories, labels = [], [], [], []
    further: dict[str, list[Any]] = {name: [] for name in columns}
    for number, found in rows.read(path, columns):
        with rows.placed(path, number):
            row = rows.whole(found)
            sample = reader.row(rows.sample(row))
            kind = policy.resolve(sample.label)
        conversations.append(sample.conversation)
        types.append(kind.name if kind else None)
        category = row.get("category")
        categories.append(category if category in policy.file.content_policy else None)
        labels.append(_labels(path, number, row, policy))
        for name, values in further.items():
            values.append(row.get(name))
    if not conversations:
        raise DataError(f"{path}: holds no rows")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Gold(conversations, types, categories, np.array(labels, dtype=float), further, sha256)


def _labels(path: Path, number: int, row: dict[str, Any], policy: Policy) -> list[float]:
    given = row.get("propositions")
    if not isinstance(given, dict) or not all(v is None or isinstance(v, bool) for v in given.values()):
        raise DataError(f"{path}:{number}: propositions must be an object of true and false")
    unknown = given.keys() - policy.file.propositions.keys()
    if unknown:
        raise DataError(f"{path}:{number}: propositions: the policy {policy.name!r} has no {min(unknown)!r}")
    return [float("nan") if given.get(n) is None else float(given[n]) for n in policy.file.propositions]
