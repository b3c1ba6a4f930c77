"""The pages of `segaware compare`, `segaware refine --report` and the demo, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segaware.viz import Report
from tests.browser.conftest import LOW_CONTRAST


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    report = Report("Title", "Introduction.")
    black, white = np.zeros((200, 300, 3), np.uint8), np.full((200, 300, 3), 255, np.uint8)
    report.before_after(black, white, "first")
    report.table(["name", "IoU"], [["a", 0.5]], "Table.")
    report.choices([("second", 1, black, white), ("third", 2, black, white)], "rejected.json")
    report.write(tmp_path / "report.html")
    return tmp_path / "report.html"


def test_a_slider_moves_the_line_of_its_own_pair(visit: Any, page_file: Path) -> None:
    page = visit(page_file, ready="h1")
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("Home")
    shown = page.locator(".stack .left").evaluate_all("(all) => all.map((e) => getComputedStyle(e).clipPath)")
    assert shown[0] == shown[2] == "inset(0px 50% 0px 0px)" and shown[1] == "inset(0px 100% 0px 0px)"
    boxes = page.locator(".stack img").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().toJSON())")
    assert boxes[0] == boxes[1]


def test_what_is_not_accepted_is_saved(visit: Any, page_file: Path, tmp_path: Path) -> None:
    page = visit(page_file, ready="h1")
    page.get_by_role("checkbox").nth(1).uncheck()
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "rejected.json")
    assert (tmp_path / "rejected.json").read_text() == "[2]"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_the_screen_and_has_contrast(visit: Any, page_file: Path, scheme: str, width: int) -> None:
    page = visit(page_file, ready="h1", viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LOW_CONTRAST) == []
