"""The default stack in real containers, from docker-compose.yml as it is."""

import json
import re

from tests.containers.engine import ROOT, run, until
from tests.containers.stack import Stack

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITES = """
import json, pathlib
def wrote(folder):
    try:
        pathlib.Path(folder, "probe").write_text("x")
    except OSError as error:
        return error.strerror
    return True
print(json.dumps({folder: wrote(folder) for folder in ("/opt/rbr", "/", "/tmp", "/var/lib/rbr")}))
"""
RIGHTS = """
import json, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/1/status").read_text().splitlines())
print(json.dumps({name: status[name].split() for name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs")}))
"""


def example() -> tuple[str, str]:
    """The README's first request and the answer it shows."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    request = next(text for language, text in blocks if language == "bash" and "curl" in text)
    return request, next(text for language, text in blocks if language == "json")


def score(stack: Stack) -> str:
    request, _ = example()
    return run(["bash", "-euo", "pipefail", "-c", request.replace("http://127.0.0.1:8000", stack.url)])


def rounded(text: str) -> object:
    """JSON whose numbers do not depend on the last bits of a machine's arithmetic."""
    return json.loads(text, parse_float=lambda number: round(float(number), 6))


def test_the_readmes_example_scores_through_the_published_port(stack: Stack) -> None:
    assert rounded(score(stack)) == rounded(example()[1])


def test_prometheus_scrapes_what_was_scored(stack: Stack) -> None:
    score(stack)
    until(lambda: stack.query('sum(rbr_samples_total{job="rbr", response_type="hard_refusal"}) > 0'))
    [sample] = stack.query('up{job="rbr"}')
    assert sample["value"][1] == "1"
    assert stack.prometheus("/api/v1/rules")["groups"], "the alert rules were not loaded"


def test_health_checks_pass(stack: Stack) -> None:
    for service in ("service", "prometheus"):
        container = stack.container(service)
        until(lambda name=container: stack.engine.healthy(name))  # type: ignore[misc]


def test_ports_are_published_on_loopback_alone(stack: Stack) -> None:
    for service in ("service", "prometheus"):
        published = stack.engine.inspect(stack.container(service))["NetworkSettings"]["Ports"]
        hosts = {place["HostIp"] for places in published.values() for place in places or []}
        assert hosts == {"127.0.0.1"}, service


def test_root_is_read_only_and_its_state_is_not(stack: Stack) -> None:
    refused = "Read-only file system"
    assert stack.python(WRITES) == {"/opt/rbr": refused, "/": refused, "/tmp": True, "/var/lib/rbr": True}


def test_runs_without_rights_and_cannot_gain_any(stack: Stack) -> None:
    none = ["0000000000000000"]
    assert stack.python(RIGHTS) == {"Uid": ["10001"] * 4, "CapEff": none, "CapBnd": none, "NoNewPrivs": ["1"]}


def test_limits_are_in_force(stack: Stack) -> None:
    limits = stack.engine.inspect(stack.container("service"))["HostConfig"]
    assert (limits["Memory"], limits["NanoCpus"] or limits["CpuQuota"]) in [
        (4 << 30, 2 * 10**9), (4 << 30, 200_000)
    ]  # fmt: skip
    assert limits["PidsLimit"] == 512


def test_sigterm_ends_it_with_0_and_the_log_is_clean(stack: Stack) -> None:
    container = stack.container("service")
    stack.engine("stop", "-t", "190", container)
    try:
        assert stack.engine.inspect(container)["State"]["ExitCode"] == 0
        log = run(["sh", "-c", f"{stack.engine.name} logs {container} 2>&1"])
        assert "Listening on http://0.0.0.0:8000" in log
        assert "Traceback" not in log
        assert "open a lock" not in log, "a text that was scored is in the log"
    finally:
        stack.engine("start", container)
        stack.wait_until_ready()
