"""Debian's chromium without a window, and pages that note what they ask for and complain about."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from rbr_service.report import render
from tests.evidence import evidence, hostile

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A report in the browser, the addresses it asked for, and its errors and dialogs."""

    page: Page
    file: Path
    requests: list[str]
    complaints: list[str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser that Debian's package `chromium` installs."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium on the PATH: apt-get install chromium, or make test-browser as root"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports as files: `full` size, and the same with `hostile` names."""
    folder = tmp_path_factory.mktemp("reports")
    made = {"full": evidence(samples=2000), "hostile": hostile(evidence(samples=20))}
    for name, found in made.items():
        (folder / f"{name}.html").write_text(render(found))
    return {name: folder / f"{name}.html" for name in made}


def dismissed(complaints: list[str]) -> Callable[[Dialog], None]:
    """Notes what a dialog says and closes it."""

    def note(dialog: Dialog) -> None:
        complaints.append(dialog.message)
        dialog.dismiss()

    return note


@pytest.fixture
def open_report(browser: Browser, reports: dict[str, Path]) -> Iterator[Callable[[str, int], Opened]]:
    """Opens a report in a window so many CSS pixels wide."""
    contexts = []

    def opened(name: str, width: int) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        found = Opened(context.new_page(), reports[name], [], [])
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", dismissed(found.complaints))
        found.page.goto(reports[name].as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()
