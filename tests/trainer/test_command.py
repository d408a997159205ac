"""The command of a run, as it starts and as it is printed."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from subprocess import list2cmdline
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_trainer.errors import InputError
from rbr_trainer.runs.command import Command, command
from rbr_trainer.runs.flags import AGENT
from tests.trainer.runs import VERSION, config

SECRETS = {"RBR_API_KEY": "k/e y'\"$", "WANDB_API_KEY": "w" * 40, "HF_TOKEN": "hf_x"}
TELL = """import json, os, sys
print(json.dumps([sys.argv[1:], {k: v for k, v in os.environ.items() if k.startswith("RBR_REWARD_")}]))
"""
HEAVY = {"torch", "transformers", "datasets", "ray", "openrlhf", "trl", "verl", "rbr_trainer.agent"}
CLUSTER = {"ray.address": "http://head:8265"}


def made(changes: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Command:
    return command(config(changes), environ or {}, "python")


def value(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def pasted(folder: Path, text: str, environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The words and the RBR_ variables that `python` or `ray` get from a shell that is given the text."""
    for name in ("python", "ray"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(TELL)} "$@"\n')
        program.chmod(0o755)
    told = subprocess.run(
        ["/bin/sh", "-c", text],
        env={**environ, "PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    words, variables = json.loads(told.stdout)
    return words, variables


def test_in_place_with_the_agent() -> None:
    run = made({"reward.patience": 60, "reward.urls": ["http://a:1", "http://b:2/score"]}, SECRETS)
    argv = run.argv(SECRETS)
    assert argv[:3] == ["python", "-m", "openrlhf.cli.train_ppo_ray"]
    assert value(argv, "--train.agent_func_path") == str(AGENT)
    assert AGENT.name == "agent.py"
    assert AGENT.is_file()
    assert "--reward.remote_url" not in argv
    assert run.environment == {
        "RBR_REWARD_URL": "http://a:1,http://b:2/score",
        "RBR_REWARD_PATIENCE": "60.0",
        "RBR_REWARD_VERSION": VERSION,
    }
    assert not any(secret in word for word in argv for secret in SECRETS.values())


def test_what_the_file_leaves_open_is_not_inherited() -> None:
    environment = made({"reward.version": "any"}).environment
    assert (environment["RBR_REWARD_VERSION"], environment["RBR_REWARD_PATIENCE"]) == ("", "")


def test_in_place_with_openrlhfs_own_client() -> None:
    run = made({"reward.client": "plain", "reward.urls": ["http://a:1/score", "http://b:2/p"]}, SECRETS)
    key = "k%2Fe%20y%27%22%24"
    assert value(run.argv(SECRETS), "--reward.remote_url") == (
        f"http://rbr:{key}@a:1/get_reward,http://rbr:{key}@b:2/p/get_reward"
    )
    assert "--train.agent_func_path" not in run.argv(SECRETS)
    assert run.environment == {}
    open_service = made({"reward.client": "plain"}).argv({})
    assert value(open_service, "--reward.remote_url") == "http://127.0.0.1:8000/get_reward"


@pytest.mark.parametrize("client", ["agent", "plain"])
def test_a_printed_command_can_be_pasted_and_holds_no_secret(client: str, tmp_path: Path) -> None:
    secrets = dict.fromkeys(SECRETS, "plain-key")
    run = made({"reward.client": client, "model.policy": "it's a/model & more", "output.wandb": "p"}, secrets)
    assert "plain-key" not in run.printed()
    assert run.printed().count(" \\\n") > 40
    words, variables = pasted(tmp_path, run.printed(), secrets)
    assert words == run.argv(secrets)[1:]
    assert variables == run.environment


def test_a_submitted_run_takes_its_environment_along(tmp_path: Path) -> None:
    changes = {
        **CLUSTER, "output.wandb": "p", "ray.working_dir": "job", "ray.env_vars": {"A": "1"},
        "ray.runtime_env": {"pip": ["x"]}, "ray.agent_path": "/opt/agent.py",
    }  # fmt: skip
    run = made(changes, SECRETS)
    argv = run.argv(SECRETS)
    assert argv[:7] == ["ray", "job", "submit", "--address", "http://head:8265", "--working-dir", "job"]
    end = argv.index("--")
    assert argv[end + 1 : end + 4] == ["python", "-m", "openrlhf.cli.train_ppo_ray"]
    assert value(argv, "--train.agent_func_path") == "/opt/agent.py"
    assert json.loads(value(argv, "--runtime-env-json")) == {
        "pip": ["x"],
        "env_vars": {
            "A": "1",
            "RBR_REWARD_URL": "http://127.0.0.1:8000",
            "RBR_REWARD_PATIENCE": "",
            "RBR_REWARD_VERSION": VERSION,
            **SECRETS,
        },
    }
    assert run.environment == {}
    assert not any(secret in run.printed() for secret in SECRETS.values())
    plain = dict.fromkeys(SECRETS, "plain-key")
    words, variables = pasted(tmp_path, run.printed(), plain)
    assert (words, variables) == (run.argv(plain)[1:], {})


def test_only_secrets_that_are_needed_travel() -> None:
    env = json.loads(value(made({**CLUSTER, "reward.client": "plain"}, {"WANDB_API_KEY": "w"}).argv({}),
                           "--runtime-env-json"))["env_vars"]  # fmt: skip
    assert env == {}


def test_a_key_does_not_go_into_the_log_of_a_job() -> None:
    with pytest.raises(InputError, match=r"set reward\.client: agent"):
        made({**CLUSTER, "reward.client": "plain"}, SECRETS)
    made({**CLUSTER, "reward.client": "plain"})


def test_what_ray_cannot_carry_is_refused() -> None:
    with pytest.raises(InputError, match="cannot carry"):
        made({**CLUSTER, "model.policy": "it's $HOME"})


@settings(deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
    | st.text("ab $'\"\\`!*;&|#~(<", min_size=1)
)
def test_words_survive_ray(name: str) -> None:
    """Ray joins them as for Windows and splits them by a POSIX shell."""
    wanted = f"m{name}m"
    try:
        argv = made({**CLUSTER, "model.policy": wanted}).argv({})
    except InputError:
        assert set("'\"\\$`") & set(wanted)
        return
    job = argv[argv.index("--") + 1 :]
    assert value(shlex.split(list2cmdline(job)), "--actor.model_name_or_path") == wanted


@pytest.mark.parametrize(
    "name", ["a b", "a  b", "$HOME", "`id`", "a;id", "a&b", "*", "~", "#a", "a!b", "(a)", "a|b"]
)
def test_a_shell_reads_them_so(name: str) -> None:
    argv = made({**CLUSTER, "model.policy": name}).argv({})
    words = list2cmdline(argv[argv.index("--") + 4 :])
    told = subprocess.run(["sh", "-c", f"printf '%s\\0' {words}"], capture_output=True, text=True, check=True)
    assert value(told.stdout.split("\0"), "--actor.model_name_or_path") == name


def test_further_flags_go_through_as_they_stand() -> None:
    argv = made({"extra": {"ds.use_liger_kernel": True, "actor.eps_clip_low_high": [0.2, 0.28],
                           "reward.stop_properly_penalty_coef": -1e-05}}).argv({})  # fmt: skip
    assert argv[-6:] == [
        "--ds.use_liger_kernel", "--actor.eps_clip_low_high", "0.2", "0.28",
        "--reward.stop_properly_penalty_coef", "-0.00001",
    ]  # fmt: skip


def test_the_commands_load_nothing_that_is_heavy() -> None:
    code = f"import sys, rbr_trainer.cli; print({HEAVY} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
