"""`rbr-train check` against the real service, and against what is none."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from rbr_service.app import create_app
from rbr_trainer.address import Address
from rbr_trainer.cli import main
from rbr_trainer.service import Range
from tests.conftest import MakeState
from tests.trainer.serving import served, service

TYPES = ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply")
KEY = "a key: of/this test"
FOREIGN = {
    "rbr_service", "fastapi", "starlette", "uvicorn", "torch", "transformers", "tokenizers", "datasets",
    "ray", "vllm", "deepspeed", "openrlhf", "trl", "verl", "scipy", "matplotlib",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RBR_API_KEY", raising=False)


TRAINING = {"empty_completion": "grade"}  # how a service is started for training


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], prog_name="rbr-train")


def lines(result: Result) -> dict[str, str]:
    """The table's lines by their first word or words."""
    return {line.strip().split("  ")[0]: line for line in result.stdout.splitlines()}


def test_a_service_that_is_fine(make_state: MakeState) -> None:
    state = make_state(**TRAINING)
    with service(state) as netloc:
        result = check(f"http://{netloc}/get_reward")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    told = lines(result)
    assert told["service"].split("  ")[-1].endswith("ready, policy safety")
    assert told["reward version"].split() == ["reward", "version", "ok", state.scorer.reward_version]
    assert "no mismatch accepted" in told
    assert all(told[kind].endswith("nothing") for kind in TYPES)
    assert "-10 .. 10" in told["clip range"]
    assert result.stdout.splitlines()[-1].strip() == "Without a base reward these are the whole rewards."
    assert "  FAIL  " not in result.stdout


def test_a_range_beyond_the_clip_is_told_with_both_remedies(make_state: MakeState) -> None:
    with service(make_state(**TRAINING)) as netloc:
        result = check(f"http://{netloc}", "--clip-range", "-1", "2")
    assert result.exit_code == 1
    line = result.stderr.strip()
    assert line.startswith("rbr-train: the clip cuts off rewards of ")
    assert "`rbr fit --strength`" in line
    wider = line.split("--reward.clip_range ")[1].split()[:2]
    with service(make_state(**TRAINING)) as netloc:
        assert check(f"http://{netloc}", "--clip-range", *wider).exit_code == 0


@pytest.mark.parametrize(
    ("reached", "clip", "outside", "within"),
    [
        ((-3, 3), (-10, 10), 0, True), ((-3, 3), (-3, 3), 0, True), ((-12, 3), (-10, 10), 2, False),
        ((-12, 15), (-10, 10), 7, False), ((11, 15), (-10, 10), 4, False), ((-15, -11), (-10, 10), 4, False),
        ((11, 11), (-10, 10), 0, False),
    ],
)  # fmt: skip
def test_how_much_of_a_range_is_clipped(
    reached: tuple[float, float], clip: tuple[float, float], outside: float, within: bool
) -> None:
    assert Range(*reached).outside(Range(*clip)) == outside
    assert Range(*reached).within(Range(*clip)) is within


def test_accepted_mismatches_and_a_base_reward_are_told(make_state: MakeState) -> None:
    with service(make_state(base_reward="given", accept_mismatch=True, **TRAINING)) as netloc:
        result = check(f"http://{netloc}")
    assert result.exit_code == 0
    assert "accepted at its start: fitted with base reward 'none', not 'given'" in result.stdout
    assert "The base reward (given) is added before the clip and is not counted here" in result.stdout


def test_a_service_that_is_not_ready(make_state: MakeState) -> None:
    state = make_state()
    with service(state) as netloc:
        state.stopping = True
        result = check(f"http://{netloc}")
    assert result.exit_code == 1
    assert "not ready: shutting down" in result.stdout
    assert result.stderr == "rbr-train: the service is not ready: shutting down\n"


def test_the_key_comes_from_the_environment_or_the_url(
    make_state: MakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(make_state(api_key=KEY, **TRAINING)) as netloc:
        without = check(f"http://{netloc}")
        wrong = check(f"http://me:wrong@{netloc}")
        in_url = check(f"http://me:a%20key%3A%20of%2Fthis%20test@{netloc}/get_reward")
        monkeypatch.setenv("RBR_API_KEY", KEY)
        in_environment = check(f"http://me:wrong@{netloc}")
    assert (without.exit_code, wrong.exit_code) == (1, 1)
    assert "none was given: set RBR_API_KEY" in without.stderr
    assert "refuses the one given: set RBR_API_KEY" in wrong.stderr
    assert "wrong" not in wrong.output
    assert (in_url.exit_code, in_environment.exit_code) == (0, 0)


def test_a_label_of_the_evaluations_prompts_counts_as_much(make_state: MakeState, tmp_path: Path) -> None:
    prompts = {name: tmp_path / f"{name}.jsonl" for name in ("comply", "unknown")}
    for name, path in prompts.items():
        path.write_text(json.dumps({"messages": [{"role": "user", "content": "Why?"}], "label": name}) + "\n")
    with service(make_state(**TRAINING)) as netloc:
        result = check(
            f"http://{netloc}", "--dataset", str(prompts["comply"]), "--evaluation", str(prompts["unknown"])
        )
    assert result.exit_code == 1
    assert lines(result)["dataset"].split()[1] == "ok"
    assert lines(result)["evaluation"].split()[1] == "FAIL"
    assert f"{prompts['unknown']}:1: " in result.stderr


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = check(f"http://127.0.0.1:{port}")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"rbr-train: nothing answers at http://127.0.0.1:{port}: ")
    assert "Traceback" not in result.output


def test_what_answers_is_no_reward_service() -> None:
    page = FastAPI()
    page.get("/{path:path}", response_class=HTMLResponse)(lambda path: "<h1>Hello</h1>")
    with served(page) as netloc:
        assert "does not answer as a reward service" in check(f"http://{netloc}").stderr
    with served(FastAPI()) as netloc:
        assert "(status 404)" in check(f"http://{netloc}").stderr


def test_a_service_of_another_version(make_state: MakeState) -> None:
    state = make_state()
    older = create_app(state)
    older.router.routes = [r for r in older.router.routes if getattr(r, "path", "") != "/v1/policy"]
    older.get("/v1/policy")(lambda: {"policy": "safety", "reward_version": "0", "accepted_mismatches": []})
    with served(older) as netloc:
        result = check(f"http://{netloc}")
    assert result.exit_code == 1
    assert "KeyError('reward_range')" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("127.0.0.1:8000",), ("ftp://a",), ("http://a:b",), ("http://a,http://b",),
        ("http://a", "--clip-range", "3", "3"), ("http://a", "--clip-range", "3"),
        ("http://a", "http://b,c"), ("http://a", "--reward-version", "4d3e58a"),
        ("http://a", "--client", "x"), ("http://a", "--dataset", "no-such-file.jsonl"),
        ("http://a", "--concurrency", "0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    assert check(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@h:x", "http://me:secret@h:1,http://h:2", "http://me:se/secret@h:1", "me:secret@h:1",
        "http://secret@h..h", "http://me:secret@" + 64 * "h", "http://me:secret@[::1",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_told_without_its_key(url: str) -> None:
    result = check(url)
    assert result.exit_code == 2
    assert "***@" in result.stderr
    assert "is not the URL of one service, such as http://127.0.0.1:8000" in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "http://h:1/p",
        "http://h:1/p/",
        "http://h:1/p/get_reward",
        "http://h:1/p/score",
        "http://u:k@h:1/p/v1/score",
    ],
)
def test_the_trainers_url_is_the_services(url: str) -> None:
    assert Address.parse(url).root == "http://h:1/p"


def test_the_command_needs_nothing_of_the_service(make_state: MakeState) -> None:
    """The trainer's environment holds neither the service nor what it depends on."""
    imports = "import sys, rbr_trainer.cli; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", imports], capture_output=True, text=True, check=True
    ).stdout
    assert not FOREIGN & set(loaded.split())
    command = str(Path(sys.executable).with_name("rbr-train"))
    with service(make_state(**TRAINING)) as netloc:
        finished = subprocess.run(
            [command, "check", f"http://{netloc}"], capture_output=True, text=True, timeout=60, check=False
        )
    assert finished.returncode == 0, finished.stderr
    assert "hard_refusal" in finished.stdout
