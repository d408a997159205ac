"""Settings: four sources in their order, and every bad one refused by name."""

from pathlib import Path
from typing import Any

import pytest

from rbr_service.errors import SettingsError
from rbr_service.settings import Settings, load


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "rbr.yaml"


def test_flags_beat_environment_beats_file_beats_defaults(config: Path) -> None:
    config.write_text("port: 1\nmax_samples: 1\nhost: file\n", encoding="utf-8")
    environ = {"RBR_PORT": "2", "RBR_MAX_SAMPLES": "2", "OTHER": "x"}
    got = load({"port": 3, "host": None}, config, environ)
    assert (got.port, got.max_samples, got.host) == (3, 2, "file")
    assert got.policy == Settings().policy


def test_nothing_given_is_the_defaults() -> None:
    assert load({}, None, {}) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_the_defaults(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    assert load({}, config, {}) == Settings()


def test_an_empty_variable_is_not_set(config: Path) -> None:
    config.write_text("port: 1\n", encoding="utf-8")
    assert load({}, config, {"RBR_PORT": "", "RBR_API_KEY": ""}) == Settings(port=1)


def test_environment_texts_become_values() -> None:
    environ = {"RBR_STRIP_REASONING": "false", "RBR_SHUTDOWN_GRACE": "25", "RBR_WEIGHTS": "/w.json"}
    got = load({}, None, environ)
    assert (got.strip_reasoning, got.shutdown_grace, got.weights) == (False, 25, Path("/w.json"))


def test_the_key_comes_from_the_environment_and_is_not_shown() -> None:
    got = load({}, None, {"RBR_API_KEY": "top-secret"})
    assert got.api_key is not None
    assert got.api_key.get_secret_value() == "top-secret"
    assert "top-secret" not in repr(got)


def refusal(flags: dict[str, Any], config: Path | None, environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, config, environ)
    return str(caught.value)


@pytest.mark.parametrize("text", ["prot: 1\n", "Port: 1\n"])
def test_an_unknown_key_of_the_file_names_file_and_key(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    assert refusal({}, config, {}).startswith(f"{config}: {text.split(':')[0]}: is not a setting")


def test_an_unknown_variable_names_it() -> None:
    assert refusal({}, None, {"RBR_PROT": "1"}).startswith("RBR_PROT: is not a setting")


def test_an_unknown_flag_names_it() -> None:
    assert refusal({"bad_name": 1}, None, {}).startswith("--bad-name: is not a setting")


BAD = [
    ("port", "x"), ("port", "70000"), ("port", "-1"), ("max_samples", "0"), ("grader", "gpt"),
    ("empty_completion", "zero"), ("base_reward", "1"), ("strip_reasoning", "perhaps"),
    ("max_body_bytes", "1"), ("shutdown_grace", "-1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_names_the_source_that_won(config: Path, name: str, value: str) -> None:
    config.write_text(f"{name}: {value}\n", encoding="utf-8")
    flag, variable = f"--{name.replace('_', '-')}", f"RBR_{name.upper()}"
    assert refusal({}, config, {}).startswith(f"{config}: {name}: ")
    assert refusal({}, config, {variable: value}).startswith(f"{variable}: ")
    assert refusal({name: value}, config, {variable: value}).startswith(f"{flag}: ")


def test_a_short_key_is_refused_and_not_shown() -> None:
    message = refusal({}, None, {"RBR_API_KEY": "hunter2"})
    assert message.startswith("RBR_API_KEY: ")
    assert "hunter2" not in message


def test_a_secret_in_the_file_is_refused_even_where_the_environment_has_one(config: Path) -> None:
    config.write_text("api_key: top-secret\n", encoding="utf-8")
    message = refusal({}, config, {"RBR_API_KEY": "top-secret"})
    assert "RBR_API_KEY" in message
    assert str(config) in message
    assert "top-secret" not in message


@pytest.mark.parametrize("text", ["- port\n", "port\n", "5: 1\n", "null: 1\n"])
def test_a_file_that_is_no_mapping_is_refused(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    assert "must be a mapping" in refusal({}, config, {})


@pytest.mark.parametrize(
    "content",
    [b"port: [1", b"\tport: 1", b"port: \x00", b"port: \xff", b"port: 2024-99-99", b"a: " + b"[" * 5000,
     b"port: !!int ''", b"port: !!bool maybe", b"port: !!timestamp x", b"port: !!python/name:os.system x",
     b"port: 1\nport: 2"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    message = refusal({}, config, {})
    assert message.startswith(f"{config}")
    assert "\n" not in message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal({}, tmp_path / "none.yaml", {})
    assert "cannot be read" in refusal({}, tmp_path, {})


def test_whoever_may_score_may_not_change_the_policy() -> None:
    keys = {"RBR_API_KEY": "one-and-the-same", "RBR_ADMIN_KEY": "one-and-the-same"}
    assert "admin_key must differ from api_key" in refusal({}, None, keys)
    assert load({}, None, keys | {"RBR_ADMIN_KEY": "another-key"}).admin_key


def test_the_admin_key_comes_from_the_environment_only(config: Path) -> None:
    config.write_text("admin_key: long-enough\n", encoding="utf-8")
    assert "set RBR_ADMIN_KEY" in refusal({}, config, {})


def test_the_folder_of_policies_is_there(tmp_path: Path) -> None:
    assert load({"policies": str(tmp_path)}, None, {}).policies == tmp_path
    assert "--policies" in refusal({"policies": str(tmp_path / "none")}, None, {})
