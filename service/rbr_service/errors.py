"""The failures that reach a caller or an operator.

    RBRError
    |- StartupError           refuses to start: exit code 2
    |  |- PolicyError         a policy file is wrong; says file, line, key and what to do
    |  |- SettingsError       a flag, environment variable or configuration key is wrong
    |  |- DataError           an input file is wrong; says file and line
    |  |- WeightsError        no weights, or weights fitted to something else
    |  |- CalibrationError    no calibration, or one fitted to another grader
    |- RequestError           the caller's fault: HTTP 4xx
    |- UnreadablePolicyError  a policy file that a request names is wrong; says file, line, key: HTTP 422
    |- ReloadError            a policy could not be put in force: the one before goes on serving
    |- GraderError            the grader could not answer: HTTP 503
    |  |- GraderTimeoutError  not within its deadline
    |  |- GraderDeadError     it never will again: the process ends
    |- BaseRewardError        the helpful-only reward model could not answer: HTTP 503
    |- WriterError            the writer of completions could not answer: its server failed
    |- OutputError            a file that a command makes cannot be written

`code` is stable and part of the HTTP contract. `app.py` turns these into answers, `cli` into exit codes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar


class RBRError(Exception):
    """Base of all; `message` is one sentence a person can act on."""

    code = "internal_error"
    status = 500

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}


class StartupError(RBRError):
    """The service or command refuses to begin."""

    code = "startup_error"


class PolicyError(StartupError):
    """A policy file is refused. `line` counts from 1; `key` is the dotted path inside the file."""

    code = "policy_error"

    def __init__(self, path: str, line: int, key: str, problem: str) -> None:
        place = f"{path}:{line}: {key}: " if key else f"{path}:{line}: "
        super().__init__(place + problem, {"file": path, "line": line, "key": key})
        self.line, self.key, self.problem = line, key, problem


class SettingsError(StartupError):
    """A setting has a wrong value or an unknown name."""

    code = "settings_error"


class DataError(StartupError):
    """An input file cannot be used."""

    code = "data_error"


class WeightsError(StartupError):
    """The weights are missing, or were fitted to another policy, grader or base reward."""

    code = "weights_error"


class CalibrationError(StartupError):
    """The calibration is missing, or was fitted to another grader."""

    code = "calibration_error"


class RequestError(RBRError):
    """The request cannot be answered as it is."""

    code = "invalid_request"
    status = 422


@contextmanager
def entry(index: int) -> Iterator[None]:
    """Names the entry of a batch, counted from 0, in the request errors raised inside."""
    try:
        yield
    except RequestError as error:
        error.message = f"entry {index}: {error.message}"
        error.details["entry"] = index
        raise


T = TypeVar("T")


def whole(results: Sequence[T | RequestError], first: int = 0) -> list[T]:
    """The results, all of them. Raises the first RequestError, naming its entry, counted from `first`."""
    found = []
    for index, result in enumerate(results, first):
        with entry(index):
            if isinstance(result, RequestError):
                raise result
            found.append(result)
    return found


class UnauthorizedError(RequestError):
    """The API key is missing or wrong."""

    code = "unauthorized"
    status = 401


class CrossOriginError(RequestError):
    """A browser sent it for a page of another origin, or does not say for which."""

    code = "cross_origin"
    status = 403


class TooLargeError(RequestError):
    """A body, batch or completion is over its limit."""

    code = "too_large"
    status = 413


class TooManyListenersError(RequestError):
    """As many live streams are open as there may be."""

    code = "too_many_listeners"
    status = 429


class ReloadOffError(RequestError):
    """The policy cannot be changed over HTTP: no admin key is set."""

    code = "reload_off"
    status = 403


class RewardVersionError(RequestError):
    """The request is pinned to another reward version than the one in force."""

    code = "reward_version_mismatch"
    status = 409


class UnknownPolicyError(RequestError):
    """The request names a policy that this service does not serve."""

    code = "unknown_policy"


class UnknownResponseTypeError(RequestError):
    """A label names neither a response type, an alias nor a category of the policy."""

    code = "unknown_response_type"


class NoResponseTypeError(RequestError):
    """A sample names no response type and the policy demands one."""

    code = "no_response_type"


class BadLabelError(RequestError):
    """A label is not a string, an object or null, or its fields are of wrong types."""

    code = "bad_label"


class CannotCutError(RequestError):
    """The completion cannot be told from the prompt inside `query`."""

    code = "cannot_cut"


class CannotReadError(RequestError):
    """A pasted text has none of the forms that are known."""

    code = "cannot_read"


class UnclosedReasoningError(RequestError):
    """A reasoning block was opened and never closed: there is no answer to score."""

    code = "unclosed_reasoning"


class EmptyCompletionError(RequestError):
    """Nothing is left to score."""

    code = "empty_completion"


class NoBaseRewardError(RequestError):
    """The base reward is configured to come with the sample and did not."""

    code = "no_base_reward"


class UnsupportedConversationError(RequestError):
    """The model's chat template refuses this order of roles."""

    code = "unsupported_conversation"


class CompletionTooLongError(RequestError):
    """The completion alone does not fit into the grader's context; a completion is never cut."""

    code = "completion_too_long"


class LowLabelMassError(RequestError):
    """The grader put too little probability on yes and no: a property of the text, so no retry helps."""

    code = "low_label_mass"


class UnreadablePolicyError(RBRError):
    """A policy file that a request names is refused; `details` hold file, line and key."""

    code = "unreadable_policy"
    status = 422


class ReloadError(RBRError):
    """A policy could not be put in force; `details` say why, and which reward version goes on serving."""

    code = "reload_failed"
    status = 422


class GraderError(RBRError):
    """The grader failed; a failed grade is never a number."""

    code = "grader_failed"
    status = 503


class GraderTimeoutError(GraderError):
    """No answer within the deadline; what was started goes on, so a retry finds it."""

    code = "grader_timeout"


class GraderDeadError(GraderError):
    """The engine is gone for good: the process has to be started again."""

    code = "grader_dead"


class BaseRewardError(RBRError):
    """The helpful-only reward model failed; a failed reward is never a number."""

    code = "base_reward_failed"
    status = 503


class WriterError(RBRError):
    """The writer of completions failed: its server did, or answered with what is no reply."""

    code = "writer_failed"
    status = 503


class OutputError(RBRError):
    """A file cannot be written; what was there is as it was."""

    code = "output_error"
