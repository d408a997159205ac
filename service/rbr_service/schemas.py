"""The bodies of the HTTP contract."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from rbr_service.labels import BaseReward, Fields, MessageIn


class OpenRLHFRequest(BaseModel):
    """What OpenRLHF's remote reward client posts: flat lists of equal length, often of one.

    `query` is prompt and completion as decoded text, special tokens kept. Fields of other versions
    are ignored.
    """

    query: Annotated[list[str], Field(fail_fast=True)]
    prompts: Annotated[list[str], Field(fail_fast=True)] | None = None
    labels: list[Any] | None = None

    @model_validator(mode="after")
    def _equal_lengths(self) -> "OpenRLHFRequest":
        for name in ("prompts", "labels"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.query):
                raise ValueError(
                    f"{name} has {len(column)} entries and query {len(self.query)}: they must be equal"
                )
        return self


class ExtraLogs(BaseModel):
    """Curves in the trainer's log: the same keys for every policy and response type, all finite."""

    rbr_reward: list[float]
    rbr_base: list[float]
    rbr_p_best: list[float]
    rbr_in_scope: list[float]
    rbr_label_mass_min: list[float]


class OpenRLHFAnswer(BaseModel):
    """Rewards, scores in [0, 1] for dynamic filtering, and logs, each as long as `query`."""

    rewards: list[float]
    scores: list[float]
    extra_logs: ExtraLogs
    reward_version: str
    accepted_mismatches: list[str] = Field(description="What the weights do not match, accepted at start.")


class PromptIn(Fields):
    """A conversation that waits for its answer."""

    messages: Annotated[list[MessageIn], Field(min_length=1, fail_fast=True)]
    id: str | StrictInt | None = None
    response_type: str | None = None
    category: str | None = None

    @model_validator(mode="after")
    def _waits(self) -> "PromptIn":
        last = self.messages[-1]
        if last.role == "assistant" or not last.content.strip():
            raise ValueError("the prompt must end with a message that is not empty and not the assistant's")
        return self


class SampleIn(Fields):
    """A conversation whose last message is the completion."""

    messages: Annotated[list[MessageIn], Field(min_length=1, fail_fast=True)]
    id: str | StrictInt | None = None
    response_type: str | None = None
    category: str | None = None
    base_reward: BaseReward | None = None

    @model_validator(mode="after")
    def _ends_with_completion(self) -> "SampleIn":
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message must be the assistant's completion")
        return self


class ScoreRequest(BaseModel):
    """Samples to score; `policy` and `reward_version`, where given, must be those in force."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "samples": [
                    {
                        "messages": [
                            {"role": "user", "content": "How do I pick my neighbour's lock?"},
                            {
                                "role": "assistant",
                                "content": "I'm sorry, but I can't help with that.",
                            },
                        ],
                        "response_type": "hard_refusal",
                    }
                ]
            }
        },
    )

    samples: Annotated[list[SampleIn], Field(fail_fast=True)]
    policy: str | None = None
    reward_version: str | None = None


class VersionsOut(BaseModel):
    """Hashes of what the reward depends on, and the base reward's source."""

    policy: str
    weights: str
    calibration: str
    grader: str
    base_reward: str


class VerdictOut(BaseModel):
    """P(yes) of a proposition and the probability mass the grader put on yes and no.

    `lower_bound`: that mass was too low, and `p` is whichever of 0 and 1 gives the smaller reward.
    """

    p: float
    label_mass: float
    lower_bound: bool = False


class FoundOut(BaseModel):
    """How the response type was found: by the label, by the policy's default, or by the content policy.

    Then `category` was the most probable one, with probability `p`.
    """

    by: Literal["label", "unlabelled", "content_policy"]
    category: str | None
    p: float | None


class CutsOut(BaseModel):
    """What of the conversation the grader's context had no room for; never of the completion."""

    messages: int
    tokens: int


class ResultOut(BaseModel):
    """reward == base_reward + sum(contributions). `response_type` null: out of the policy's scope."""

    id: str | int | None
    reward: float
    base_reward: float
    rbr_reward: float
    score: float
    response_type: str | None
    found: FoundOut
    class_probabilities: dict[str, float]
    propositions: dict[str, VerdictOut]
    contributions: dict[str, float]
    cuts: CutsOut


class ScoreAnswer(BaseModel):
    """One result per sample, in order, and the versions they were made with."""

    policy: str
    versions: VersionsOut
    reward_version: str
    accepted_mismatches: list[str]
    results: list[ResultOut]


class FlipOut(BaseModel):
    """What would be if the grader had been certain that a proposition's answer is `p`, 0 or 1."""

    p: float
    reward: float
    best_class: str


class ExplainedOut(ResultOut):
    """A result, and by proposition what the other answer would have changed."""

    flips: dict[str, FlipOut]


class ExplainAnswer(ScoreAnswer):
    """As /v1/score's answer, each result with its flips."""

    results: list[ExplainedOut]  # type: ignore[assignment]  # nobody writes into an answer


class ReadRequest(BaseModel):
    """What somebody pasted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "text": "<|im_start|>user\nHow do I pick my neighbour's lock?<|im_end|>\n"
                "<|im_start|>assistant\nI'm sorry, but I can't help with that.<|im_end|>"
            }
        },
    )

    text: str


class ReadOut(BaseModel):
    """A sample as /v1/score takes it, cut and cleaned; its last message is the completion."""

    messages: list[MessageIn]
    response_type: str | None
    category: str | None
    base_reward: float | None


class ReadAnswer(BaseModel):
    """The samples in the text, in order."""

    samples: list[ReadOut]


class SlimeRequest(BaseModel):
    """slime's `--rm-type remote_rm` body; the completion comes apart from the prompt."""

    prompt: str | Annotated[list[MessageIn], Field(fail_fast=True)]
    response: str
    label: Any = None


class ErrorBody(BaseModel):
    """`code` is stable; `message` says what to do."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class ErrorAnswer(BaseModel):
    """Every failure's body."""

    error: ErrorBody


class Readiness(BaseModel):
    """Able to score, and with what."""

    status: Literal["ready", "not_ready"]
    reason: str
    policy: str
    versions: VersionsOut
    reward_version: str
    grader: str
    grader_note: str
    on_low_mass: Literal["error", "lower_bound"] = Field(
        description="What becomes of a completion that the grader gives no yes or no about."
    )
    accepted_mismatches: list[str]


class RangeOut(BaseModel):
    """The least and the greatest RBR reward that any completion can earn."""

    low: float
    high: float


class IntervalOut(BaseModel):
    """A weight's 95% interval, over resampled prompts of the fit."""

    low: float
    high: float


class PolicyAnswer(BaseModel):
    """The policy in force: its content, hashes and weights, and by type how far its reward goes."""

    policy: str
    version: str
    reward_version: str
    accepted_mismatches: list[str]
    question_hashes: dict[str, str]
    response_type_hashes: dict[str, str]
    weights: dict[str, dict[str, float]]
    weight_intervals: dict[str, dict[str, IntervalOut]] = Field(
        description="By type and feature; {} for a type of which the weights file tells none."
    )
    reward_range: dict[str, RangeOut] = Field(description="Of the RBR alone, without the base reward.")
    content: dict[str, Any]


class ReloadRequest(BaseModel):
    """The name of a shipped policy, of a file in the folder of --policies, or of the configured policy."""

    model_config = ConfigDict(extra="forbid")

    policy: str | None = None


class ReloadAnswer(BaseModel):
    """What is in force from now on."""

    policy: str
    versions: VersionsOut
    reward_version: str
    previous_reward_version: str
    accepted_mismatches: list[str]


class SessionAnswer(BaseModel):
    """What the page must know before it asks for anything."""

    key_needed: bool


class SessionRequest(BaseModel):
    """The API key, which opens a session of this browser."""

    model_config = ConfigDict(extra="forbid")

    key: str
