"""Debian's chromium without a window, pages that note what they ask for and complain about, and services."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from rbr_service.report import render
from tests.e2e.processes import SERVE, Service, service
from tests.evidence import evidence, hostile

PHONE, DESKTOP = 390, 1280
Scheme = Literal["light", "dark"]

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A page in the browser, the addresses it asked for, and its errors and dialogs."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class OpenWindow(Protocol):
    """Opens an address in a window so many CSS pixels wide."""

    def __call__(self, address: str, width: int = DESKTOP, scheme: Scheme = "light") -> Opened: ...


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that Debian's package `chromium` installs."""
    found = shutil.which("chromium")
    assert found, "no chromium on the PATH: apt-get install chromium, or make test-browser as root"
    expect.set_options(timeout=60_000)  # milliseconds: nothing here hangs on how busy the machine is
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with chromium() as browser:
        yield browser


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
def open_window(browser: Browser) -> Iterator[OpenWindow]:
    """Windows of their own, without cookies; closed with the test."""
    with ExitStack() as stack:

        def opened(address: str, width: int = DESKTOP, scheme: Scheme = "light") -> Opened:
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme,
                permissions=["clipboard-read", "clipboard-write"],
            )  # fmt: skip
            stack.callback(context.close)
            context.set_default_timeout(60_000)  # milliseconds
            found = Opened(context.new_page())
            found.page.on("request", lambda request: found.requests.append(request.url))
            found.page.on("console", lambda message: found.complaints.append(message.text))
            found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
            found.page.on("dialog", dismissed(found.complaints))
            found.page.goto(address)
            return found

        yield opened


@pytest.fixture
def open_report(open_window: OpenWindow, reports: dict[str, Path]) -> Callable[[str, int], Opened]:
    """Opens a report by its name, in a window so many CSS pixels wide."""
    return lambda name, width: open_window(reports[name].as_uri(), width)


@pytest.fixture(scope="session")
def served() -> Iterator[Service]:
    """The service as `make serve` runs it."""
    with service(SERVE) as running:
        yield running
