"""`rbr-train run` as a process: what it starts in its own place, and when it starts nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rbr_trainer.address import Address
from rbr_trainer.cli.run import plan
from rbr_trainer.errors import InputError
from tests.conftest import MakeState
from tests.e2e.commands import PATIENCE
from tests.e2e.processes import until
from tests.trainer.runs import VERSION, config, written
from tests.trainer.serving import service

KEY = "the-key/of this test"
COMMAND = [sys.executable, "-c", "from rbr_trainer.cli import main; main(prog_name='rbr-train')", "run"]
CLUSTER = {"ray.address": "http://head:8265"}  # whose model is not asked for here
# Stands in for OpenRLHF: tells what it was given, then ends as it is told to.
PROGRAM = """
import json, os, signal, sys, time
def stop(*_):
    sys.exit(77)
signal.signal(signal.SIGTERM, stop)
with open("told.partial", "w") as file:
    json.dump({"argv": sys.argv[1:], "environment": dict(os.environ), "pid": os.getpid()}, file)
os.rename("told.partial", "told.json")
print("training")
time.sleep(float(os.environ.get("SLEEP", "0")))
sys.exit(int(os.environ.get("END", "0")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where runs start, with the stand-in installed."""
    package = tmp_path / "site" / "openrlhf" / "cli"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "train_ppo_ray.py").write_text(PROGRAM)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What a run inherits: nothing of this machine's Ray or keys."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RBR_", "RAY_", "WANDB_"))}
    paths = [str(folder / "site"), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "RAY_TMPDIR": str(folder), **more}


def started(
    folder: Path, changes: dict[str, Any] | None, *options: str, **env: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, str(written(folder, changes)), *options],
        cwd=folder, env=environment(folder, **env), capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


def with_ray(folder: Path) -> str:
    """A PATH with a `ray` that tells what it was given."""
    ray = folder / "bin" / "ray"
    ray.parent.mkdir(exist_ok=True)
    program = folder / "site" / "openrlhf" / "cli" / "train_ppo_ray.py"
    ray.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{program}' \"$@\"\n")
    ray.chmod(0o755)
    return os.pathsep.join([str(ray.parent), os.environ["PATH"]])


def test_openrlhf_takes_this_process_with_arguments_and_environment(folder: Path) -> None:
    result = started(folder, None, "--no-check", RBR_API_KEY=KEY, RBR_REWARD_PATIENCE="1", HOME_OF="mine")
    assert (result.returncode, result.stdout, result.stderr) == (0, "training\n", "")
    seen = told(folder)
    assert seen["argv"][:2] == ["--actor.model_name_or_path", "some/model"]
    assert seen["environment"]["RBR_REWARD_URL"] == "http://127.0.0.1:8000"
    assert seen["environment"]["RBR_REWARD_VERSION"] == VERSION
    assert seen["environment"]["RBR_REWARD_PATIENCE"] == ""
    assert (seen["environment"]["RBR_API_KEY"], seen["environment"]["HOME_OF"]) == (KEY, "mine")
    assert not any(KEY in word for word in seen["argv"])


def test_its_exit_code_is_the_commands(folder: Path) -> None:
    assert started(folder, None, "--no-check", END="13").returncode == 13


def test_signals_reach_it(folder: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(written(folder)), "--no-check"], cwd=folder, env=environment(folder, SLEEP="600")
    )
    try:
        until(lambda: (folder / "told.json").exists() or process.poll() is not None)
        assert told(folder)["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 77
    finally:
        process.kill()
        process.wait()


def test_a_dry_run_prints_the_command_and_starts_nothing(folder: Path) -> None:
    result = started(folder, {"reward.client": "plain"}, "--dry-run", RBR_API_KEY=KEY)
    assert result.returncode == 0
    assert "python -m openrlhf.cli.train_ppo_ray \\\n  --actor.model_name_or_path some/model" in result.stdout
    assert '"$RBR_API_KEY"' in result.stdout
    assert KEY not in result.stdout + result.stderr
    assert "the-key" not in result.stdout + result.stderr
    assert not (folder / "told.json").exists()


def test_a_file_that_is_refused_starts_nothing(folder: Path) -> None:
    result = started(folder, {"sizes.train_batch": 30, "algorithm.estimator": "rloo"})
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"rbr-train: {folder}/run.yaml:") for line in lines)
    assert not (folder / "told.json").exists()


def test_a_service_that_is_not_there_starts_nothing(folder: Path) -> None:
    result = started(folder, {"reward.urls": ["http://127.0.0.1:9"]})
    assert result.returncode == 1
    assert "nothing was started; --no-check starts all the same" in result.stderr
    assert not (folder / "told.json").exists()


def test_a_service_that_is_fine_lets_it_start(folder: Path, make_state: MakeState) -> None:
    state = make_state(empty_completion="grade")
    version = state.scorer.reward_version
    sizes = {"sizes.rollout_batch": 4, "sizes.train_batch": 4, "sizes.rollout_micro_batch": 1}
    with service(state) as netloc:
        changes = {**CLUSTER, **sizes, "reward.urls": [f"http://{netloc}"], "reward.version": version}
        result = started(folder, changes, PATH=with_ray(folder))
        assert result.returncode == 0, result.stderr
        assert version in told(folder)["argv"][5]
        (folder / "told.json").unlink()
        result = started(folder, {**changes, "reward.version": VERSION}, PATH=with_ray(folder))
    assert result.returncode == 1
    assert f"the service's reward version is {version}, not {VERSION}" in result.stderr
    assert not (folder / "told.json").exists()


def test_without_openrlhf_it_says_what_to_install(folder: Path) -> None:
    (folder / "site").rename(folder / "elsewhere")
    result = started(folder, None, "--no-check")
    assert result.returncode == 1
    assert 'pip install "openrlhf[vllm]==0.11.2"' in result.stderr


def test_another_version_of_openrlhf_is_refused(folder: Path) -> None:
    info = folder / "site" / "openrlhf-0.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: openrlhf\nVersion: 0.9.0\n")
    result = started(folder, None, "--no-check")
    assert result.returncode == 1
    assert "OpenRLHF 0.9.0 is installed" in result.stderr


@pytest.mark.parametrize("by", ["address", "file"])
def test_a_cluster_that_runs_already_is_no_place_for_the_agent(folder: Path, by: str) -> None:
    (folder / "ray").mkdir()
    if by == "file":
        (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    env = {"RAY_ADDRESS": "auto"} if by == "address" else {}
    result = started(folder, None, "--no-check", **env)
    assert result.returncode == 2
    assert "ray.address: " in result.stderr
    assert "http://HEAD:8265" in result.stderr
    assert started(folder, {"reward.client": "plain"}, "--no-check", **env).returncode == 0


def test_weights_and_biases_needs_its_key(folder: Path) -> None:
    result = started(folder, {"output.wandb": "p"}, "--no-check")
    assert result.returncode == 2
    assert "set WANDB_API_KEY in the environment" in result.stderr
    assert started(folder, {"output.wandb": "p"}, "--no-check", WANDB_API_KEY="w").returncode == 0
    assert "w" not in told(folder)["argv"]


def test_a_submitted_run_is_rays(folder: Path) -> None:
    result = started(folder, CLUSTER, "--no-check", PATH=with_ray(folder), RBR_API_KEY=KEY, END="1")
    assert result.returncode == 1
    argv = told(folder)["argv"]
    assert argv[:4] == ["job", "submit", "--address", "http://head:8265"]
    sent = json.loads(argv[argv.index("--runtime-env-json") + 1])["env_vars"]
    assert (sent["RBR_API_KEY"], sent["RBR_REWARD_VERSION"]) == (KEY, VERSION)


def test_without_ray_nothing_can_be_submitted(folder: Path) -> None:
    result = started(folder, CLUSTER, "--no-check", PATH="/nonexistent")
    assert result.returncode == 1
    assert 'pip install "ray[default]==2.55.0"' in result.stderr


def test_what_is_asked_of_the_service(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("{}\n" * 64)
    changes = {
        "data.prompts": str(prompts), "data.label_key": "wanted", "reward.client": "plain",
        "algorithm.samples_per_prompt": 8, "reward.clip": [-5, 5], "reward.version": "any",
    }  # fmt: skip
    made = plan(config(changes), {"RBR_API_KEY": "k"})
    assert made.addresses == (Address("http://127.0.0.1:8000", "k"),)
    assert (made.client, made.concurrency, made.reward_version) == ("plain", 512, None)
    assert (made.clip.low, made.clip.high) == (-5.0, 5.0)
    assert (made.dataset, made.label_key, made.model) == (prompts, "wanted", "some/model")
    assert plan(config(), {}).dataset is None
    assert plan(config(), {}).evaluation is None
    assert plan(config(CLUSTER), {}).model is None


def test_an_evaluation_may_ask_more_at_once_than_a_rollout(tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text("{}\n" * 100)
    changes = {"data.evaluation": "held/out", "data.evaluate_every": 1}
    assert plan(config(changes), {}).concurrency == 64 * 4
    assert plan(config({**changes, "algorithm.samples_per_prompt": 8}), {}).concurrency == 64 * 8
    changes["data.evaluation"] = str(held_out)
    made = plan(config({**changes, "sizes.rollout_batch": 128}), {})
    assert (made.evaluation, made.concurrency) == (held_out, 400)
    oversampled = {"hardware.asynchronous": True, "hardware.engine_sleep": False}
    made = plan(config({**oversampled, "extra.rollout.vllm_generate_batch_size": 200}), {})
    assert made.concurrency == 200


def test_examples_and_usage() -> None:
    shown = subprocess.run([*COMMAND, "--example", "one-gpu"], capture_output=True, text=True, check=True)
    assert "preset: one-gpu" in shown.stdout
    usage = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    assert "--example prints one to start from" in usage.stderr


def test_a_key_that_no_header_can_hold_is_told_and_not_shown() -> None:
    with pytest.raises(InputError, match=r"^reward.urls .* has a key that") as caught:
        plan(config(), {"RBR_API_KEY": "secret\n"})
    assert "secret" not in str(caught.value)
