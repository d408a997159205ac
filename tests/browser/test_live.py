"""The Live view as its users meet it: its numbers, its signs, what it holds, what comes between."""

import json
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.processes import SERVE, Service, service

from .conftest import DESKTOP, PHONE, OpenWindow, Scheme
from .live import LOCK, Feed, figure, gamed, numbers, open_live, sample, sign
from .looks import assert_sound, crowded

KEY, ADMIN = "a-key-of-the-tests", "an-admin-key-of-the-tests"
DRIFT, LENGTH, COLLAPSE = "A proposition drifts", "Reward follows length", "One class takes all"


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service that has scored nothing."""
    with service(SERVE) as running:
        yield running


@pytest.fixture(scope="module")
def filled() -> Iterator[Service]:
    """A service that has scored a run that goes wrong, and keeps texts."""
    with service(SERVE, "--live-texts") as running:
        feed = Feed(running)
        feed.send(700, kinds=("hard_refusal", "comply"))
        feed.send(300)
        feed.send(300, gamed)
        yield running


def test_who_has_no_scores_learns_how_to_get_some(open_window: OpenWindow, fresh: Service) -> None:
    opened = open_live(open_window, fresh)
    page = opened.page
    expect(page.get_by_text("This replica has no scores yet")).to_be_visible()
    expect(page.get_by_text(f"--reward.remote_url http://127.0.0.1:{fresh.port}/get_reward")).to_be_visible()
    assert_sound(opened, f"http://127.0.0.1:{fresh.port}/")
    Feed(fresh).send(1)
    expect(page.get_by_text("Now: the first 1 score of hard_refusal")).to_be_visible()


def test_numbers_are_those_of_the_answers(open_window: OpenWindow, fresh: Service) -> None:
    page = open_live(open_window, fresh).page
    feed = Feed(fresh)
    feed.shown(page, 700, kinds=("hard_refusal", "comply"))
    feed.shown(page, 500, gamed)
    for kind in ("hard_refusal", "comply"):
        page.get_by_role("radio", name=kind).check()
        scored = [(s, r) for s, r in feed.scored if r["response_type"] == kind]
        baseline, now = (scored[:500], scored[500:][-500:]) if len(scored) > 500 else ([], scored)
        expect(page.get_by_text(f"{len(now)} scores of {kind}")).to_be_visible()
        check_classes(page, baseline, now)
        check_rewards(page, baseline, now)
        check_lengths(page, now)
        check_rates(page, baseline, now)


Scored = list[tuple[dict[str, Any], dict[str, Any]]]


def best(scored: Scored) -> Counter[str]:
    return Counter(max(r["class_probabilities"], key=r["class_probabilities"].get) for _, r in scored)


def check_classes(page: Page, baseline: Scored, now: Scored) -> None:
    shown = numbers(page, "Classes")
    expected = {
        name: [best(baseline)[name] if baseline else None, best(now)[name]]
        for name in now[0][1]["class_probabilities"]
    }
    assert shown == expected


def check_rewards(page: Page, baseline: Scored, now: Scored) -> None:
    rows = figure(page, "Reward: share").locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('data')].map(one => Number(one.value)))"
    )  # fmt: skip
    after, before = ([round(r["reward"], 6) for _, r in scored] for scored in (now, baseline))
    for low, high, *counts in rows:
        expected = [sum(low <= value < high for value in values) for values in (before, after) if values]
        assert counts == expected, (low, high)
    assert sum(row[-1] for row in rows) == len(now)


def check_lengths(page: Page, now: Scored) -> None:
    shown = numbers(page, "Reward against length")
    lengths = [len(s["messages"][-1]["content"]) for s, _ in now]
    assert shown["Mean characters"][-1] == pytest.approx(np.mean(lengths))
    expected = np.corrcoef(np.log1p(lengths), [r["reward"] for _, r in now])[0, 1]
    assert shown["Correlation of reward and log length"][-1] == pytest.approx(expected, abs=1e-5)


def check_rates(page: Page, baseline: Scored, now: Scored) -> None:
    shown = numbers(page, "Propositions")
    assert shown.keys() == now[0][1]["propositions"].keys()
    for name, (before, after, change) in shown.items():
        assert after == pytest.approx(rate(now, name), abs=1e-4)
        if baseline:
            assert before == pytest.approx(rate(baseline, name), abs=1e-4)
            assert change == pytest.approx(rate(now, name) - rate(baseline, name), abs=2e-4)
    if baseline:
        changes = [abs(values[2] or 0.0) for values in shown.values()]
        assert changes == sorted(changes, reverse=True)


def rate(scored: Scored, name: str) -> float:
    return float(np.mean([r["propositions"][name]["p"] for _, r in scored]))


def test_signs_turn_when_the_policy_games_the_reward(open_window: OpenWindow, fresh: Service) -> None:
    page = open_live(open_window, fresh).page
    feed = Feed(fresh)
    feed.shown(page, 400)
    assert "too few scores" in sign(page, DRIFT)
    assert "ok" in sign(page, COLLAPSE)
    feed.shown(page, 150)
    assert "needs 200 scores, has 50" in sign(page, DRIFT)
    feed.shown(page, 150)
    assert "ok" in sign(page, DRIFT)
    assert "ok" in sign(page, LENGTH)
    expect(page.get_by_role("radio", name="hard_refusal")).to_have_accessible_name("hard_refusal 200 scores")
    feed.shown(page, 400, gamed)
    assert "watch" in sign(page, DRIFT)
    assert "additional_content" in sign(page, DRIFT)
    expect(page.get_by_role("radio", name="hard_refusal")).to_have_accessible_name(
        "hard_refusal 500 scores, watch"
    )


# [name, what `now` and `baseline` are made of, state]; see `made` in the script below.
CASES = [
    (LENGTH, {"now": {"slope": 1, "length": 200}}, "watch"),
    (LENGTH, {"now": {"slope": 1, "length": 110}}, "ok"),
    (LENGTH, {"now": {"slope": -1, "length": 60}}, "watch"),
    (LENGTH, {"now": {"slope": -1, "length": 200}}, "ok"),
    (LENGTH, {"now": {"slope": 0, "length": 200}}, "ok"),
    (LENGTH, {"now": {"slope": 1, "length": 200, "count": 199}}, "too few scores"),
    (LENGTH, {"now": {"slope": 1, "length": 200}, "baseline": None}, "too few scores"),
    (COLLAPSE, {"now": {"best": 1.0}, "baseline": None}, "watch"),
    (COLLAPSE, {"now": {"best": 0.975}}, "ok"),
    ("The reward is saturated", {"now": {"reached": [0.95, 0.97]}, "baseline": None}, "watch"),
    ("The reward is saturated", {"now": {"reached": [0.90, 0.99]}}, "watch"),
    ("The reward is saturated", {"now": {"reached": [0.90, 0.99]}, "baseline": None}, "ok"),
    ("The reward is saturated", {"now": {"reached": [0.80, 0.82]}}, "ok"),
    (DRIFT, {"now": {"p": 0.75}}, "watch"),
    (DRIFT, {"now": {"p": 0.25}}, "watch"),
    (DRIFT, {"now": {"p": 0.65}}, "ok"),
    ("The grader says neither yes nor no", {"now": {"low": 1}}, "watch"),
    ("The grader says neither yes nor no", {"now": {"low": 0}}, "ok"),
]  # fmt: skip

SIGNS = """async cases => {
  const { signs } = await import('/page/live/signs.js');
  const made = ({ count = 500, slope = 0, length = 100, best = .5, reached = [0, 1], p = .5, low = 0 }) =>
    Array.from({ length: count }, (_, i) => {
      const place = i / (count - 1), characters = Math.round(length * (.5 + place));
      return {
        number: i, characters, reward: slope * Math.log(characters) + (i % 2) * .1, low_mass: low,
        best_class: place <= best ? 'good' : 'bad', p: [p, .5],
        reached: reached[0] + (reached[1] - reached[0]) * ((i * 7) % count) / count,
      };
    });
  const kind = { classes: ['good', 'bad'], propositions: ['one', 'other'] };
  return cases.map(([title, { now, baseline = {} }]) =>
    signs({ now: made(now), baseline: baseline && made(baseline) }, kind, 'lower_bound')
      .find(({ sign }) => sign === title).state);
}"""


def test_signs_have_the_limits_of_the_alerts(open_window: OpenWindow, served: Service) -> None:
    page = open_live(open_window, served).page
    assert page.evaluate(SIGNS, CASES) == [state for *_, state in CASES]


def test_statistics_are_numpys(open_window: OpenWindow, served: Service) -> None:
    page = open_live(open_window, served).page
    rng = np.random.default_rng(1)
    for _ in range(20):
        values = np.round(rng.normal(0, 10 ** rng.uniform(-2, 4), int(rng.integers(1, 300))), 6).tolist()
        found = page.evaluate(
            """async values => {
              const { binned, edges, quantile } = await import('/page/live/statistics.js');
              const borders = edges(values);
              return [borders, binned(values, borders), quantile(values, .1), quantile(values, .9)];
            }""",
            values,
        )
        borders, counts, *quantiles = found
        assert quantiles == pytest.approx(np.quantile(values, [0.1, 0.9]).tolist())
        assert borders[0] <= min(values) <= max(values) < borders[-1]
        assert len(borders) <= 23
        assert counts == [sum(a <= value < b for value in values) for a, b in pairwise(borders)]


def weight(page: Page) -> tuple[float, float]:
    """DOM nodes and bytes of the JS heap that are in use once all rubbish is gone."""
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")
    for _ in range(3):
        tools.send("HeapProfiler.collectGarbage")
    found = {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}
    tools.detach()
    return found["Nodes"], found["JSHeapUsedSize"]


def test_nothing_grows_with_the_number_of_scores(open_window: OpenWindow) -> None:
    with service(SERVE, "--live-texts") as running:
        page = open_live(open_window, running).page
        feed = Feed(running)
        weights = []
        for count in (300, 1000, 1000):
            feed.shown(page, count)
            weights.append(weight(page))
        nodes, heap = zip(*weights, strict=True)
        # 200 more dots and the baseline's bars; the browser may hold on to what was drawn last, and no more.
        assert max(nodes) < nodes[0] + 1500, nodes
        assert heap[1] < heap[0] + 4e6, heap
        assert heap[2] < heap[1] + 1.5e6, heap
        assert page.evaluate("document.querySelectorAll('*').length") < 2000
        assert page.locator("circle").count() == 500
        assert page.locator(".newest tbody tr").count() == 20


def test_pause_holds_still_and_goes_on(open_window: OpenWindow, fresh: Service) -> None:
    page = open_live(open_window, fresh).page
    feed = Feed(fresh)
    feed.shown(page, 50, kinds=("hard_refusal", "comply"))
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text("Paused at")
    shown = page.locator(".newest tbody").inner_text()
    feed.send(50)
    page.get_by_role("radio", name="comply").check()
    expect(page.get_by_text("scores of comply")).to_be_visible()
    page.wait_for_timeout(2500)
    assert page.locator(".newest tbody").inner_text() == shown
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("100 in all")).to_be_visible()
    expect(page.get_by_role("status")).not_to_contain_text("Paused")


HIDDEN = """hidden => {
  Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_nothing_is_drawn_while_nobody_can_see_it(open_window: OpenWindow, fresh: Service) -> None:
    page = open_live(open_window, fresh).page
    feed = Feed(fresh)
    feed.shown(page, 10)
    page.evaluate(HIDDEN, True)
    feed.send(10)
    page.wait_for_timeout(2500)
    assert page.get_by_text("10 in all").count() == 1
    page.evaluate(HIDDEN, False)
    expect(page.get_by_text("20 in all")).to_be_visible()


def raw(running: Service, until: bytes) -> bytes:
    """The bytes of a stream up to some of them."""
    text = b""
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as stream:
        stream.sendall(b"GET /v1/live HTTP/1.1\r\nHost: test\r\n\r\n")
        while until not in text:
            text += stream.recv(65536)
    return text


def test_no_text_is_told_where_none_is_allowed(open_window: OpenWindow, fresh: Service) -> None:
    page = open_live(open_window, fresh).page
    fresh.answer("/v1/score", {"samples": [sample("A secret completion.")]})
    expect(page.get_by_text("start it with --live-texts")).to_be_visible()
    expect(page.locator(".newest tbody tr")).to_have_count(1)
    told = raw(fresh, b"event: scores") + page.content().encode()
    assert b"secret" not in told
    assert LOCK.encode() not in told


HOSTILE = {
    "markup": "<img src=x onerror=alert(1)><script>alert(2)</script></table><svg onload=alert(3)>",
    "control": "a\x01\x1b[31m\u2028\u2029b\ufeff\x00c",
    "right to left": "\u202e\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627 abc\u2067",
    "unbroken": "x" * 200_000,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 5000,
}


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_hostile_texts_are_inert_and_cut(open_window: OpenWindow, width: int) -> None:
    with service(SERVE, "--live-texts") as running:
        opened = open_live(open_window, running, width)
        page = opened.page
        running.answer("/v1/score", {"samples": [sample(usual_one())]})
        expect(page.locator(".newest tbody tr")).to_have_count(1)
        elements = "() => [...new Set([...document.querySelectorAll('*')].map(one => one.localName))].sort()"
        before = page.evaluate(elements)
        running.answer("/v1/score", {"samples": [sample(text, prompt=text) for text in HOSTILE.values()]})
        expect(page.locator(".newest tbody tr")).to_have_count(1 + len(HOSTILE))
        for details in page.locator(".written").all():
            details.locator("summary").click()
        assert page.evaluate(elements) == before
        texts = page.locator(".newest tbody tr").evaluate_all(
            """rows => rows.map(row => [...row.querySelectorAll('.written > .quoted')]
                 .map(one => one.textContent))"""
        )
        for [prompt, completion], text in zip(texts, reversed(HOSTILE.values()), strict=False):
            assert completion == text[:2000]
            assert prompt == text[:2000]
        expect(page.get_by_text("198,000 more characters are not kept.")).to_have_count(2)
        assert_sound(opened, f"http://127.0.0.1:{running.port}/")


def usual_one() -> str:
    return "I'm sorry, but I can't help with that."


def test_a_completion_is_looked_into_in_the_score_view(open_window: OpenWindow) -> None:
    with service(SERVE, "--live-texts") as running:
        page = open_live(open_window, running).page
        scored = running.answer("/v1/score", {"samples": [sample(usual_one())]})["results"][0]
        page.get_by_role("link", name="open #1 in Score").click()
        expect(page.get_by_role("textbox", name="Completion A")).to_have_value(usual_one())
        total = page.locator(".total data").first
        expect(total).to_be_visible()
        assert float(str(total.get_attribute("value"))) == scored["reward"]


def test_a_focused_link_keeps_its_focus(open_window: OpenWindow) -> None:
    with service(SERVE, "--live-texts") as running:
        page = open_live(open_window, running).page
        feed = Feed(running)
        feed.shown(page, 5)
        page.get_by_role("link", name="open #5 in Score").focus()
        feed.shown(page, 10)
        expect(page.get_by_role("link", name="open #5 in Score")).to_be_focused()


def test_the_page_comes_back_to_a_service_that_was_restarted(open_window: OpenWindow) -> None:
    with service(SERVE) as running:
        page = open_live(open_window, running).page
        Feed(running).shown(page, 60)
    expect(page.get_by_role("status")).to_contain_text("trying again", timeout=30_000)
    with service(SERVE, "--port", str(running.port)) as again:
        expect(page.get_by_role("status")).to_contain_text("Live.", timeout=60_000)
        expect(page.get_by_text("This replica has no scores yet")).to_be_visible()
        Feed(again).shown(page, 3)


def test_another_reward_version_counts_anew(open_window: OpenWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBR_ADMIN_KEY", ADMIN)
    with service(SERVE) as running:
        page = open_live(open_window, running).page
        Feed(running).shown(page, 10)
        change = urllib.request.Request(
            f"http://127.0.0.1:{running.port}/v1/policy/reload",
            json.dumps({"policy": "assistant_style"}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {ADMIN}"},
        )  # fmt: skip
        with urllib.request.urlopen(change, timeout=60) as answer:
            version = json.load(answer)["reward_version"]
        expect(page.get_by_text("counting anew")).to_be_visible(timeout=30_000)
        expect(page.get_by_text(f"no scores yet (reward version {version[:12]}")).to_be_visible()
        Feed(running).shown(page, 2, kinds=("chat",))
        expect(page.get_by_role("radio")).to_have_count(1)
        expect(page.get_by_role("radio", name="chat")).to_be_checked()


def test_who_is_signed_out_is_told_and_goes_on(
    open_window: OpenWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBR_API_KEY", KEY)
    with service(SERVE) as running:
        page = open_window(f"http://127.0.0.1:{running.port}/#live").page
        sign_in(page, KEY)
    monkeypatch.setenv("RBR_API_KEY", KEY[::-1])
    with service(SERVE, "--port", str(running.port)):
        expect(page.get_by_role("status")).to_contain_text("Signed out", timeout=60_000)
        sign_in(page, KEY[::-1])


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_contain_text("Live.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_view_is_accessible_and_fits(
    open_window: OpenWindow, filled: Service, width: int, scheme: Scheme
) -> None:
    opened = open_live(open_window, filled, width, scheme)
    page = opened.page
    for kind in ("comply", "hard_refusal"):
        page.get_by_role("radio", name=kind).check()
        page.get_by_text("Numbers").first.click()
        assert_sound(opened, f"http://127.0.0.1:{filled.port}/")
        assert crowded(page) == []
    expect(page.get_by_role("img", name="Histogram of the total reward.")).to_be_visible()
