"""A page that embeds other photographs itself: with onnxruntime-web, and with a stand-in where that is not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segaware
from segaware.data import photograph, read_image
from segaware.nn import Embedding
from segaware.showcase.explore.inputs import open_photograph
from segaware.showcase.explore.model import Model, open_model
from segaware.showcase.explore.page import embed, write_page
from tests.browser.conftest import result, seen_pixels, settled, until

# `make test-browser` installs it there, if it has npm.
RUNTIME = Path(os.environ.get("ONNXRUNTIME_WEB", ".venv/onnxruntime-web/node_modules/onnxruntime-web/dist"))
# The interface of onnxruntime-web that the page uses; its network is that of colours, ten times each, at stride 2.
STAND_IN = """
var ort = {env: {wasm: {}}, InferenceSession: {}};
ort.Tensor = class { constructor(type, data, dims) { Object.assign(this, {type, data, dims}); } };
ort.InferenceSession.create = async (onnx) => ({
  inputNames: ["image"], outputNames: ["embedding"], run: async ({image}) => {
  const [, , height, width] = image.dims;
  if (!ort.env.wasm.wasmBinary.byteLength || onnx.length !== 4) throw new Error("is not what was given");
  const data = [];
  for (let c = 0; c < 3; c++) for (let y = 0; y < height; y += 2) for (let x = 0; x < width; x += 2) {
    data.push(10 * image.data[(c * height + y) * width + x]);
  }
  return {embedding: {data: Float32Array.from(data)}};
}});
"""


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another photograph, of other and odd sides."""
    Image.fromarray(read_image(photograph())[20:251, 90:401]).save(tmp_path / "other.png")
    return tmp_path / "other.png"


def draw(page: Any) -> None:
    """Draw an outline by the keyboard."""
    page.locator("#stage").focus()
    keys = ["o", "Space", *["Shift+ArrowUp"] * 3, "Space", *["Shift+ArrowRight"] * 5, "Space", *["Shift+ArrowDown"] * 5]
    for key in [*keys, "Enter"]:
        page.keyboard.press(key)
    settled(page)


def shown(page: Any, file: Path) -> None:
    page.set_input_files("#open-photograph", file)
    until(page, f"$('status').textContent === '{file.name} is shown.'")
    settled(page)


def test_a_stand_in_embeds_another_photograph(visit: Any, fast: Embedding, other: Path, tmp_path: Path) -> None:
    model = Model(b"onnx", STAND_IN.encode(), b"export {};", b"wasm")
    write_page(tmp_path / "page.html", open_photograph(photograph()), {"fast": fast}, model=model)
    page = visit(tmp_path / "page.html")
    draw(page)
    assert page.evaluate("results.length") == 1
    shown(page, other)
    assert page.evaluate("[height, width]") == [231, 311] and page.locator("h1").text_content() == "other.png"
    assert (seen_pixels(page) == read_image(other)).all() and page.evaluate("sketch.isEmpty && !results.length")
    page.locator("#hardness").fill("1.76")  # that of colours
    page.mouse.move(0, 0)
    page.evaluate("look.show([100, 120])")
    settled(page)
    learned, color = page.evaluate("look.shown.values.map((v) => Array.from(v))")
    np.testing.assert_allclose(learned, color, atol=1e-5)
    draw(page)
    assert 0.001 < (result(page) != result(page, "before")).mean() < 0.3
    page.evaluate(DROP)
    until(page, "$('status').textContent === 'n.png is shown.'")
    assert page.evaluate("[height, width]") == [7, 9]


# A photograph of 9x7 pixels.
DROP = """async () => {
  const canvas = new OffscreenCanvas(9, 7);
  canvas.getContext("2d").fillRect(2, 2, 4, 4);
  const files = new DataTransfer();
  files.items.add(new File([await canvas.convertToBlob()], "n.png", {type: "image/png"}));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: files}));
}"""


def test_onnxruntime_embeds_as_torch_does(visit: Any, fast: Embedding, other: Path, tmp_path: Path) -> None:
    if not RUNTIME.is_dir():
        pytest.skip(f"wants onnxruntime-web in {RUNTIME}, or where ONNXRUNTIME_WEB says")
    model = open_model(RUNTIME, fast)
    write_page(tmp_path / "page.html", open_photograph(photograph()), {"fast": fast}, model=model)
    page = visit(tmp_path / "page.html")
    shown(page, other)
    wanted = embed(fast, read_image(other)).numpy()
    found = np.array(page.evaluate("Array.from(photo.embeddings[0].numbers)"), np.float32).reshape(wanted.shape)
    assert np.abs(found - wanted).max() < 1e-4
    draw(page)
    labels = np.append(page.evaluate("sketch.classes"), [255] * 254)[result(page, "before")]
    with segaware.use_backend("reference"):
        refined = segaware.refine(read_image(other), labels, kind="labels", strength=1, stride=2, iterations=8)
    assert (refined != labels).mean() > 0.001 and (refined != result(page)).sum() <= 1  # a tie


def test_without_a_model_a_photograph_is_refused(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", open_photograph(photograph()), {"fast": fast})
    page = visit(tmp_path / "page.html")
    assert not page.locator("#photograph-choice").is_visible()
    page.evaluate("""() => {
      const files = new DataTransfer();
      files.items.add(new File(["x"], "b.jpg", {type: "image/jpeg"}));
      document.dispatchEvent(new DragEvent("drop", {dataTransfer: files}));
    }""")
    page.wait_for_selector("#status.problem")
    assert "b.jpg is a photograph, and this page has no model" in page.locator("#status").text_content()


def test_the_runtime_must_be_there(fast: Embedding, tmp_path: Path) -> None:
    (tmp_path / "ort.wasm.min.js").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no ort-wasm-simd-threaded.mjs and no ort-wasm-simd-threaded.wasm"):
        open_model(tmp_path, fast)
