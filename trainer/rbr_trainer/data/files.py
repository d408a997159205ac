"""Files that are there whole or not at all, whatever ends a run on the way.

    content -> PATH.partial, on disk -> renamed to PATH

What was there stays until the new content is whole. Behind a symlink the file that it names is replaced.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rbr_trainer.errors import InputError, TrainerError


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """The paths to write the new contents to; when the block ends they become `paths`, one after another.

    If the block raises, nothing is left of them. Raises TrainerError for an OSError in the block or after.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    partials = [target.with_name(target.name + ".partial") for target in targets]
    with ExitStack() as stack:
        for partial in partials:
            stack.callback(partial.unlink, missing_ok=True)
        try:
            yield partials
            for partial in partials:
                _sync(partial)
            for partial, target in zip(partials, targets, strict=True):
                os.replace(partial, target)
                _sync(target.parent)
        except OSError as error:
            named = ", ".join(map(str, paths))
            raise TrainerError(f"{named}: cannot be written: {error.strerror or error}") from error


def outputs(inputs: Iterable[Path | None], *written: Path | None) -> None:
    """Checks, before any work, that what a command writes can be written and overwrites none of its inputs.

    None stands for what was not given. Raises InputError.
    """
    taken = {_identity(path): "is an input of this command" for path in inputs if path}
    for path in filter(None, written):
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file: name one")
        if not Path(os.path.realpath(path)).parent.is_dir():
            raise InputError(f"{path}: its folder does not exist: make it, or name another")
        if (same := _identity(path)) in taken:
            raise InputError(f"{path}: {taken[same]}: name another file")
        taken[same] = "is already another output"


def _identity(path: Path) -> object:
    """The same for all names of a file, whether it is there or not."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
