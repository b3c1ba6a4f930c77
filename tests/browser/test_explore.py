"""The page of `segaware explore` as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

import segaware
from segaware.data import photograph, photograph_logits, read_image, read_label
from segaware.nn import Embedding
from segaware.refining import Kind
from segaware.showcase.explore.inputs import (
    Photograph,
    open_photograph,
    open_sketch,
    open_truth,
    packaged_sketch,
)
from segaware.showcase.explore.page import write_page
from tests.browser.conftest import LOW_CONTRAST, result, settled, until

OUTLINE = ((40, 290), (30, 90), (60, 10), (370, 15), (350, 120), (330, 290))  # of the cat's head, column and row


@pytest.fixture(scope="module")
def empty(fast: Embedding, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of the packaged photograph, with nothing drawn."""
    path = tmp_path_factory.mktemp("page") / "empty.html"
    write_page(path, open_photograph(photograph()), {"fast": fast})
    return path


def drag(page: Any, *points: tuple[float, float]) -> None:
    """Draw through pixels (column, row) of the photograph."""
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    height, width = page.evaluate("[height, width]")
    places = [(box["x"] + x * box["width"] / width, box["y"] + y * box["height"] / height) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
    settled(page)


def press(page: Any, *keys: str) -> None:
    """Press keys on the photograph."""
    page.locator("#stage").focus()
    for key in keys:
        page.keyboard.press(key)
    settled(page)


def saved(page: Any, button: str, folder: Path) -> Path:
    """Press a button, and return the file that it saves."""
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_an_outline_is_sharpened_and_taken_home(
    visit: Any, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit(empty)
    assert page.locator("#save-mask").is_disabled()
    page.check("input[value=outline]", force=True)
    drag(page, *OUTLINE)
    before, after = result(page, "before"), result(page)
    assert 0.5 < before.mean() < 0.9 and 0.02 < (before != after).mean() < 0.3
    labels = read_label(saved(page, "#save-mask", tmp_path), 2)
    assert (labels == after).all()
    cutout = np.array(Image.open(saved(page, "#save-cutout", tmp_path)))
    assert cutout.shape == (300, 451, 4) and ((cutout[..., 3] > 0) == (after > 0)).all()
    assert np.abs(cutout[..., :3].astype(int) - read_image(photograph())).mean() < 4  # through a JPEG
    # The lines that the page shows give the same labels, of the drawn ones that it saves.
    assert saved(page, "#save-input", tmp_path).name == "chelsea_drawn.png"
    assert (read_label(tmp_path / "chelsea_drawn.png", 2) == before).all()
    Path(tmp_path / "chelsea.jpg").write_bytes(photograph().read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with segaware.use_backend("reference"):
        exec(page.locator("#python").text_content(), names)
    assert (names["refined"] != after).mean() < 0.003  # the page has int8 embeddings, and colours of a JPEG


def test_undo_redo_erase_and_clear(visit: Any, empty: Path) -> None:
    page = visit(empty)
    drag(page, (100, 100), (200, 100))  # looks
    assert page.evaluate("sketch.isEmpty && !results.length")
    page.check("input[value=brush]", force=True)
    drag(page, (100, 100), (200, 100))
    one = result(page, "before")
    assert one[100, 150] == 1 and one[0, 0] == 255 and 15 * 90 < (one == 1).sum() < 15 * 130
    assert (result(page) == 1).sum() > (one == 1).sum()  # pixels in reach take it
    press(page, "0")
    drag(page, (20, 20), (20, 100))
    assert result(page, "before")[60, 20] == 0
    page.click("#undo")
    settled(page)
    assert (result(page, "before") == one).all()
    page.keyboard.press("Control+y")
    settled(page)
    assert result(page, "before")[60, 20] == 0
    page.check("input[value=eraser]", force=True)
    drag(page, (150, 100), (151, 100))
    assert result(page, "before")[100, 150] == 255
    page.click("#clear")
    settled(page)
    assert page.evaluate("sketch.isEmpty")


def test_keys_alone_draw(visit: Any, empty: Path) -> None:
    page = visit(empty)
    press(page, "b", "Space", *["Shift+ArrowRight"] * 3, "Space", "ArrowDown")
    assert page.evaluate("look.pixel") == [152, 285]
    drawn = result(page, "before")
    assert (drawn[150, 226:285] == 1).all() and drawn[150, 300] == 255
    assert page.locator("#status").text_content() != ""
    press(page, "]", "o", "Space", "Shift+ArrowUp", "Space", "Shift+ArrowLeft", "Space", "Enter")
    assert (result(page, "before") != 255).all()  # inside, and outside of the outline
    assert page.locator("#size").input_value() == "19"


def test_looking_draws_window_masks_and_profile(visit: Any, empty: Path) -> None:
    page = visit(empty)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    settled(page)
    values = [np.array(v).reshape(9, 9) for v in page.evaluate("look.shown.values.map((v) => Array.from(v))")]
    assert all(v[4, 4] == 1 and 0 < v.mean() < 1 for v in values) and (values[0] != values[1]).any()
    assert page.locator("#learned").evaluate("c => [c.width, c.height]") == [9, 9]
    page.check("#passes")
    until(page, "document.getElementById('learned').width === 65")  # 8 times 4 in each direction, and one
    page.locator("#kernel-size").fill("5")
    until(page, "document.getElementById('learned').width === 33")
    page.check("input[value=profile]", force=True)
    drag(page, (100, 100), (200, 150))
    assert page.locator("#chart polyline").count() == 2


def test_truth_is_scored(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    shown = open_photograph(photograph())
    sketch = packaged_sketch()
    cat = np.array(Image.fromarray(sketch.given[1]).resize((451, 300))) > 127
    truth = np.roll(np.where(cat, 255, 0).astype(np.uint8), 5, 0)
    Image.fromarray(truth).save(tmp_path / "truth.png")
    np.save(tmp_path / "mask.npy", cat)
    mask = open_sketch(tmp_path / "mask.npy", shown.pixels, "masks")
    assert mask.classes == [0, 1]
    write_page(tmp_path / "page.html", shown, {"fast": fast}, [mask], open_truth(tmp_path / "truth.png", shown.pixels))
    page = visit(tmp_path / "page.html")
    settled(page)
    rows = page.locator("#scores tbody tr").all_inner_texts()
    assert len(rows) == 3 and "class 0" in rows[0] and "mean" in rows[2]
    before, after = (result(page, which) for which in ("before", "after"))
    right = truth > 0
    for labels, text in zip((before, after), rows[1].split("\t")[1].split(" → "), strict=True):
        iou = 100 * ((labels == 1) & right).sum() / ((labels == 1) | right).sum()
        assert float(text) == pytest.approx(iou, abs=0.051)
    page.check("#errors")
    wrong = np.argwhere((after == 1) != right)
    row, column = wrong[len(wrong) // 2].tolist()
    red = page.evaluate(f"Array.from($('right').getContext('2d').getImageData({column}, {row}, 1, 1).data)")
    assert red[0] > 200 and red[1] < 60


def test_scores_that_are_corrected_and_truth_that_is_dropped(
    visit: Any, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "scores.npy", photograph_logits())
    page = visit(empty)
    page.set_input_files("#open", tmp_path / "scores.npy")
    until(page, "sketch.base.name === 'scores.npy' && results.length")
    settled(page)
    page.check("input[value=brush]", force=True)
    drag(page, (400, 200), (440, 280))  # into the background
    drawn = result(page, "before")
    assert drawn[240, 420] == 1
    assert saved(page, "#save-input", tmp_path).name == "chelsea_drawn.npy"
    assert np.load(tmp_path / "chelsea_drawn.npy").shape == (2, 150, 226)
    (tmp_path / "chelsea.jpg").write_bytes(photograph().read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with segaware.use_backend("reference"):
        exec(page.locator("#python").text_content(), names)
    assert (names["refined"] != result(page)).mean() < 0.003
    assert page.locator("#scores table").count() == 0
    Image.fromarray(np.where(drawn == 1, 8, 0).astype(np.uint8)).save(tmp_path / "truth.png")
    page.set_input_files("#open-truth", tmp_path / "truth.png")
    page.wait_for_selector("#scores table")
    assert page.locator("#scores tbody tr").all_inner_texts()[1].startswith("class 8\t100.0 → ")
    page.click("#clear")
    settled(page)
    page.evaluate(DROP)
    until(page, "sketch.base.name === 'mask.npy' && results.length")
    settled(page)
    assert page.evaluate("sketch.classes") == [0, 8, 1] and (result(page, "before") == 2).any()


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [("scores.npz", "b", "scores"), ("scores.npz", None, "scores"), ("labels.safetensors", "b", "labels"),
     ("probabilities.safetensors", None, "probabilities"), ("mask.npz", None, "masks")],
)  # fmt: skip
def test_the_line_of_python_reads_what_the_page_was_given(
    visit: Any, fast: Embedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str | None, kind: Kind
) -> None:
    shown = open_photograph(photograph())
    soft = segaware.refine(shown.pixels, photograph_logits(), strength=0)[[0, 8]]
    array = {
        "scores": photograph_logits(), "probabilities": torch.from_numpy(soft).softmax(0).numpy(),
        "labels": soft.argmax(0).astype(np.uint8), "masks": soft[1] > soft[0],
    }[kind]  # fmt: skip
    arrays = {"b": array} if key is None else {"a": np.zeros(3, np.float32), "b": array}
    if name.endswith(".npz"):
        np.savez(tmp_path / name, **arrays)
    else:
        safetensors.numpy.save_file(arrays, tmp_path / name)
    (tmp_path / "chelsea.jpg").write_bytes(photograph().read_bytes())
    write_page(tmp_path / "page.html", shown, {"fast": fast}, [open_sketch(tmp_path / name, shown.pixels, kind, key)])
    page = visit(tmp_path / "page.html")
    settled(page)
    assert page.is_checked("#auto") == (kind in ("scores", "probabilities"))
    assert ("strength=1" in page.locator("#python").text_content()) == (kind in ("labels", "masks"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with segaware.use_backend("reference"):
        exec(page.locator("#python").text_content(), names)
    refined = np.asarray(names["refined"])
    found = np.array(page.evaluate("sketch.classes"))[result(page)]
    assert (result(page) != result(page, "before")).mean() > 0.003
    assert (refined != found).mean() < 0.003


# A boolean array of 2x3, of which the first is true.
DROP = """() => {
  const header = "{'descr': '|b1', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117) + "\\n";
  const start = Uint8Array.from([0x93, 78, 85, 77, 80, 89, 1, 0, header.length, 0]);
  const files = new DataTransfer();
  files.items.add(new File([start, header, Uint8Array.of(1, 0, 0, 0, 0, 0)], "mask.npy"));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: files}));
}"""


def test_names_of_files_are_text(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='bad'> & </script>'\".png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    write_page(tmp_path / "page.html", Photograph(name, pixels, (40, 60)), {"fast": fast})
    page = visit(tmp_path / "page.html")
    assert page.locator("h1").text_content() == name
    assert page.locator("img").count() == 2  # the photograph, and its place beside it
    file = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(np.zeros((9, 70), np.uint8)).save(file)
    page.set_input_files("#open", file)
    page.wait_for_selector("#status.problem")
    assert page.locator("#status").text_content().startswith(f"{file.name} is 70 x 9 (width x height)")
    labels = tmp_path / "<b>labels.png"
    Image.fromarray(np.eye(40, 60, dtype=np.uint8)).save(labels)
    page.set_input_files("#open", labels)
    until(page, "sketch.base.name !== null")
    settled(page)
    assert f'segaware.data.read_label("{labels.name}", 255)' in page.locator("#python").text_content()
    assert page.locator("main b").count() == 0 and "bad" not in page.title().split("·")[1]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_labels_that_are_opened(visit: Any, empty: Path, tmp_path: Path, bits: int) -> None:
    labels = np.random.default_rng(0).integers(0, min(2**bits, 12), (300, 451)).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([i % 256 for i in range(3 * 2**bits)])
    image.save(tmp_path / "labels.png", bits=bits)
    page = visit(empty)
    page.set_input_files("#open", tmp_path / "labels.png")
    until(page, "sketch.base.name !== null")
    settled(page)
    assert (np.array(page.evaluate("sketch.classes"))[result(page, "before")] == labels).all()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("labels.png", b"no png", "is no PNG file"),
        ("photo.jpg", b"", "must be a .png of labels or a mask, or a .npy of scores"),
        ("scores.npy", b"no npy, surely", "is no .npy file"),
    ],
)
def test_files_that_are_none(visit: Any, empty: Path, tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    page = visit(empty)
    page.set_input_files("#open", tmp_path / name)
    page.wait_for_selector("#status.problem")
    assert page.locator("#status").text_content() == f"{name} {problem}."


def test_size_and_requests_at_a_megapixel(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    pixels = np.array(Image.fromarray(read_image(photograph())).resize((1224, 816), Image.Resampling.LANCZOS))
    with torch.inference_mode():
        write_page(tmp_path / "page.html", Photograph("large.jpg", pixels, (1632, 2448)), {"fast": fast})
    assert (tmp_path / "page.html").stat().st_size < 6e6
    page = visit(tmp_path / "page.html")
    assert "reduced from 2448 x 1632" in page.locator("#about").text_content()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requests)
    assert page.evaluate("performance.getEntriesByType('paint')[0].startTime") < 10_000  # 1000 where nothing else runs


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_is_wider_than_the_screen_and_text_has_contrast(
    visit: Any, empty: Path, scheme: str, width: int
) -> None:
    page = visit(empty, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("Array.from(document.querySelectorAll('input, select, button')).filter("
                         "(e) => !(e.labels?.length || e.textContent || e.ariaLabel)).length") == 0  # fmt: skip
    low = page.evaluate(LOW_CONTRAST)
    assert low == []
