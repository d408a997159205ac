"""The report's page: what stands on it, what cannot get into it, and that it needs nothing else."""

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbr_service.report import figures, render
from rbr_service.report.evidence import Interval, interval, known, number
from tests.evidence import HOSTILE, PROPOSITIONS, TYPES, evidence, hostile

VOID = {"meta", "link", "img", "wbr"}
NAN = float("nan")


class Page(HTMLParser):
    """Reads a page; fails on elements closed in another order than opened, and on ids given twice."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        name = dict(attrs).get("id")
        assert name not in self.ids
        self.ids |= {name} if name else set()
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def html() -> str:
    """A report with all that there can be, at full size."""
    return render(evidence(samples=2000))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def small() -> dict[str, Any]:
    """Evidence of one response type and three propositions: quick to draw."""
    found = evidence(samples=20)
    found["response_types"] = {"hard_refusal": found["response_types"]["hard_refusal"]}
    found["propositions"] = {name: found["propositions"][name] for name in PROPOSITIONS[6:9]}
    found["ablation"] = found["ablation"][:3]
    return found


ALL = [
    "facts", "summary", "rewards", "ranking", "weights", "strength", "confusion", "calibration", "slices",
    "ablation",
]  # fmt: skip


def test_every_section_stands_in_the_contents(page: Page) -> None:
    assert [h["id"] for h in page.all("h2")] == ALL
    assert [a["href"] for a in page.all("a")] == [f"#{anchor}" for anchor in ALL]


def test_page_needs_nothing_else(html: str, page: Page) -> None:
    assert "http" not in html
    assert not page.all("script")
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            target = attributes.get(name) or "#"
            assert target == "data:," or target[1:] in page.ids | {""}, attributes
        assert "url(" not in (attributes.get("style") or "")
        clip = attributes.get("clip-path")
        assert not clip or clip[len("url(#") : -1] in page.ids


def test_figures_are_captioned_and_told_in_words(page: Page) -> None:
    assert len(page.all("figcaption")) == len(page.all("figure")) == 4 + 1 + 1 + 4 + 1 + 1 + 1
    assert page.all("svg")
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert svg["aria-label"]
    labels = " ".join(str(svg["aria-label"]) for svg in page.all("svg"))
    assert "base reward 0.700 (0.680 to 0.720); RBR alone 0.040 (0.028 to 0.052)" in labels
    assert "ideal 412 as ideal, 30 as minimum_acceptable" in labels


def test_tables_say_what_their_cells_are(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) == 6
    assert {th["scope"] for th in page.all("th")} == {"col", "row"}
    assert "0.700 (0.680 to 0.720)" in page.text
    assert "-7.10 to 6.20" in page.text


def test_text_of_figures_stays_text(page: Page) -> None:
    texts = {text.strip() for text in page.texts}
    assert {"p:apology", "class:ideal", "ranking error", "412", "93%"} <= texts


def test_slices_that_differ_come_first_and_say_so(page: Page) -> None:
    flags = [tr.get("class") for tr in page.all("tr") if tr.get("class")]
    assert flags == ["flagged"] * 2
    cells = [text for text in page.texts if text in ("differs", "no")]
    assert cells == ["differs"] * 2 + ["no"] * 6


def test_slices_without_a_test_or_far_from_chance() -> None:
    tests = [{"column": "a", "value": "b", "n": 3, "p": None}, {"column": "a", "p": 1e-9, "differs": True}]
    text = Page(render({"slices": {"correction": "bh", "level": 0.05, "tests": tests}})).text
    assert "not tested" in text
    assert "< 0.001" in text
    assert "Benjamini-Hochberg" in text


@pytest.mark.parametrize("key", ["facts", "propositions", "slices", "ablation"])
def test_sections_without_data_are_left_out(key: str) -> None:
    found = small()
    section = "calibration" if key == "propositions" else key
    for gone in ({**found, key: {}}, {k: v for k, v in found.items() if k != key}):
        assert [h["id"] for h in Page(render(gone)).all("h2")] == [name for name in ALL if name != section]


@pytest.mark.parametrize(
    ("key", "section"),
    [("rewards", "rewards"), ("weights", "weights"), ("strength", "strength"), ("confusion", "confusion")],
)
def test_figures_without_data_are_left_out(key: str, section: str) -> None:
    found = small()
    del found["response_types"]["hard_refusal"][key]
    assert [h["id"] for h in Page(render(found)).all("h2")] == [name for name in ALL if name != section]


def test_nothing_known_says_so() -> None:
    assert "holds nothing to show" in Page(render({})).text
    assert not Page(render({"response_types": {"comply": None}})).all("h2")


def test_a_type_without_pairs_shows_dashes_not_numbers() -> None:
    found = small()
    found["response_types"]["hard_refusal"]["held_out"] = {"prompts": 0, "pairs": 0, "ranking_error": None}
    found["response_types"]["hard_refusal"]["rewards"] = {"ideal": {"base": [], "rbr": [], "total": []}}
    page = Page(render(found))
    assert not {"ranking", "rewards"} & page.ids
    assert page.texts.count("–") >= 4


def test_without_a_base_reward_only_the_rbr_has_a_histogram() -> None:
    found = small()
    for samples in found["response_types"]["hard_refusal"]["rewards"].values():
        samples["base"] = [0.0] * len(samples["base"])
    alternatives = [svg["aria-label"] or "" for svg in Page(render(found)).all("svg")]
    assert [text[: text.index(".")] for text in alternatives if text.startswith("Histogram")] == [
        "Histogram, hard_refusal, RBR alone"
    ]


def test_rare_propositions_are_in_the_table_only() -> None:
    found = small()
    found["propositions"]["refusal_reason"] = {**found["propositions"][PROPOSITIONS[6]], "positives": 14}
    page = Page(render(found))
    drawn = [svg["aria-label"] or "" for svg in page.all("svg")]
    assert sum(text.startswith("Calibration of") for text in drawn) == 3
    assert not any(text.startswith("Calibration of refusal_reason") for text in drawn)
    assert "refusal_reason" in page.text


def test_text_from_data_is_text_only() -> None:
    found = hostile(small())
    page = Page(render(found))
    assert not page.all("script")
    assert not page.all("img")
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "<script>alert(1)</script>" in page.text
    assert not set("\x00\u202e\ud800") & set(page.text)
    render(found).encode()
    assert HOSTILE[:20] in page.text


def test_equal_evidence_makes_equal_pages_whatever_the_users_plot_settings() -> None:
    first = render(small())
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path"}):
        assert render(small()) == first
        assert mpl.rcParams["font.size"] == 30


def test_full_size_stays_below_a_megabyte_and_a_half(html: str) -> None:
    assert len(html.encode()) < 1_500_000


def test_amount_of_samples_does_not_grow_the_page() -> None:
    few, many = small(), small()
    for samples in many["response_types"]["hard_refusal"]["rewards"].values():
        samples.update({part: values * 50 for part, values in samples.items()})
    assert len(render(many)) < len(render(few)) * 1.02


def test_equal_rewards_still_make_a_histogram() -> None:
    found = small()
    found["response_types"]["hard_refusal"]["rewards"] = {
        "ideal": {"base": [2.0], "rbr": [2.0], "total": [2.0]}
    }
    assert "rewards" in Page(render(found)).ids


def pruned(found: Any, draw: Callable[[st.SearchStrategy[int]], int]) -> Any:
    """The evidence with some parts gone, None, empty or not a number."""
    fate = draw(st.integers(0, 24))
    if fate == 0:
        return None
    if isinstance(found, dict):
        return {} if fate == 1 else {k: pruned(v, draw) for k, v in found.items() if draw(st.integers(0, 24))}
    if isinstance(found, list):
        return [] if fate == 1 else [pruned(part, draw) for part in found]
    if isinstance(found, float):
        return (NAN, float("inf"), 0.0, -found, found * 1e6)[fate - 1] if 0 < fate < 6 else found
    return 0 if fate == 1 and isinstance(found, int) else found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_partial_evidence_never_fails(data: st.DataObject) -> None:
    found = small()
    for kind in found["response_types"].values():
        for samples in kind["rewards"].values():
            samples.update({part: values[:3] for part, values in samples.items()})
    words = Page(render(pruned(found, data.draw))).text.split()
    assert not {"nan", "inf", "None"} & set(words)


def test_known_leaves_out_what_is_not_known() -> None:
    found = {
        "a": NAN,
        "b": [None, 1.0, float("-inf")],
        "c": {},
        "d": {"e": None},
        "f": 0,
        "g": False,
        "h": "x\ny",
    }
    before = deepcopy(found)
    assert known(found) == {"b": [1.0], "f": 0, "g": False, "h": "x y"}
    assert str(found) == str(before)


def test_intervals_without_bounds_or_value() -> None:
    assert interval({"value": 0.0}) == Interval(0.0, 0.0, 0.0)
    assert interval({"low": 0.1, "high": 0.2}) is None
    assert interval(None) is None


def test_numbers_are_short() -> None:
    assert number(None) == "–"
    assert number(0.12345) == "0.123"
    assert number(-7.1, 2) == "-7.10"
    assert number(1.5e300) == "1.5e+300"


@pytest.mark.parametrize(
    ("errors", "scale"), [([0.0, 0.7, 0.005], "symlog"), ([0.1, 0.3], "linear"), ([0], "linear")]
)
def test_error_axes_begin_at_zero(errors: list[float], scale: str) -> None:
    with figures.style():
        _, axes = figures.canvas(100)
        figures.error_axis(axes, "x", errors)
        low, high = axes.get_xlim()
        assert low == 0
        assert high > max(errors)
        assert axes.get_xscale() == scale
        assert "0" in [label.get_text() for label in axes.get_xticklabels()] or scale == "linear"


def test_long_names_keep_both_ends() -> None:
    assert figures.short("p:" + "a" * 40 + "_end", 12) == "p:aaa…a_end"
    assert figures.short("p:apology") == "p:apology"


def test_serving_does_not_load_the_figures_library() -> None:
    code = "import sys, rbr_service.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_type_has_its_row_of_histograms(page: Page) -> None:
    drawn = [(svg["aria-label"] or "").split(".")[0] for svg in page.all("svg")]
    parts = ("base reward", "RBR alone", "base + RBR")
    assert drawn[:12] == [f"Histogram, {name}, {part}" for name in TYPES for part in parts]
