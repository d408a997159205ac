"""Files that are there whole or not at all, whatever ends a run on the way.

    content -> PATH.partial, on disk -> renamed to PATH

What was there stays until the new content is whole. Behind a symlink the file that it names is replaced.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rbr_service.errors import OutputError


def write(path: Path, content: bytes | str) -> None:
    """Make `content` (text: in UTF-8) the file's; it is for good when this returns. Raises OutputError."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path to write the new content to; it becomes `path` when the block ends.

    Raises OutputError for an OSError in the block or after it; `path` is then as it was.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(target.name + ".partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, target)
        _sync(target.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
