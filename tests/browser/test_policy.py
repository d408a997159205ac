"""The Policy view as its readers meet it: questions, rules, weights, categories, what a change comes to."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from rbr_service.build import rules_folder
from rbr_service.rbr.policy import Policy, load
from tests.browser.conftest import DESKTOP, PHONE, Opened, OpenWindow, Scheme
from tests.browser.looks import assert_sound, crowded
from tests.e2e.processes import SERVE, Service, service
from tests.variants import QUESTION, RULE, put, variant

POLICIES = ("safety", "assistant_style")
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script></summary><svg onload=alert(3)>"
# What a matrix says: {row: [{column: answer} for each of its lines]}.
CELLS = """region => {
  const columns = [...region.querySelectorAll('thead th .name')].map(one => one.textContent);
  return Object.fromEntries([...region.querySelectorAll('tbody')].map(body => [
    body.querySelector('th .name').textContent,
    [...body.rows].map(row => Object.fromEntries(
      [...row.cells].slice(1).map((cell, i) => [columns[i], cell.innerText.trim()]))),
  ]));
}"""
# The upright names of a matrix: their sides, and whether each is whole and inside its row.
UPRIGHT = """region => [...region.querySelectorAll('.upright')].map(one => {
  const box = one.getBoundingClientRect(), row = one.closest('tr').getBoundingClientRect();
  return {
    left: box.left, right: box.right,
    inside: box.top >= row.top - 1 && box.bottom <= row.bottom + 1,
    whole: one.scrollHeight <= one.clientHeight + 1 && one.scrollWidth <= one.clientWidth + 1,
  };
})"""

Condition = dict[str, bool] | list[dict[str, bool]]


@pytest.fixture(scope="module")
def services(served: Service) -> Iterator[dict[str, Service]]:
    """A service of each shipped policy."""
    with service(SERVE, "--policy", "assistant_style") as style:
        yield {"safety": served, "assistant_style": style}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return variant(tmp_path, "mine")


@pytest.fixture
def own(mine: Path) -> Iterator[Service]:
    """A service of `mine`, which knows what lies beside it."""
    with service(SERVE, "--policy", str(mine), "--policies", str(mine.parent)) as running:
        yield running


def address(running: Service, place: str = "#policy") -> str:
    return f"http://127.0.0.1:{running.port}/{place}"


def opened_view(open_window: OpenWindow, running: Service, place: str = "#policy", **looks: Any) -> Opened:
    """The view with all its parts, the comparison included."""
    opened = open_window(address(running, place), **looks)
    expect(opened.page.locator("#diff h3, #diff .error").first).to_be_visible()
    return opened


def shipped(name: str) -> Policy:
    return load(rules_folder() / f"{name}.yaml")


def choose(page: Page, type_: str) -> None:
    page.get_by_role("group", name="Response type").get_by_role("button", name=type_, exact=True).click()


def wanted(conditions: dict[str, Condition]) -> dict[str, list[dict[str, str]]]:
    """What a matrix of these conditions has to say."""
    lines = {key: one if isinstance(one, list) else [one] for key, one in conditions.items()}
    columns = {column for parts in lines.values() for part in parts for column in part}
    word = {True: "yes", False: "no", None: "does not matter"}
    return {
        key: [{column: word[part.get(column)] for column in columns} for part in parts]
        for key, parts in lines.items()
    }


def derived_of(policy: Policy, type_: str) -> dict[str, Condition]:
    """The derived names that a type's rules rest on."""
    found: dict[str, Condition] = {}
    waiting: list[Condition] = list(policy.file.rules[type_].values())
    while waiting:
        condition = waiting.pop()
        for part in condition if isinstance(condition, list) else [condition]:
            for key in part.keys() & policy.file.derived.keys() - found.keys():
                found[key] = policy.file.derived[key]
                waiting.append(policy.file.derived[key])
    return found


@pytest.mark.parametrize("name", POLICIES)
def test_every_proposition_is_shown_with_its_question_and_who_needs_it(
    open_window: OpenWindow, services: dict[str, Service], name: str
) -> None:
    page = opened_view(open_window, services[name]).page
    policy = shipped(name)
    rows = page.locator(".questions tbody tr")
    assert rows.count() == len(policy.file.propositions)
    for row, (key, one) in zip(rows.all(), policy.file.propositions.items(), strict=True):
        expect(row.get_by_role("rowheader")).to_have_text(key)
        texts = row.locator("td").first.text_content() or ""
        assert one.question in texts
        assert one.definition in texts
        assert all(example.assistant in texts for example in one.examples)
        needed = row.locator("td").last.locator(".name").all_text_contents()
        assert needed == [kind.name for kind in policy.response_types.values() if key in kind.propositions]


@pytest.mark.parametrize("name", POLICIES)
def test_every_cell_of_the_matrices_is_the_policys_rule(
    open_window: OpenWindow, services: dict[str, Service], name: str
) -> None:
    page = opened_view(open_window, services[name]).page
    policy = shipped(name)
    for type_, rules in policy.file.rules.items():
        choose(page, type_)
        region = page.get_by_role("region", name=f"Rules of {type_}")
        found = region.evaluate(CELLS)
        assert found == wanted(dict(rules)), type_
        assert list(found) == [one for one in policy.file.classes if one in rules], "best to worst"
        derived = page.get_by_role("region", name=f"Derived names of {type_}")
        assert derived.evaluate(CELLS) == wanted(derived_of(policy, type_)), type_
        spec = policy.file.response_types[type_]
        for mark, traits in (("good", spec.good), ("bad", spec.bad)):
            marked = page.locator(f".matrix thead th:has(> .{mark}) .name").all_text_contents()
            assert set(marked) == set(traits) & set(policy.response_types[type_].diagram.variables)


@pytest.mark.parametrize("name", POLICIES)
def test_weights_and_intervals_are_those_of_the_service(
    open_window: OpenWindow, services: dict[str, Service], name: str
) -> None:
    page = opened_view(open_window, services[name]).page
    told = services[name].get("/v1/policy")
    for type_, weights in told["weights"].items():
        choose(page, type_)
        lines = page.locator("#types figure tbody tr").evaluate_all(
            "rows => rows.map(row => [row.cells[0].textContent,"
            " ...[...row.querySelectorAll('data')].map(one => Number(one.value))])"
        )
        intervals = told["weight_intervals"][type_]
        assert sorted(lines) == sorted(
            [feature.removeprefix("p:").replace(":", " "), weight, *intervals[feature].values()]
            for feature, weight in weights.items()
        )
        assert [line[1] for line in lines] == sorted(weights.values(), reverse=True)
        reach = page.locator("#types > div > p data").evaluate_all("all => all.map(one => Number(one.value))")
        assert reach == [told["reward_range"][type_]["low"], told["reward_range"][type_]["high"]]
        assert page.locator("#types .plot svg circle").count() == len(weights)
        assert crowded(page) == []


def test_weights_without_intervals_are_shown_and_it_is_said(open_window: OpenWindow, tmp_path: Path) -> None:
    fitted = json.loads((rules_folder() / "safety.lexical.json").read_text())
    fitted["origin"] = {}
    put(tmp_path / "w.json", json.dumps(fitted))
    with service(SERVE, "--weights", str(tmp_path / "w.json")) as running:
        page = opened_view(open_window, running).page
        expect(page.get_by_text("The weights file tells no intervals")).to_be_visible()
        assert page.locator("#types .plot svg circle").count() == len(
            fitted["response_types"]["hard_refusal"]["weights"]
        )


@pytest.mark.parametrize("name", POLICIES)
def test_the_content_policy_is_told(open_window: OpenWindow, services: dict[str, Service], name: str) -> None:
    page = opened_view(open_window, services[name]).page
    part = page.get_by_role("region", name="Content policy")
    rows = part.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(c => c.innerText))"
    )
    content = shipped(name).file.content_policy
    assert rows == [
        [key, one.response_type.replace("out_of_scope", "out of scope"), one.description]
        for key, one in content.items()
    ]
    rule = {"safety": "earns its base reward alone", "assistant_style": "is judged as chat"}
    expect(part).to_contain_text(rule[name])


def test_heading_tells_what_is_in_force(open_window: OpenWindow, served: Service) -> None:
    page = opened_view(open_window, served).page
    ready = served.get("/readyz")
    expect(page.get_by_role("heading", level=1)).to_have_text("The policy safety")
    facts = page.locator(".facts").first
    for text in (ready["versions"]["policy"][:12], ready["reward_version"][:12], ready["grader_note"]):
        expect(facts).to_contain_text(text)


def unfold(page: Page) -> None:
    """Open all that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")


def compared(page: Page) -> Locator:
    return page.get_by_role("region", name="What a change comes to")


def test_a_change_of_the_served_file_is_told_before_it_is_in_force(
    open_window: OpenWindow, own: Service, mine: Path
) -> None:
    page = opened_view(open_window, own).page
    part = compared(page)
    expect(part.get_by_role("heading", name="The same policy")).to_be_visible()
    variant(mine.parent, "mine", edit=QUESTION)
    part.get_by_role("button", name="Compare again").click()
    expect(part.get_by_role("heading", name="apology changed")).to_be_visible()
    expect(part.locator(".costs")).to_contain_text("Weights that are void: hard_refusal.")
    expect(part.locator("del")).to_have_text("and ")
    was, now = part.locator(".wordings dd").all_text_contents()
    old = shipped("safety").file.propositions["apology"].question
    assert (was, now) == (old, old.replace(*QUESTION))


def test_a_changed_rule_is_told_through_the_name_that_changed(
    open_window: OpenWindow, own: Service, mine: Path
) -> None:
    variant(mine.parent, "other", edit=RULE)
    page = opened_view(open_window, own).page
    part = compared(page)
    part.get_by_label("To", exact=True).select_option("other")
    expect(part.get_by_role("heading", name="correct_refusal changed")).to_be_visible()
    expect(part.locator("del")).to_contain_text("encourage_professional_help")
    expect(part.get_by_text("correct_refusal means something else now.")).to_have_count(2)
    part.get_by_label("From", exact=True).select_option("other")
    expect(part.get_by_role("heading", name="The same policy")).to_be_visible()


def test_a_link_shows_what_its_sender_saw(open_window: OpenWindow, own: Service, mine: Path) -> None:
    variant(mine.parent, "other", edit=RULE)
    page = opened_view(open_window, own).page
    choose(page, "comply")
    page.get_by_label("Filter by text").fill("apolog emotion")
    compared(page).get_by_label("To", exact=True).select_option("other")
    page.get_by_role("link", name="What a change comes to").click()
    expect(compared(page).locator("del")).to_be_visible()
    again = opened_view(open_window, own, page.url.split("/", 3)[3]).page
    expect(again.get_by_role("button", name="comply", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(again.locator(".questions tbody tr:visible")).to_have_count(2)
    expect(again.get_by_label("Filter by text")).to_have_value("apolog emotion")
    expect(compared(again).locator("del")).to_contain_text("encourage_professional_help")
    expect(compared(again)).to_be_in_viewport()
    assert parse_qs(urlsplit(page.url).fragment.split("?")[1]).keys() == {"type", "q", "new", "at"}


def test_a_broken_file_is_told_by_its_line_and_a_name_that_is_gone_by_the_names_there_are(
    open_window: OpenWindow, own: Service, mine: Path
) -> None:
    text = mine.read_text(encoding="utf-8").replace("unlabelled: out_of_scope", "unlabelled: maybe")
    put(mine.parent / "broken.yaml", text)
    line = 1 + text.splitlines().index("unlabelled: maybe")
    page = opened_view(open_window, own).page
    compared(page).get_by_label("To", exact=True).select_option("broken")
    expect(compared(page).get_by_role("alert")).to_contain_text(f"broken.yaml:{line}: unlabelled: 'maybe'")
    gone = opened_view(open_window, own, "#policy?new=gone").page
    expect(compared(gone).get_by_role("alert")).to_contain_text("assistant_style, broken, mine, safety")


def hostile(folder: Path) -> Path:
    """The safety policy with markup wherever a policy has free text."""
    path = variant(folder, "hostile")
    text, markup = path.read_text(encoding="utf-8"), json.dumps(MARKUP)
    for place in (
        "  apology:\n    question: ",
        "  C-C:\n    description: ",
        "        answer: true\n        because: ",
    ):
        begin = text.index(place) + len(place)
        text = text[:begin] + markup + text[text.index("\n", begin) :]
    begin = text.index("definition: ", text.index("\n  apology:\n    question")) + len("definition: ")
    text = text[:begin] + markup + text[text.index("\n    examples", begin) :]
    alias = json.dumps(f"{MARKUP} alias")
    put(path, text.replace("  C-C:\n", f"  {markup}:\n").replace("[Hard Refuse]", f"[{alias}]"))
    cues = path.with_suffix(".lexical.yaml")
    put(cues, cues.read_text(encoding="utf-8").replace("  C-C:\n", f"  {markup}:\n"))
    return path


def test_markup_in_a_policy_is_text(open_window: OpenWindow, tmp_path: Path) -> None:
    path = hostile(tmp_path)
    with service(SERVE, "--policy", str(path), "--accept-mismatch") as running:
        opened = opened_view(open_window, running, "#policy?old=safety")
        page = opened.page
        expect(compared(page).get_by_role("heading", name="apology changed")).to_be_visible()
        unfold(page)
        for part in ("#types", ".questions", "#categories", "#diff"):
            expect(page.locator(part)).to_contain_text(MARKUP)
        assert page.locator("main img, main script, main svg:not(.plot svg)").count() == 0
        expect(page.locator(".facts .warning").first).to_contain_text("has changed since the fit")
        assert_sound(opened, address(running, ""))


@pytest.mark.parametrize(
    ("name", "type_", "width", "scheme"),
    [
        ("safety", "soft_refusal_2", PHONE, "light"),
        ("safety", "soft_refusal_2", DESKTOP, "dark"),
        ("assistant_style", "data", PHONE, "dark"),
        ("assistant_style", "data", DESKTOP, "light"),
    ],
)
def test_the_view_is_sound(
    open_window: OpenWindow, services: dict[str, Service], name: str, type_: str, width: int, scheme: Scheme
) -> None:
    running = services[name]
    place = f"#policy?type={type_}&old=safety&new=assistant_style"
    opened = opened_view(open_window, running, place, width=width, scheme=scheme)
    page = opened.page
    expect(page.locator(".plot svg")).to_be_visible()
    assert_sound(opened, address(running, ""))
    unfold(page)
    assert_sound(opened, address(running, ""))
    for region in page.locator(".matrix").all():
        boxes = region.evaluate(UPRIGHT)
        assert boxes
        assert all(box["inside"] and box["whole"] for box in boxes)
        assert all(one["right"] <= other["left"] + 1 for one, other in pairwise(boxes))


def test_a_wide_matrix_scrolls_by_keyboard_and_keeps_its_row_names(
    open_window: OpenWindow, served: Service
) -> None:
    page = opened_view(open_window, served, "#policy?type=soft_refusal_2", width=PHONE).page
    region = page.get_by_role("region", name="Derived names of soft_refusal_2")
    heads = region.locator("tbody th")
    before = heads.first.bounding_box()
    region.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("region => region.scrollLeft > 100", arg=region.element_handle())
    after = heads.first.bounding_box()
    assert before is not None
    assert after is not None
    assert before["x"] == after["x"]
