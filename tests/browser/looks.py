"""What every view must be, however it is filled: accessible, silent, and never wider than its window."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from .conftest import Opened

# Elements that reach beyond the window, those aside that scroll in a box of their own or are read aloud only.
BEYOND = """() => [...document.querySelectorAll('body *')]
    .filter(one => !one.closest('.scroll, .skip, svg') && one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML.slice(0, 99))"""


# For each drawing: its size, and each text in it with its box, tilt and the size its letters appear in.
DRAWINGS = """() => [...document.querySelectorAll('svg')].map(svg => {
  const frame = svg.getBoundingClientRect();
  return {
    name: (svg.closest('[aria-label]')?.getAttribute('aria-label') ?? '').slice(0, 60),
    width: frame.width, height: frame.height,
    texts: [...svg.querySelectorAll('text')].map(text => {
      const box = text.getBoundingClientRect(), matrix = text.getScreenCTM();
      return {
        text: text.textContent, tilted: Math.abs(matrix.b) > 0.01,
        left: box.left - frame.left, right: box.right - frame.left,
        top: box.top - frame.top, bottom: box.bottom - frame.top,
        size: parseFloat(getComputedStyle(text).fontSize) * Math.hypot(matrix.a, matrix.b),
      };
    }),
  };
})"""


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


def crowded(page: Page) -> list[tuple[str, str, str]]:
    """(drawing, text, text) where two labels cover each other; tilted ones aside."""
    found = []
    for drawing in page.evaluate(DRAWINGS):
        texts = [text for text in drawing["texts"] if not text["tilted"]]
        for i, one in enumerate(texts):
            for other in texts[i + 1 :]:
                across = min(one["right"], other["right"]) - max(one["left"], other["left"])
                down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
                # A line's box is taller than its letters: boxes of neighbouring lines may touch.
                if across > 1 and down > 4:
                    found.append((drawing["name"], one["text"], other["text"]))
    return found
