"""`segaware refine` on COCO annotations, compared with pycocotools and with `segaware.refine`."""

import copy
import csv
import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as oracle

from segaware import refine
from segaware.data.coco_annotations import write_segments
from segaware.refining import refine_annotations

COLOR = ("--embedding", "color", "--iterations", "3", "--kernel-size", "7")
HEIGHT, WIDTH = 40, 52
SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]
TRIANGLE = [[-5, -5, 25.5, 3, 3, 25.25]]  # partly outside
NAMES = ("a.png", "b.png", "c.png")


def pixels(name: str) -> np.ndarray:
    """A noisy photograph of a square that is not quite where its annotation is."""
    image = np.random.default_rng(ord(name[0])).integers(0, 60, (HEIGHT, WIDTH, 3))
    image[12:31, 9:30] += 150
    return image.astype(np.uint8)


def decode(segmentation: Any) -> np.ndarray:
    if isinstance(segmentation, list):
        segmentation = oracle.merge(oracle.frPyObjects(segmentation, HEIGHT, WIDTH))
    return oracle.decode(segmentation) > 0


def encode(mask: np.ndarray) -> dict[str, Any]:
    encoded = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def refined(name: str, given: np.ndarray, kind: Any, **options: Any) -> np.ndarray:
    options = {"strength": 1, **options}
    return refine(pixels(name), given, "filter", kind, "color", kernel_size=7, iterations=3, **options)


def instance(key: int, image: int, segmentation: Any, crowd: int = 0) -> dict[str, Any]:
    return {
        "segmentation": segmentation, "area": -1.5, "iscrowd": crowd, "image_id": image, "bbox": [0, 0, 1, 1],
        "category_id": 17, "id": key, "attributes": {"note": "é"},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs, `instances.json`, and `panoptic.json` with its PNGs."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "panoptic").mkdir()
    for name in NAMES:
        Image.fromarray(pixels(name)).save(tmp_path / "photos" / name)
        write_segments(tmp_path / "panoptic" / name, segments())
    images = [
        {"id": 7 * number, "file_name": name, "height": HEIGHT, "width": WIDTH} for number, name in enumerate(NAMES)
    ]
    lengths = encode(np.eye(HEIGHT, WIDTH) > 0)
    annotations = [
        instance(30, 14, TRIANGLE), instance(1, 0, SQUARE), instance(2, 7, SQUARE + TRIANGLE), instance(9, 0, TRIANGLE),
        instance(4, 0, {"size": [HEIGHT, WIDTH], "counts": [100, 180, HEIGHT * WIDTH - 280]}, crowd=1),
        instance(5, 7, lengths), instance(6, 7, []), instance(8, 7, [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]),
    ]  # fmt: skip
    content = {
        "info": {"year": 2017, "url": None}, "licenses": [], "images": images, "annotations": annotations,
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "sky"}],
    }  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(content))
    content["annotations"] = [
        {"image_id": image["id"], "file_name": image["file_name"], "segments_info": segments_info()} for image in images
    ]
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    return tmp_path


def segments() -> np.ndarray:
    """Void above, ids of one to three bytes, and a pixel that will vanish."""
    ids = np.full((HEIGHT, WIDTH), 16_000_001)
    ids[10:30, 10:30] = 7
    ids[35:, :12] = 70_000
    ids[:3] = 0
    ids[8, 45] = 300
    return ids


def segments_info(crowd: int = 0) -> list[dict[str, Any]]:
    keys = (300, 16_000_001, 7, 70_000)
    return [{"id": key, "category_id": 17, "iscrowd": crowd * (key == 7), "area": 0, "bbox": []} for key in keys]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = read(path)
    edit(content)
    path.write_text(json.dumps(content))


def command(folder: Path, name: str = "instances", out: str = "out.json") -> tuple[Any, ...]:
    return ("refine", folder / "photos", folder / f"{name}.json", "--out", folder / out, *COLOR)


def test_instances(segaware: Any, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = segaware(*command(folder))
    assert run.exit_code == 0 and "1 masks of run lengths stay as they are" in caplog.text
    before, after = read(folder / "instances.json"), read(folder / "out.json")
    assert {**after, "annotations": 0} == {**before, "annotations": 0} and list(after) == list(before)
    names, changed = {0: "a.png", 7: "b.png", 14: "c.png"}, 0
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        assert list(new) == list(old)
        if old["id"] in (4, 6, 8):  # a crowd, no mask, and one smaller than a pixel
            assert new == old
            continue
        mask = decode(old["segmentation"])
        if isinstance(old["segmentation"], list):
            mask = refined(names[old["image_id"]], mask[None], "masks")[0]
            changed += (mask != decode(old["segmentation"])).sum()
        lengths = encode(mask)
        expected = {"segmentation": lengths, "area": oracle.area(lengths), "bbox": oracle.toBbox(lengths).tolist()}
        assert new == {**old, **expected}
    assert changed > 20
    assert {path.name for path in folder.iterdir()} == {
        "photos", "panoptic", "instances.json", "panoptic.json", "out.json"
    }  # fmt: skip


def test_strength_is_for_all_masks_but_crowds(segaware: Any, folder: Path) -> None:
    for strength in ("0", "1"):
        run = segaware(*command(folder, out=f"{strength}.json"), "--strength", strength)
        assert run.exit_code == 0
        before, after = (read(folder / name)["annotations"] for name in ("instances.json", f"{strength}.json"))
        for place in (0, 1):
            old, new = (decode(annotations[place]["segmentation"]) for annotations in (before, after))
            assert (old == new).all() == (strength == "0")
        assert after[4] == before[4]
    assert "b.png: annotation 5 would vanish, and keeps its mask" in run.stderr  # one pixel wide
    assert after[5] == before[5]


def test_panoptic(segaware: Any, folder: Path) -> None:
    change(folder / "panoptic.json", lambda content: content["annotations"][1].update(segments_info=segments_info(1)))
    run = segaware(*command(folder, "panoptic"))
    assert run.exit_code == 0 and run.stderr.count("segment 300 has vanished") == 3
    before, after = read(folder / "panoptic.json"), read(folder / "out.json")
    assert {**after, "annotations": 0} == {**before, "annotations": 0}
    for name, old, new in zip(NAMES, before["annotations"], after["annotations"], strict=True):
        wanted = refined(name, segments(), "labels", ignore_index=0)
        if name == "b.png":  # whose 7 is a crowd
            wanted = np.where((wanted == 7) | (segments() == 7), segments(), wanted)
        picture = np.array(Image.open(folder / "out" / name), np.int64)
        ids = picture[..., 0] + 256 * picture[..., 1] + 65536 * picture[..., 2]
        np.testing.assert_array_equal(ids, wanted)
        assert (ids != segments()).sum() > 20
        lengths = [encode(ids == segment["id"]) for segment in old["segments_info"][1:]]
        assert new == {
            **old,
            "segments_info": [
                {**segment, "area": oracle.area(run), "bbox": oracle.toBbox(run).tolist()}
                for segment, run in zip(old["segments_info"][1:], lengths, strict=True)
            ],
        }


BAD = {
    "photograph": (lambda content: content["images"][1].update(file_name="z.png"), "z.png: no such file"),
    "listed": (lambda content: content["annotations"][2].update(image_id=99), "name image 99, which 'images'"),
    "size": (lambda content: content["images"][1].update(width=WIDTH + 1), r"52x40 pixels, but .* says 53x40"),
    "outside": ([[60, 5, 70, 5, 70, 9]], r"annotation 2: a polygon lies outside of its image of \[40, 52\]"),
    "second outside": ([*SQUARE, [5, -9, 9, -9, 9, 0]], "annotation 2: a polygon lies outside"),
    "far": ([[0, 0, 9999, 0, 0, 9]], "annotation 2: a polygon reaches far out of its image"),
    "short": ([[1, 2, 3, 4]], "annotation 2: a polygon needs at least three points, each x and y, got 4 values"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "got 7 values"),
    "text": ("polygon", "annotation 2: a mask must be polygons or run lengths .* got 'polygon'"),
    "lengths": ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, r"run lengths of size \[52, 40\]"),
    "pixels": ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "run lengths cover 10 of 2080 pixels"),
    "characters": ({"size": [HEIGHT, WIDTH], "counts": "!"}, "run lengths hold '!'"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_image_is_listed_and_kept_and_the_rest_goes_on(segaware: Any, folder: Path, bad: str) -> None:
    edit, message = BAD[bad]
    if not callable(edit):
        segmentation, edit = edit, lambda content: content["annotations"][2].update(segmentation=segmentation)
    change(folder / "instances.json", edit)
    run = segaware(*command(folder))
    assert run.exit_code == 1
    header, *rows = csv.reader((folder / "failed.csv").open())
    assert header == ["image", "error"] and len(rows) == 1
    assert re.search(message, rows[0][1]) and f"segaware: {rows[0][0]}: {rows[0][1]}" in run.stderr
    before, after = read(folder / "instances.json")["annotations"], read(folder / "out.json")["annotations"]
    assert after[2] == before[2]
    assert all(after[place]["area"] > 0 for place in (0, 1, 3))  # the rest
    change(folder / "instances.json", lambda content: content["annotations"].__delitem__(slice(1, None)))
    assert segaware(*command(folder), "--overwrite").exit_code == 0
    assert not (folder / "failed.csv").exists()


def test_a_bad_panoptic_image_is_copied(segaware: Any, folder: Path) -> None:
    pngs = [folder / "panoptic" / name for name in NAMES]
    Image.fromarray(pixels("a")).convert("L").save(pngs[0])
    change(folder / "panoptic.json", lambda content: content["annotations"][1]["segments_info"].pop())
    write_segments(pngs[2], segments()[:, :-1])
    assert segaware(*command(folder, "panoptic")).exit_code == 1
    errors = [error for _, error in list(csv.reader((folder / "failed.csv").open()))[1:]]
    assert "a.png: a panoptic annotation must be a PNG of 8-bit RGB" in errors[0]
    assert "b.png: segment 70000 is in the PNG, but not in segments_info" in errors[1]
    assert "c.png: the label's size 40x51" in errors[2]
    assert read(folder / "out.json") == read(folder / "panoptic.json")
    for png in pngs:
        assert (folder / "out" / png.name).read_bytes() == png.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a file of COCO annotations"),
        ("[]", "must be an object with 'images' and 'annotations'"),
        ('{"shapes": []}', "must be an object with 'images' and 'annotations'"),
        ('{"images": [{"id": 1}], "annotations": []}', "KeyError: 'file_name'"),
        ('{"images": [{"id": 1, "file_name": "a", "height": 1.5, "width": 2}], "annotations": []}', "whole numbers"),
        ('{"images": [], "annotations": []}', "no annotation has a segmentation"),
        ('{"images": [], "annotations": [{"image_id": 1, "id": 2, "keypoints": []}]}', "no annotation has a segment"),
        ('{"images": [], "annotations": [{"image_id": 1, "segments_info": [], "file_name": "../a"}]}', "file_name"),
    ],
)
def test_what_is_no_coco_is_one_error(fails: Callable[..., str], folder: Path, content: str, message: str) -> None:
    (folder / "instances.json").write_text(content)
    assert message in fails(*command(folder))
    assert not (folder / "out.json").exists()


def test_a_failed_csv_of_someone_else_stays(fails: Callable[..., str], folder: Path) -> None:
    (folder / "failed.csv").write_text("mine")
    assert "not refine's own" in fails(*command(folder))
    assert (folder / "failed.csv").read_text() == "mine" and not (folder / "out.json").exists()


def test_arguments(segaware: Any, fails: Callable[..., str], folder: Path) -> None:
    source = (folder / "instances.json").read_bytes()
    assert "is what is read" in fails(*command(folder, out="instances.json"), "--overwrite")
    assert "folder that is read" in fails(*command(folder, "panoptic", "photos.json"), "--overwrite")
    assert "must be a .json file" in fails(*command(folder, out="out.npy"))
    assert "--kind is for arrays" in fails(*command(folder), "--kind", "masks")
    assert "--region is for arrays" in fails(*command(folder), "--region", "0", "0", "9", "9")
    assert "--suffix is for folders" in fails(*command(folder), "--suffix", ".npy")
    assert "must be 'filter' for masks" in fails(*command(folder), "--method", "dense_crf")
    (folder / "photos").rename(folder / "others")
    assert "no such folder" in fails(*command(folder))
    (folder / "photos").mkdir()
    assert "holds none of the 3 photographs" in fails(*command(folder))
    assert {path.name for path in folder.iterdir()} == {
        "photos", "others", "panoptic", "instances.json", "panoptic.json"
    }  # fmt: skip
    (folder / "photos").rmdir()
    (folder / "others").rename(folder / "photos")
    assert segaware(*command(folder)).exit_code == 0
    assert "out.json is there already" in fails(*command(folder))
    assert (folder / "instances.json").read_bytes() == source


# Kills itself in the middle: after so many photographs are noted; or before the output is written, at 4.
KILLED = """
import os, signal, sys
from segaware.cli.entry import main
from segaware.refining import refine_annotations
from segaware.refining.journal import Journal

def killed(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

last, add = int(sys.argv.pop(1)), Journal.add
def add_and_die(self, record):
    add(self, record)
    if len(self.records) == last:
        with self._done.open("ab") as file:
            file.write(b'{"image": 2, "sta')
        killed()

Journal.add = add_and_die
if last == 4:
    refine_annotations.write_atomically = killed
main()
"""


@pytest.mark.parametrize(("kind", "last"), [("instances", 1), ("instances", 4), ("panoptic", 2), ("panoptic", 4)])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    segaware: Any, folder: Path, kind: str, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segaware(*command(folder, kind, "whole.json")).exit_code == 0
    arguments = [*map(str, command(folder, kind)), "--report", str(folder / "report")]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(last), *arguments], capture_output=True, timeout=250)
    assert killed.returncode == -9, killed.stderr.decode()
    assert not (folder / "out.json").exists() and (folder / ".out.json.partial").is_dir()
    calls, original = [], refine_annotations._refine_one
    monkeypatch.setattr(refine_annotations, "_refine_one", lambda *a: calls.append(a) or original(*a))
    run = segaware(*arguments)
    assert run.exit_code == 0 and f"going on after {min(last, 3)} of 3 images" in run.stderr
    assert len(calls) == 3 - min(last, 3)
    assert (folder / "out.json").read_bytes() == (folder / "whole.json").read_bytes()
    if kind == "panoptic":
        for name in NAMES:
            assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert not (folder / ".out.json.partial").exists()


def test_what_has_changed_since_an_interruption_is_made_anew(
    segaware: Any, fails: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], refine_annotations._refine_one

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments[0][0].name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(refine_annotations, "_refine_one", interrupted)
    assert "goes on" in fails(*command(folder), status=130)
    assert calls == ["c.png", "a.png", "b.png"]  # in the order of annotations
    Image.fromarray(pixels("z")).save(folder / "photos" / "a.png")
    assert segaware(*command(folder)).exit_code == 0
    assert calls[3:] == ["a.png", "b.png"]
    (folder / ".other.json.partial").mkdir()
    (folder / ".other.json.partial" / "mine.txt").touch()
    assert "not refine's own" in fails(*command(folder, out="other.json"))
    assert (folder / ".other.json.partial" / "mine.txt").exists()


def boxes(page: Path) -> list[Any]:
    """The values of a page's check boxes, in order."""
    return [json.loads(html.unescape(value)) for value in re.findall('data-value="([^"]+)"', page.read_text())]


def test_report_and_reject_of_instances(segaware: Any, fails: Callable[..., str], folder: Path) -> None:
    report = folder / "report"
    assert segaware(*command(folder), "--report", report).exit_code == 0
    before, after = read(folder / "instances.json")["annotations"], read(folder / "out.json")
    overlap = {}
    for old, new in zip(before, after["annotations"], strict=True):
        if old["id"] in (1, 2, 9, 30):
            a, b = decode(old["segmentation"]), decode(new["segmentation"])
            overlap[old["id"]] = (a & b).sum() / (a | b).sum()
    page = (report / "index.html").read_text()
    assert boxes(report / "index.html") == sorted(overlap, key=lambda key: overlap[key])
    assert f"annotation 1, cat: IoU {overlap[1]:.3f}, area 400 before, {after['annotations'][1]['area']} now" in page
    assert "://" not in page and page.count("data:image/jpeg") == 2 * 4
    (folder / "rejected.json").write_text("[2, 30]")
    assert segaware(*command(folder), "--reject", folder / "rejected.json").exit_code == 0
    wanted = copy.deepcopy(after)
    wanted["annotations"][0], wanted["annotations"][2] = before[0], before[2]
    assert read(folder / "out.json") == wanted
    (folder / "rejected.json").write_text("[3]")
    assert "no annotation with id 3" in fails(*command(folder), "--reject", folder / "rejected.json")
    (folder / "rejected.json").write_text("{}")
    assert "must be a list" in fails(*command(folder), "--reject", folder / "rejected.json")


def test_report_and_reject_of_panoptic(segaware: Any, folder: Path) -> None:
    assert segaware(*command(folder, "panoptic"), "--report", folder / "report").exit_code == 0
    assert sorted(boxes(folder / "report/index.html")) == [0, 7, 14]
    after = read(folder / "out.json")
    (folder / "rejected.json").write_text("[7]")
    assert segaware(*command(folder, "panoptic"), "--reject", folder / "rejected.json").exit_code == 0
    after["annotations"][1] = read(folder / "panoptic.json")["annotations"][1]
    assert read(folder / "out.json") == after
    same = [(folder / "out" / n).read_bytes() == (folder / "panoptic" / n).read_bytes() for n in NAMES]
    assert same == [False, True, False]


def test_report_and_reject_of_label_maps(segaware: Any, fails: Callable[..., str], folder: Path) -> None:
    (folder / "labels").mkdir()
    for number, name in enumerate(NAMES):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[10 - number : 30 + number, 10:30] = 1
        Image.fromarray(labels).save(folder / "labels" / name)
    arguments = ("refine", folder / "photos", folder / "labels", "--out", folder / "out", *COLOR, "--strength", "1")
    assert segaware(*arguments, "--report", folder / "report").exit_code == 0
    pairs = [[np.array(Image.open(folder / x / name)) for x in ("labels", "out")] for name in NAMES]
    changed = {name: (before != after).mean() for name, (before, after) in zip(NAMES, pairs, strict=True)}
    assert boxes(folder / "report/index.html") == sorted(changed, key=lambda name: -changed[name])
    assert "index.html is there already" in fails(*arguments, "--report", folder / "report")
    (folder / "rejected.json").write_text('["b.png"]')
    assert segaware(*arguments, "--reject", folder / "rejected.json").exit_code == 0
    same = [(folder / "out" / n).read_bytes() == (folder / "labels" / n).read_bytes() for n in NAMES]
    assert same == [False, True, False]
    (folder / "rejected.json").write_text('["d.png"]')
    assert "'d.png': is to be put back" in fails(*arguments, "--reject", folder / "rejected.json")
    np.save(folder / "labels" / "a.npy", labels)
    (folder / "labels" / "a.png").unlink()
    assert "--report shows labels in PNG" in fails(*arguments, "--report", folder / "new")


def test_ade_whose_void_is_0(segaware: Any, folder: Path) -> None:
    (folder / "labels").mkdir()
    labels = np.full((HEIGHT, WIDTH), 150, np.uint8)
    labels[10:30, 10:30] = 3
    labels[8:10] = 0
    Image.fromarray(labels).save(folder / "labels" / "a.png")
    run = segaware(
        "refine", folder / "photos", folder / "labels", "--out", folder / "out", *COLOR, "--strength", "1",
        "--ignore-index", "0",
    )  # fmt: skip
    assert run.exit_code == 1  # b and c have no labels
    after = np.array(Image.open(folder / "out" / "a.png"))
    np.testing.assert_array_equal(after, refined("a", labels, "labels", ignore_index=0))
    assert set(np.unique(after[8:10])) == {3, 150} or set(np.unique(after[8:10])) == {150}  # filled from around
