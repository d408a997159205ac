"""What is known and refused before vLLM loads a model."""

import asyncio
from pathlib import Path

import pytest

from rbr_service.errors import SettingsError
from rbr_service.graders.vllm import VLLMEngine

from .conftest import CONTEXT, in_process


def test_the_identity_is_known_before_the_start(language_model: Path) -> None:
    engine = in_process(language_model)
    assert engine.identity.model == str(language_model)
    assert engine.identity.revision.startswith("sha256:")
    assert engine.identity.precision == "float32"
    assert engine.context == CONTEXT
    stated = VLLMEngine(str(language_model), revision="v1", args={"max_model_len": 64})
    assert stated.identity.revision == engine.identity.revision, "a folder's content says more than a name"
    assert stated.identity.precision == "bfloat16", "as vLLM resolves auto"
    other = VLLMEngine(str(language_model), args={"hf_overrides": {"rms_norm_eps": 0.5}})
    assert other.identity.key != VLLMEngine(str(language_model)).identity.key
    asyncio.run(stated.close())


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"max_modellen": 5}, "vllm_args: max_modellen: is no engine argument"),
        ({"max_model_len": "many"}, "vllm_args: vLLM refuses them: .*max_model_len"),
        ({"max_model_len": 10**9}, "vllm_args: vLLM refuses them"),
        ({"dtype": "float32"}, "dtype: set grader_precision instead"),
        ({"logprobs_mode": "raw_logits"}, "logprobs_mode: must be raw_logprobs"),
    ],
)
def test_a_wrong_argument_is_named(language_model: Path, args: dict[str, object], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        VLLMEngine(str(language_model), args=args)


def test_no_model_is_a_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="grader_model"):
        VLLMEngine(str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="grader_model"):
        VLLMEngine(str(tmp_path))
