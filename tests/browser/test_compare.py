"""Two score files beside each other, and the index of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segaware.data import photograph
from segaware.nn import Embedding
from segaware.showcase.explore.folder import find_sources, write_index, write_pages
from segaware.showcase.explore.inputs import open_photograph, open_sketches, open_truth, packaged_sketch
from segaware.showcase.explore.page import write_page
from tests.browser.conftest import settled, until


def test_two_scores_are_compared(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    shown = open_photograph(photograph())
    truth = (np.array(Image.fromarray(packaged_sketch().given[1]).resize((451, 300))) > 127).astype(np.uint8)
    Image.fromarray(truth).save(tmp_path / "truth.png")
    for name, shift in (("a", 0), ("b", 12)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.roll(truth, shift, 0)).save(tmp_path / name / "cat.png")
    sketches = open_sketches([tmp_path / name / "cat.png" for name in "ab"], shown.pixels)
    write_page(
        tmp_path / "page.html", shown, {"fast": fast}, sketches, open_truth(tmp_path / "truth.png", shown.pixels)
    )
    page = visit(tmp_path / "page.html")
    settled(page)
    assert page.locator("#left-side option").all_text_contents() == [
        f"{name}/cat.png, {when}" for name in "ab" for when in ("given", "sharpened")
    ]
    captions = [f"{name}/cat.png: percent, before → after" for name in "ab"]
    assert page.locator("#scores caption").all_text_contents() == captions
    first, second = (page.locator("#scores table").nth(n).locator("tbody tr").all_inner_texts() for n in (0, 1))
    assert first[0].startswith("class 0\t100.0 → ") and first[0].split("\t")[2].startswith("100.0 → ")
    for labels in ("before", "after"):
        found = np.array(page.evaluate(f"Array.from(results[1].{labels})")).reshape(truth.shape)
        iou = 100 * ((found == 1) & (truth == 1)).sum() / ((found == 1) | (truth == 1)).sum()
        assert f"{iou:.1f}" in second[1].split("\t")[1]
    page.check("#errors")
    left, right = (page.evaluate(COUNT_RED, side) for side in ("left", "right"))
    assert left < right
    page.select_option("#left-side", "2")
    assert page.evaluate(COUNT_RED, "left") > left
    # Apart, the second photograph is looked at and drawn on as the first one is.
    page.check("#apart")
    page.locator("#twin").scroll_into_view_if_needed()
    boxes = [page.locator(f"#{pane}").bounding_box() for pane in ("stage", "twin")]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] and page.locator("#twin #right").count() == 1
    page.mouse.move(boxes[1]["x"] + boxes[1]["width"] / 2, boxes[1]["y"] + boxes[1]["height"] / 4)
    settled(page)
    row, column = page.evaluate("look.pixel")
    assert abs(row - 75) <= 1 and abs(column - 225) <= 1
    page.uncheck("#apart")
    assert page.locator("#stage #right").count() == 1
    page.set_input_files("#open-rival", tmp_path / "a" / "cat.png")
    until(page, "rival.base.name === 'cat.png'")
    settled(page)
    page.click("#clear")
    settled(page)
    assert page.evaluate("!rival && !results.length") and not page.locator("#sides").is_visible()


# Pixels of errors in a layer; a copy is read, for to read a canvas itself twice makes Chromium warn.
COUNT_RED = """(id) => {
  const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
  context.drawImage($(id), 0, 0);
  const {data} = context.getImageData(0, 0, width, height);
  const pixels = Array.from({length: width * height}, (_, i) => data.subarray(4 * i, 4 * i + 2));
  return pixels.filter(([red, green]) => red > 200 && green < 60).length;
}"""


def test_an_index_leads_to_its_pages(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    for name in ("a & <b>#1?", "c"):
        pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    sources = find_sources(tmp_path / "photos", [], None, tmp_path)
    (tmp_path / "pages").mkdir()
    entries = list(write_pages(sources, {"fast": fast}, open_sketches))
    write_index(tmp_path / "index.html", "photos", entries, {}, "nothing")
    page = visit(tmp_path / "index.html", ready="h1")
    page.click("text=a & <b>#1?.png")
    page.wait_for_selector("body[data-ready]")
    assert page.locator("h1").text_content() == "a & <b>#1?.png"
