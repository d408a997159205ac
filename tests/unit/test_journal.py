"""The journal on a full disk; what runs make of one is in test_batch.py and test_labelling.py."""

from pathlib import Path

import pytest

from rbr_service.errors import OutputError
from rbr_service.journal import journal, journal_path

from .limits import full_at


def test_a_full_disk_is_named_and_what_was_kept_is_there(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "out.jsonl")
    rows = [b"%d" % n * 30 + b"\n" for n in range(9)]
    with full_at(130), journal(path, {}) as kept:
        kept.append(rows[:3])
        with pytest.raises(OutputError, match=rf"^{path}: cannot be written: File too large$"):
            kept.append(rows[3:])
    with journal(path, {}) as kept:
        assert kept.done == 3
        kept.append(rows[kept.done :])
        assert list(kept.lines()) == rows
