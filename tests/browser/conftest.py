"""A page of `segaware explore` in a headless Chromium; without one, or without Playwright, these tests are skipped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segaware.nn import Embedding, load_embedding

BROWSERS = "chromium", "chromium-browser", "google-chrome"
ARGUMENTS = ["--disable-gpu", "--disable-dev-shm-usage"]  # as machines for tests have neither


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser of the system's, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="wants playwright: pip install playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("wants Chromium: apt-get install chromium")
    sandboxed = hasattr(os, "geteuid") and os.geteuid() != 0  # Chromium has no sandbox for root
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=program, chromium_sandbox=sandboxed, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def fast() -> Embedding:
    """The embedding that pages have if none is named."""
    return load_embedding("fast")


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page file, and wait until it can be used; nothing may be logged or fail until the test ends."""
    problems: list[str] = []
    contexts = []

    def open_page(path: Path, ready: str = "body[data-ready]", **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        requests: list[str] = []
        page.goto(path.as_uri())
        page.wait_for_selector(ready, timeout=120_000)
        page.requests = requests
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def settled(page: Any) -> None:
    """Wait until everything that was drawn has been sharpened."""
    until(page, "!sharpening && !look.busy")


def until(page: Any, condition: str) -> None:
    """Wait until an expression is true; Playwright's own way is forbidden by the page's policy."""
    end = time.monotonic() + 120
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def seen_pixels(page: Any) -> np.ndarray:
    """Return the photograph as the page has it, uint8 (H, W, 3)."""
    values = page.evaluate("Array.from(look.photograph.getContext('2d').getImageData(0, 0, width, height).data)")
    height, width = page.evaluate("[height, width]")
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def result(page: Any, which: str = "after") -> np.ndarray:
    """Return the indices of classes before or after the filter, uint8 (H, W)."""
    height, width = page.evaluate("[height, width]")
    return np.array(page.evaluate(f"Array.from(results[0].{which})"), np.uint8).reshape(height, width)


# Texts with less contrast to what is behind them than 4.5, the AA of WCAG.
LOW_CONTRAST = """() => {
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (color) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * linear(color[i] / 255), 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
  };
  const speaks = (e) => Array.from(e.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
  const shown = Array.from(document.querySelectorAll("body *:not(script)")).filter((e) => speaks(e) && !e.disabled);
  return shown.filter((e) => e.checkVisibility()).map((e) => {
    const [a, b] = [rgb(getComputedStyle(e).color), behind(e)].map(light).sort((x, y) => y - x);
    return [e.textContent.trim().slice(0, 20), (a + 0.05) / (b + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
}"""
