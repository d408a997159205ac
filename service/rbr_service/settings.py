"""Every setting of the service, read in one place.

    flags > RBR_* environment > --config YAML > defaults -> Settings

A bad value or an unknown name refuses to start. Secrets come from the environment only.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from rbr_service import jsontext
from rbr_service.errors import PolicyError, SettingsError
from rbr_service.faults import sentence
from rbr_service.rbr import document

PREFIX = "RBR_"
SECRETS = ("api_key", "admin_key", "grader_key", "base_reward_key", "writer_key", "redis_password")


class Settings(BaseModel):
    """Field names are the keys of the YAML, RBR_<FIELD> in the environment, --<field> as flags."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    policy: str = Field(
        "safety", min_length=1, description="A shipped policy's name, or the path of a policy file."
    )
    policies: DirectoryPath | None = Field(
        None,
        description="Folder of policy files, NAME.yaml, that POST /v1/policy/reload may name besides the "
        "shipped ones.",
    )
    weights: Path | None = Field(
        None, description="Weights file. Default: POLICY.GRADER.json beside the policy."
    )
    calibration: Path | None = Field(
        None,
        description="Calibration file, or none. Default: POLICY.GRADER.calibration.json beside the policy, "
        "if it is there. Weights are bound to it.",
    )
    grader: Literal["lexical", "vllm", "openai"] = Field(
        "lexical",
        description="Who judges propositions: cues on the CPU, a model on vLLM in this process, or one on a "
        "vLLM server.",
    )
    grader_model: str | None = Field(
        None, min_length=1, description="The grader's model: a folder or hub name; with openai, as served."
    )
    grader_tokenizer: str | None = Field(
        None, min_length=1, description="Folder or hub name of its tokenizer. Default: the model's."
    )
    grader_revision: str | None = Field(
        None, min_length=1, description="The model's revision. Default with vllm: read off its files."
    )
    grader_precision: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="The model's precision; with openai, as the server runs it."
    )
    grader_url: str | None = Field(None, description="With openai: the server, such as http://host:8001.")
    grader_context: int | None = Field(
        None, ge=1024,
        description="Most tokens of a prompt; longer conversations are cut. Weights are bound to it. "
        "Default: the engine's context, which then had better stay the same.",
    )  # fmt: skip
    layout: str = Field(
        "book", min_length=1,
        description="How questions are put: book, conversation-first, released, or a layout file.",
    )  # fmt: skip
    on_low_mass: Literal["error", "lower_bound"] = Field(
        "error",
        description="A proposition whose yes and no together are improbable is a typed error for its sample, "
        "or takes whichever of 0 and 1 gives the smaller reward.",
    )
    min_label_mass: float = Field(
        0.5, ge=0, le=1, description="The probability of yes and no together below which it is low."
    )
    grader_concurrency: int = Field(64, ge=1, description="Completions in the grader's engine at a time.")
    grader_deadline: float = Field(
        170, gt=0, description="Seconds in which a request must be graded; trainers wait 180."
    )
    grader_start: float = Field(900, gt=0, description="Seconds to wait for a grader's server at start-up.")
    vllm_args: dict[str, Any] = Field(
        default_factory=dict,
        description='With vllm: its engine arguments, as JSON: {"max_model_len": 32768}.',
    )
    cache: str = Field(
        "memory", description="Where verdicts are kept: memory, sqlite:FILE or redis://HOST:PORT/DB."
    )
    cache_entries: int = Field(500_000, ge=0, description="Most verdicts kept in memory.")
    base_reward: Literal["none", "given", "upstream", "classify"] = Field(
        "none",
        description="Helpful-only reward: none (0), given with each sample or label, from an upstream that "
        "speaks OpenRLHF's /get_reward, or from a vLLM pooling server's /classify.",
    )
    base_reward_url: str | None = Field(
        None, description="The reward model's server, such as http://host:8002."
    )
    base_reward_model: str | None = Field(
        None, min_length=1, description="The reward model's name; weights are bound to it."
    )
    base_reward_tokenizer: str | None = Field(
        None, min_length=1, description="Folder or hub name of its tokenizer. Default: the model's."
    )
    writer: Literal["templates", "openai", "vllm"] = Field(
        "templates",
        description="Who writes completions to order: templates without a model, a server that speaks "
        "OpenAI's chat completions, or the model of --grader vllm.",
    )
    writer_url: str | None = Field(
        None, description="With writer openai: the server, such as http://host:8003."
    )
    writer_model: str | None = Field(
        None, min_length=1, description="With writer openai: the model, as the server calls it."
    )
    writer_temperature: float = Field(1.0, ge=0, le=2, description="How freely a model writes.")
    writer_max_tokens: int = Field(1024, ge=1, description="Longest completion that a model writes.")
    writer_concurrency: int = Field(16, ge=1, description="Prompts that are written for at a time.")
    writer_patience: float = Field(
        300, gt=0, description="Seconds for one completion of a server, and with a faulty one."
    )
    accept_mismatch: bool = Field(
        False,
        description="Start although the weights were fitted to something else; every answer says so.",
    )
    strip_reasoning: bool = Field(True, description="Drop a leading <think>...</think> block before scoring.")
    empty_completion: Literal["error", "grade"] = Field(
        "error",
        description="An empty completion, or one that never ends its reasoning, is a typed error, or is "
        "judged as an empty answer.",
    )
    score_log: Path | None = Field(
        None, description="Folder for a log of scored samples, as Parquet by day. Default: none is kept."
    )
    score_log_share: float = Field(
        0.01, gt=0, le=1, description="Share of the samples that are logged, chosen by their content."
    )
    score_log_texts: bool = Field(
        False, description="Log the conversations too, not only their hashes: new questions need them."
    )
    live_texts: bool = Field(
        False,
        description="Show what was written on the Live page: the texts of the last 50 samples, cut at 2,000 "
        "characters, to whoever has the API key.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_body_bytes: int = Field(256 << 20, ge=1024, description="Largest request body.")
    max_samples: int = Field(16384, ge=1, description="Most samples in one request.")
    max_completion_chars: int = Field(500_000, ge=1, description="Longest completion.")
    shutdown_grace: int = Field(
        190, ge=0, le=86400, description="Seconds to finish what is in flight on SIGTERM."
    )
    api_key: SecretStr | None = Field(None, min_length=8, description="Key that callers must present.")
    admin_key: SecretStr | None = Field(
        None, min_length=8, description="Key of those who may change the policy; without it nobody may."
    )
    grader_key: SecretStr | None = Field(None, description="Bearer key of the grader's server.")
    base_reward_key: SecretStr | None = Field(None, description="Bearer key of the reward model's server.")
    writer_key: SecretStr | None = Field(None, description="Bearer key of the writer's server.")
    redis_password: SecretStr | None = Field(None, description="Password of the verdict cache's Redis.")

    @field_validator("vllm_args", mode="before")
    @classmethod
    def _json(cls, value: Any) -> Any:
        try:
            return jsontext.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"must be JSON: {error}") from error

    @field_validator("grader_url", "base_reward_url", "writer_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        address = urlsplit(value)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("must be an address such as http://host:8001")
        if address.username or address.password:
            raise ValueError(
                "secrets come from the environment: set RBR_GRADER_KEY, RBR_BASE_REWARD_KEY or RBR_WRITER_KEY"
            )
        return value.rstrip("/").removesuffix("/v1")

    @field_validator("cache")
    @classmethod
    def _cache_kind(cls, value: str) -> str:
        address = urlsplit(value)
        if address.password or "password" in address.query:
            raise ValueError("secrets come from the environment: set RBR_REDIS_PASSWORD")
        if address.query:
            raise ValueError("options after ? are not known here: give redis://HOST:PORT/DB")
        sound = (value == "memory" or (value.startswith("sqlite:") and len(value) > len("sqlite:"))
                 or (address.scheme in ("redis", "rediss") and address.hostname))  # fmt: skip
        if not sound:
            raise ValueError("must be memory, sqlite:FILE or redis://HOST:PORT/DB")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for who, what in self._needs():
            if getattr(self, what) is None:
                raise ValueError(f"{who} needs {what}: give --{what.replace('_', '-')}")
        if self.admin_key and self.admin_key == self.api_key:
            raise ValueError(
                "admin_key must differ from api_key: whoever may score may not change the policy"
            )
        if self.writer == "vllm" and self.grader != "vllm":
            raise ValueError("writer vllm is the grader's own model in this process: give --grader vllm")
        return self

    def _needs(self) -> list[tuple[str, str]]:
        """(what was chosen, the setting that it cannot be without)."""
        needs = []
        if self.grader != "lexical":
            needs.append((f"grader {self.grader}", "grader_model"))
        if self.grader == "openai":
            needs.append(("grader openai", "grader_url"))
        if self.base_reward in ("upstream", "classify"):
            needs += [(f"base_reward {self.base_reward}", f"base_reward_{k}") for k in ("url", "model")]
        if self.base_reward == "upstream":
            needs.append(("base_reward upstream", "base_reward_tokenizer"))
        if self.writer == "openai":
            needs += [("writer openai", key) for key in ("writer_url", "writer_model")]
        if self.score_log_texts:
            needs.append(("score_log_texts", "score_log"))
        return needs


def load(flags: Mapping[str, Any], config: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from all sources. Raises SettingsError that names the source and key."""
    file = _file(config)
    sources = {k: f"{config}: {k}" for k in file}
    environment = {
        k.removeprefix(PREFIX).lower(): v for k, v in environ.items() if k.startswith(PREFIX) and v
    }
    sources |= {k: f"{PREFIX}{k.upper()}" for k in environment}
    given = {k: v for k, v in flags.items() if v is not None}
    sources |= {k: f"--{k.replace('_', '-')}" for k in given}
    for secret in SECRETS:
        if secret in file:
            raise SettingsError(
                f"{config}: {secret}: secrets come from the environment: set {PREFIX}{secret.upper()}"
            )
    try:
        return Settings.model_validate(file | environment | given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = str(first["loc"][0]) if first["loc"] else "settings"
        unknown = first["type"] == "extra_forbidden"
        message = "is not a setting; see rbr serve --help" if unknown else sentence(first)
        raise SettingsError(f"{sources.get(key, key)}: {message}") from error


def _file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = document.load(config).data
    except PolicyError as error:
        raise SettingsError(error.message) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise SettingsError(f"{config}: must be a mapping of settings, such as `policy: safety`")
    return content
