"""The report as a reader sees it: on a phone, on a desktop, on paper."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import DESKTOP, PHONE, Opened
from tests.browser.looks import DRAWINGS, crowded

Open = Callable[[str, int], Opened]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", ["full", "hostile"])
def test_page_loads_alone_in_silence_and_never_scrolls_sideways(
    open_report: Open, reports: dict[str, Path], name: str, width: int
) -> None:
    opened = open_report(name, width)
    assert opened.complaints == []
    assert opened.requests == [reports[name].as_uri()]
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = """() => [...document.querySelectorAll('body *')]
        .filter(one => !one.closest('.scroll, svg') && one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => one.outerHTML.slice(0, 99))"""
    assert page.evaluate(beyond) == []


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", ["full", "hostile"])
def test_drawings_are_seen_and_their_text_is_whole_and_legible(
    open_report: Open, name: str, width: int
) -> None:
    drawings = open_report(name, width).page.evaluate(DRAWINGS)
    assert len(drawings) > 30
    for drawing in drawings:
        assert drawing["width"] > 100, drawing
        assert drawing["height"] > 80, drawing
        assert drawing["texts"], drawing
        for text in drawing["texts"]:
            place = (drawing["name"], text)
            assert text["size"] >= 9, place
            assert -2 <= text["left"] <= text["right"] <= drawing["width"] + 2, place
            assert -2 <= text["top"] <= text["bottom"] <= drawing["height"] + 2, place


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_labels_do_not_cover_each_other(open_report: Open, width: int) -> None:
    assert crowded(open_report("full", width).page) == []


def test_phone_has_one_column_and_desktop_several(open_report: Open) -> None:
    columns = "() => getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    assert open_report("full", PHONE).page.evaluate(columns) == 1
    assert open_report("full", DESKTOP).page.evaluate(columns) == 3


def test_wide_tables_scroll_in_their_own_box(open_report: Open) -> None:
    page = open_report("full", PHONE).page
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])"
    )
    assert any(inner > outer for inner, outer in boxes)
    assert all(outer <= PHONE for _, outer in boxes)


def test_contents_lead_to_their_sections(open_report: Open) -> None:
    page = open_report("full", PHONE).page
    page.get_by_role("navigation").get_by_role("link", name="Slices").click()
    assert page.url.endswith("#slices")
    assert abs(page.locator("#slices").bounding_box()["y"]) < 800  # type: ignore[index]


def test_screen_readers_find_figures_and_tables_by_name(open_report: Open) -> None:
    page = open_report("full", DESKTOP).page
    assert page.get_by_role("img", name="Ranking errors, hard_refusal: base reward 0.700").count() == 1
    assert page.get_by_role("rowheader", name="hard_refusal").count() >= 2
    assert page.get_by_role("columnheader", name="rank correlation").count() == 1


@pytest.mark.parametrize("name", ["full", "hostile"])
def test_paper_gets_pages_and_keeps_figures_whole(open_report: Open, name: str) -> None:
    page = open_report(name, DESKTOP).page
    paper = page.pdf(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "15mm"))  # type: ignore[arg-type]
    assert paper.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 40
    page.emulate_media(media="print")
    assert page.evaluate("() => getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
