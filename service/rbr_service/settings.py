"""Every setting of the service, read in one place.

    flags > RBR_* environment > --config YAML > defaults -> Settings

A bad value or an unknown name refuses to start. The API key comes from the environment only.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from rbr_service.errors import PolicyError, SettingsError
from rbr_service.faults import sentence
from rbr_service.rbr import document

PREFIX = "RBR_"
SECRETS = ("api_key",)


class Settings(BaseModel):
    """Field names are the keys of the YAML, RBR_<FIELD> in the environment, --<field> as flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str = Field(
        "safety", min_length=1, description="A shipped policy's name, or the path of a policy file."
    )
    weights: Path | None = Field(
        None, description="Weights file. Default: POLICY.GRADER.json beside the policy."
    )
    grader: Literal["lexical"] = Field("lexical", description="Who judges propositions.")
    base_reward: Literal["none", "given"] = Field(
        "none", description="Helpful-only reward: none (0), or given with each sample or label."
    )
    accept_mismatch: bool = Field(
        False,
        description="Start although the weights were fitted to something else; every answer says so.",
    )
    strip_reasoning: bool = Field(True, description="Drop a leading <think>...</think> block before scoring.")
    empty_completion: Literal["error", "grade"] = Field(
        "error", description="An empty completion is a typed error, or is judged like any other."
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
        key = str(first["loc"][0])
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
