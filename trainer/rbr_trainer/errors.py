"""The failures that reach whoever runs a command, or a training run.

    TrainerError
    |- InputError       a file, setting or argument is wrong; names it and the fix: exit code 2
    |- ServiceError     the reward service cannot be used: exit code 1
       |- Refused       it answered that it will not score this
       |- Unavailable   it did not answer within the patience
       |- Unsound       it answered with what is no reward

`cli.py` turns them into lines and exit codes. A training run ends on them: a failure is never a number.
They travel between a trainer's processes, so each can be made again from its message alone.
"""


class TrainerError(Exception):
    """Base of all; the message is one sentence, or a line each, that a person can act on."""

    exit_code = 1


class InputError(TrainerError):
    """What was given is wrong; the message names the file and line, or the key, and the fix."""

    exit_code = 2


class ServiceError(TrainerError):
    """The service cannot be used."""


class Refused(ServiceError):  # noqa: N818 - what it did
    """The service's last word. `status` is HTTP's, `code` the service's own, "" where it gave none."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Unavailable(ServiceError):  # noqa: N818 - what it is
    """No answer within the patience. `seen` is the last fault of each address, by its root."""

    def __init__(self, message: str, seen: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.seen = seen or {}


class Unsound(ServiceError):  # noqa: N818 - what it is
    """An answer that holds no reward, or one of another version than the run demands."""
