import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from segaware.data import DataError
from segaware.data.coco import COCO

# COCO's ids and names, with VOC's index, written out from both data sets' own lists.
CATEGORIES = [
    (1, "person", 15), (2, "bicycle", 2), (3, "car", 7), (4, "motorcycle", 14), (5, "airplane", 1), (6, "bus", 6),
    (7, "train", 19), (9, "boat", 4), (16, "bird", 3), (17, "cat", 8), (18, "dog", 12), (19, "horse", 13),
    (20, "sheep", 17), (21, "cow", 10), (44, "bottle", 5), (62, "chair", 9), (63, "couch", 18),
    (64, "potted plant", 16), (67, "dining table", 11), (72, "tv", 20), (51, "bowl", None), (8, "truck", None),
]  # fmt: skip
PERSON, CAT, TABLE, BOWL = 1, 17, 67, 51
HEIGHT, WIDTH = 10, 14


def box(top, left, bottom, right):
    """Polygon of the pixels top..bottom-1, left..right-1."""
    return [left, top, right, top, right, bottom, left, bottom]


def runs(label):
    """Uncompressed run lengths, column by column, zeros first."""
    flat = np.concatenate([[0], label.T.ravel(), [2]])
    starts = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[1], starts])).tolist()
    return {"size": list(label.shape), "counts": counts}


def rectangle(top, left, bottom, right):
    area = np.zeros((HEIGHT, WIDTH), np.uint8)
    area[top:bottom, left:right] = 1
    return area


def annotation(image_id, category, segmentation, area, iscrowd=0):
    return {
        "image_id": image_id,
        "category_id": category,
        "segmentation": segmentation,
        "area": area,
        "iscrowd": iscrowd,
    }


def write_split(root, split, annotations, ids=(1,), size=(HEIGHT, WIDTH)):
    folder = root / "coco" / split
    folder.mkdir(parents=True, exist_ok=True)
    (root / "coco/annotations").mkdir(exist_ok=True)
    images = []
    for key in ids:
        file_name = f"COCO_{split}_{key:012}.jpg"
        Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(folder / file_name)
        images.append({"id": key, "file_name": file_name, "height": HEIGHT, "width": WIDTH})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name, _ in CATEGORIES],
    }
    (root / f"coco/annotations/instances_{split}.json").write_text(json.dumps(content))


def test_categories_become_vocs_and_others_background(tmp_path):
    # Category number i fills column i of the image's upper half; a cat below keeps the image if all else failed.
    image = np.zeros((HEIGHT, WIDTH), np.int64)
    for half in range(2):
        annotations = [annotation(1, CAT, [box(8, 0, 10, WIDTH)], 28)]
        image[:] = 0
        image[8:] = 8
        for column, (key, _, index) in enumerate(CATEGORIES[11 * half : 11 * half + 11]):
            annotations.append(annotation(1, key, [box(0, column, 5, column + 1)], 5))
            image[:5, column] = index or 0
        write_split(tmp_path, "train2014", annotations)
        sample = COCO(tmp_path, "train2014")[0]
        np.testing.assert_array_equal(sample.label.numpy(), image)
    assert sample.name == "COCO_train2014_000000000001" and sample.image.shape == (3, HEIGHT, WIDTH)
    assert len(COCO.classes) == COCO.num_classes == 21


def test_small_objects_lie_on_large_ones_and_on_crowds(tmp_path):
    annotations = [
        annotation(1, CAT, [box(2, 2, 4, 4)], 4),
        annotation(1, TABLE, [box(0, 0, 8, 8)], 64),
        annotation(1, PERSON, [box(1, 1, 6, 6)], 25),
        annotation(1, BOWL, [box(6, 6, 8, 8)], 4),
        annotation(1, BOWL, runs(rectangle(2, 2, 10, 12)), 1, iscrowd=1),
    ]
    write_split(tmp_path, "val2017", annotations)
    expected = np.zeros((HEIGHT, WIDTH), np.int64)
    expected[2:10, 2:12] = 255
    expected[0:8, 0:8] = 11
    expected[1:6, 1:6] = 15
    expected[2:4, 2:4] = 8
    np.testing.assert_array_equal(COCO(tmp_path, "val2017")[0].label.numpy(), expected)


def test_all_kinds_of_shapes(tmp_path):
    blob = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
    compressed = mask.encode(np.asfortranarray(blob))
    compressed["counts"] = compressed["counts"].decode()
    two_parts = [box(0, 0, 3, 3), box(5, 5, 9, 14)]
    write_split(
        tmp_path,
        "train2017",
        [
            annotation(1, CAT, two_parts, 45),
            annotation(2, CAT, compressed, 70),
            annotation(3, CAT, runs(blob), 70),
        ],
        ids=(1, 2, 3),
    )
    dataset = COCO(tmp_path, "train2017", transform=lambda sample: sample._replace(label=sample.label // 8))
    np.testing.assert_array_equal(dataset[0].label.numpy(), rectangle(0, 0, 3, 3) + rectangle(5, 5, 9, 14))
    np.testing.assert_array_equal(dataset[1].label.numpy(), blob)
    np.testing.assert_array_equal(dataset[2].label.numpy(), blob)


def test_only_images_with_objects_of_vocs_classes_are_kept(tmp_path):
    crowd = runs(rectangle(0, 0, 2, 2))
    annotations = [
        annotation(40, CAT, [box(0, 0, 2, 2)], 4),
        annotation(30, PERSON, crowd, 4, iscrowd=1),
        annotation(20, BOWL, [box(0, 0, 2, 2)], 4),
        annotation(5, PERSON, [box(0, 0, 2, 2)], 4),
    ]
    write_split(tmp_path, "train2014", annotations, ids=(40, 30, 20, 10, 5))
    assert [sample.name[-2:] for sample in COCO(tmp_path, "train2014")] == ["05", "40"]
    write_split(tmp_path, "val2014", annotations[:1], ids=(40,))
    names = [sample.name for sample in COCO(tmp_path, "trainval2014")]
    assert names == [
        f"COCO_{name}" for name in ("train2014_000000000005", "train2014_000000000040", "val2014_000000000040")
    ]
    write_split(tmp_path, "val2017", annotations[1:3], ids=(30, 20))
    with pytest.raises(DataError, match="coco: no image of split 'val2017' shows an object of VOC's classes"):
        COCO(tmp_path, "val2017")


def test_construction_names_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"split must be one of 'train2014', .*'trainval2014', got 'train'"):
        COCO(tmp_path, "train")
    with pytest.raises(DataError, match=r"instances_val2014\.json: no such file or folder"):
        COCO(tmp_path, "val2014")
    cat = [annotation(key, CAT, [box(0, 0, 2, 2)], 4) for key in (1, 2)]
    write_split(tmp_path, "train2014", cat, ids=(1, 2, 3))
    with pytest.raises(DataError, match=r"instances_val2014\.json: no such file or folder, but split 'val2014'"):
        COCO(tmp_path, "trainval2014")
    (tmp_path / "coco/train2014/COCO_train2014_000000000003.jpg").unlink()  # shows no object, so none misses it
    assert len(COCO(tmp_path, "train2014")) == 2
    (tmp_path / "coco/train2014/COCO_train2014_000000000002.jpg").unlink()
    with pytest.raises(
        DataError, match=r"0002\.jpg: no such file, but instances_train2014\.json names it; 1 are missing"
    ):
        COCO(tmp_path, "train2014")
    (tmp_path / "coco/train2014").rename(tmp_path / "coco/elsewhere")
    with pytest.raises(DataError, match="train2014: no such file or folder"):
        COCO(tmp_path, "train2014")


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"images": [',
        "[]",
        "{}",
        '{"images": [], "categories": []}',
        '{"images": [{"id": 1}], "categories": [], "annotations": []}',
        '{"images": [], "categories": [{"id": 1, "name": "cat"}], "annotations": [{"image_id": 7, "iscrowd": 0}]}',
        '{"images": [], "categories": [1], "annotations": []}',
        "\xff",
    ],
)
def test_broken_annotations_are_named(tmp_path, content):
    write_split(tmp_path, "val2014", [])
    (tmp_path / "coco/annotations/instances_val2014.json").write_bytes(content.encode("latin1"))
    with pytest.raises(DataError, match=r"instances_val2014\.json: is not a file of COCO instances"):
        COCO(tmp_path, "val2014")


def test_annotation_of_an_unknown_image_is_named(tmp_path):
    write_split(tmp_path, "val2014", [annotation(9, CAT, [box(0, 0, 2, 2)], 4)])
    with pytest.raises(DataError, match=r"is not a file of COCO instances \(KeyError: 9\)"):
        COCO(tmp_path, "val2014")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[0, 0, 3, 3]], "at least three points"),
        ([], "at least three points"),
        ({"size": [WIDTH, HEIGHT], "counts": [140]}, r"run lengths of size \[14, 10\] in an image of \[10, 14\]"),
        ({"size": [HEIGHT, WIDTH], "counts": [100, 39]}, "run lengths cover 139 of 140 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [100, 500]}, "run lengths cover 600 of 140 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [150, -10]}, ""),
        ({"counts": [140]}, "'size'"),
        ({"size": [HEIGHT, WIDTH], "counts": []}, "run lengths cover 0 of 140 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "run lengths cover 0 of 140 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [-10, 150]}, "whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [70.0, 70.0]}, "whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [float("nan"), 140]}, "whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [10**30, 140 - 10**30]}, "whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, "whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": "T4"}, "run lengths cover 132 of 140 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": "0!"}, "hold '!'"),
        ({"size": [HEIGHT, WIDTH], "counts": "o" * 100}, "hold 'o'"),
        ({"size": [HEIGHT, WIDTH], "counts": "oo"}, "end inside a number"),
        ({"size": None, "counts": [140]}, ""),
        ([[0, 0, 3, 3, 3]], "at least three points"),
        ([[0, 0, 3, 3, 5, 5, 1]], "each x and y, got 7"),
        ([[[0, 0], [3, 3], [0, 3]]], "each x and y"),
        ([[0, 0, 3, float("nan"), 0, 3]], "not finite"),
        ([[0, 0, 3, float("inf"), 0, 3]], "not finite"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "far out of its image"),
        ([box(0, 0, 3, 3), [0, 0, -(10**9), 0, 3, 3]], "far out of its image"),
        ([[0, 0, 3, 3, 0, 10**400]], ""),
        ([[True] * 6], "each x and y"),
        ([[-14, -14, 28, 28] * 300], "longer than a thousand times"),
        ("polygon", ""),
        ([["x"] * 6], ""),
    ],
)
def test_broken_shape_is_named(tmp_path, segmentation, message):
    write_split(tmp_path, "val2014", [annotation(1, CAT, segmentation, 4)])
    with pytest.raises(DataError, match=r"0001\.jpg: an annotation of this image holds no valid shape") as error:
        COCO(tmp_path, "val2014")[0]
    assert error.match(message)


@pytest.mark.parametrize("points", ["1e9, 0, 0, 1e9, 3, 3", "NaN, 0, 5, 5, 0, 5", "0, 0, 3e8, 3e8, 3, 0"])
def test_no_polygon_ends_the_process(tmp_path, points):
    write_split(tmp_path, "val2014", [annotation(1, CAT, [[777]], 4)])
    path = tmp_path / "coco/annotations/instances_val2014.json"
    path.write_text(path.read_text().replace("777", points))
    script = f"""
from segaware.data import COCO, DataError
dataset = COCO({str(tmp_path)!r}, "val2014")
try:
    dataset[0]
except DataError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "holds no valid shape" in done.stdout, done.stderr


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_are_those_of_pycocotools(tmp_path, seed):
    rng = np.random.default_rng(seed)
    blob = (rng.random((HEIGHT, WIDTH)) < rng.choice([0, 0.1, 0.5, 0.9, 1])).astype(np.uint8)
    blob[:, 3 : 3 + seed] = seed % 2
    compressed = mask.encode(np.asfortranarray(blob))
    compressed["counts"] = compressed["counts"].decode()
    annotations = [annotation(1, CAT, compressed, 70), annotation(2, CAT, runs(blob), 70)]
    write_split(tmp_path, "train2017", annotations, ids=(1, 2))
    for sample in COCO(tmp_path, "train2017"):
        np.testing.assert_array_equal(sample.label.numpy() // 8, blob)


def test_polygons_a_little_out_of_the_image_are_cut_at_its_border(tmp_path):
    write_split(tmp_path, "val2014", [annotation(1, CAT, [box(-1.5, -3, 5, WIDTH + 2.25)], 4)])
    np.testing.assert_array_equal(COCO(tmp_path, "val2014")[0].label.numpy() // 8, rectangle(0, 0, 5, WIDTH))


@pytest.mark.parametrize("area", [float("nan"), float("inf"), 10**400, None, "large"])
def test_objects_that_cannot_be_sorted_by_area_are_named(tmp_path, area):
    write_split(tmp_path, "val2014", [annotation(1, CAT, [box(0, 0, 2, 2)], area)])
    with pytest.raises(DataError, match=r"instances_val2014\.json: is not a file of COCO instances"):
        COCO(tmp_path, "val2014")


@pytest.mark.parametrize("size", [(10**6, 10**6), (-1, 14), ("10", "14"), (None, None), (10.5, 14)])
def test_a_size_that_the_annotations_make_up_is_named_before_it_takes_memory(tmp_path, size):
    write_split(tmp_path, "val2014", [annotation(1, CAT, [box(0, 0, 2, 2)], 4)])
    path = tmp_path / "coco/annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    content["images"][0].update(height=size[0], width=size[1])
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"0001\.jpg: the label's size .* is not its image's 10x14"):
        COCO(tmp_path, "val2014")[0]


def test_images_may_have_another_ending_than_their_annotations_say(tmp_path):
    cat = [annotation(key, CAT, [box(0, 0, 2, 2)], 4) for key in (1, 2)]
    write_split(tmp_path, "val2014", cat, ids=(1, 2))
    folder = tmp_path / "coco/val2014"
    (folder / "COCO_val2014_000000000001.jpg").rename(folder / "COCO_val2014_000000000001.JPG")
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / "COCO_val2014_000000000002.png")
    with pytest.raises(DataError, match="have the same name"):
        COCO(tmp_path, "val2014")
    (folder / "COCO_val2014_000000000002.jpg").unlink()
    assert [sample.name[-2:] for sample in COCO(tmp_path, "val2014")] == ["01", "02"]


def test_image_of_another_size_is_named(tmp_path):
    write_split(tmp_path, "val2014", [annotation(1, CAT, [box(0, 0, 2, 2)], 4)], size=(HEIGHT, WIDTH + 1))
    with pytest.raises(DataError, match=r"0001\.jpg: the label's size 10x14 .* 10x15"):
        COCO(tmp_path, "val2014")[0]
