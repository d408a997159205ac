"""What every view must be, however it is filled: accessible, silent, and never wider than its window."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from .conftest import Opened

# Elements that reach beyond the window, those aside that scroll in a box of their own or are read aloud only.
BEYOND = """() => [...document.querySelectorAll('body *')]
    .filter(one => !one.closest('.scroll, .skip, svg') && one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML.slice(0, 99))"""


def serious(page: Page) -> list[str]:
    """axe-core's violations of impact serious or critical, each with the first element at fault."""
    return [
        f"{found['id']}: {found['help']}: {found['nodes'][0]['html'][:200]} ({len(found['nodes'])})"
        for found in Axe().run(page).response["violations"]
        if found["impact"] in ("serious", "critical")
    ]


def assert_sound(opened: Opened, origin: str) -> None:
    """No serious violation, no complaint of the browser, nothing asked elsewhere, nothing out of sight."""
    assert serious(opened.page) == []
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith((origin, "data:"))] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.page.evaluate(BEYOND) == []
