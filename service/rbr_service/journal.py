"""What a run has done so far, on disk, so that a killed one can go on.

    header line (what the run is bound to), then one line a row, synced a batch

A run that finds a journal of its own goes on behind the last whole line.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rbr_service.errors import DataError, OutputError


class Journal:
    """The rows done so far, on disk."""

    def __init__(self, file: BinaryIO, path: Path, binding: dict[str, Any]) -> None:
        """Over an open file; see `journal`."""
        self.path, self._file = path, file
        self.done = self._recover((json.dumps({"journal": binding}, sort_keys=True) + "\n").encode())

    def _recover(self, header: bytes) -> int:
        """Rows that are whole; a torn tail is cut off."""
        self._file.seek(0)
        first = self._file.readline()
        if not header.startswith(first):
            raise DataError(
                f"{self.path}: is the journal of another input, policy, grader or setting: "
                "finish that run, or delete the journal to begin anew"
            )
        if first != header:  # new, or torn in its first line
            self._file.truncate(0)
            self.append([header])
            return 0
        count, end = 0, len(header)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            count, end = count + 1, end + len(line)
        self._file.truncate(end)
        return count

    def append(self, lines: list[bytes]) -> None:
        """Add rows; they survive a crash when this returns. Raises OutputError."""
        try:
            self._file.writelines(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def lines(self) -> Iterator[bytes]:
        """The rows, in order."""
        with self.path.open("rb") as file:
            file.readline()
            yield from file


def journal_path(output: Path) -> Path:
    """Where the journal of the run that makes `output` lies."""
    return output.with_name(output.name + ".journal")


@contextmanager
def journal(path: Path, binding: dict[str, Any]) -> Iterator[Journal]:
    """The journal at `path`, locked; `binding` is what a resumed run must share.

    Raises DataError when it is another's, in use, or cannot be written.
    """
    try:
        file = path.open("a+b")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{path}: another run is writing to it: wait until it has ended") from error
        except OSError:
            pass  # a file system without locks
        yield Journal(file, path, binding)
    finally:
        with suppress(OSError):  # what was appended is on disk: only a write that failed is tried again here
            file.close()
