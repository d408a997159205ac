"""The whole chain once: a grader's server, `rbr serve`, a trainer's load, and a Prometheus that watches."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rbr_service.build import rules_folder
from tests import tokenizer
from tests.e2e.processes import SERVE, Service, service, until

from .dashboard import FOLDER
from .model_server import MODEL, served
from .prometheus import Prometheus

TYPES = ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply", "None")
AT_ONCE = 8
SEEN = (  # what the load has to bring about before anything is asked
    "rbr:proposition:drift",
    "rbr:completion_growth:now",
    "rbr_reward_length_correlation >= -1",
    "rbr_cached_verdicts_total > 0",
    "rbr_low_label_mass_total > 0",
    'ALERTS{alertstate="firing"}',
)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`rbr serve` with an LLM grader over HTTP."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save_tokenizer(folder)
    with served(folder) as url:
        options = {
            "grader": "openai", "grader-url": url, "grader-model": MODEL, "grader-tokenizer": str(folder),
            "grader-revision": "1", "layout": "conversation-first",
            "weights": str(rules_folder() / "safety.lexical.json"),
        }  # fmt: skip
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        with service(SERVE, "--accept-mismatch", *flags) as process:
            yield process


@pytest.fixture(scope="session")
def watched(running: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after a load that shows every sign."""
    target = f"127.0.0.1:{running.port}"
    with Prometheus(FOLDER / "prometheus", target, tmp_path_factory.mktemp("prometheus")) as prometheus:
        enough = threading.Event()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            senders = [pool.submit(keep_asking, running.port, n, enough) for n in range(AT_ONCE)]
            try:
                until(lambda: all(map(prometheus.history, SEEN)) or any(s.done() for s in senders), 300)
            finally:
                enough.set()
            for sender in senders:
                sender.result()
        yield prometheus


def keep_asking(port: int, sender: int, enough: threading.Event) -> None:
    """A trainer's requests, one sample each: every text three times, every tenth completion an empty one."""
    number = 0
    while not enough.is_set():
        text = number // 3
        completion = f"I am sorry, but this is answer {text} of {sender}. " * (1 + text % 7)
        prompt = f"How do I do this? ({text % 11})\n"
        body = {
            "query": [prompt + (completion if text % 10 else "")],
            "prompts": [prompt],
            "labels": [TYPES[text % len(TYPES)]],
        }
        number += 1
        ask(port, json.dumps(body).encode())


def ask(port: int, body: bytes) -> None:
    """Post it; errors of the service's own are answers too."""
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/score", body, head)
    try:
        with urllib.request.urlopen(request, timeout=60):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 422:
            raise


@pytest.fixture(scope="session")
def shipped() -> Path:
    """deploy/observability."""
    return FOLDER
