"""Draws docs/figures/explore.png: `python -m docs.explore_figure`, with Playwright and the system's Chromium."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from segaware.data import photograph
from segaware.nn import load_embedding
from segaware.showcase.explore.inputs import open_photograph, packaged_sketch
from segaware.showcase.explore.page import write_page

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as session:
        path = Path(folder) / "cat.html"
        write_page(path, open_photograph(photograph()), {"fast": load_embedding()}, [packaged_sketch()])
        browser = session.chromium.launch(executable_path=shutil.which("chromium"), chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 1180, "height": 960}, color_scheme="light")
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        page.check("#passes")
        box = page.locator("#stage").bounding_box()
        page.mouse.move(box["x"] + 0.77 * box["width"], box["y"] + 0.45 * box["height"])
        page.wait_for_timeout(2000)  # what is drawn comes from workers
        page.evaluate("tell('')")  # the time that this machine took
        page.screenshot(path=Path(__file__).parent / "figures/explore.png")
        browser.close()
