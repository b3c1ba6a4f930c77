"""Every data set on disk in its own layout, with four tiny images for training and two for validation."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from segaware.data.flow import write_flo

SIZE = (40, 56)
_CLASS = 8  # VOC's cat
_COUNTS = {"train": 4, "val": 2}


def write_data(root: Path) -> Path:
    """Write the data sets below `root` and return it."""
    for split, count in _COUNTS.items():
        for i in range(count):
            name = f"{split}{i}"
            # VOC's first training image has its mask in VOC, the others have theirs in SBD.
            own_mask = "SegmentationClass" if split == "val" or i == 0 else "SegmentationClassAug"
            _image(root / "camvid/images" / split / f"{name}.jpg", i)
            _label(root / "camvid/labels" / split / f"{name}.png", i, 3)
            _image(root / "voc/JPEGImages" / f"{name}.jpg", i)
            _label(root / "voc" / own_mask / f"{name}.png", i, _CLASS)
            _image(root / "bsds500/images" / split / f"{name}.jpg", i)
            _segments(root / "bsds500/segments" / split / f"{name}.npz", i)
            _everyday(root, split, name, i)
        _list(root / "voc/ImageSets/Segmentation" / f"{split}.txt", [f"{split}{i}" for i in range(count)])
    _official_val(root)
    names = [f"train{i}" for i in range(1, _COUNTS["train"])]
    for split, of_split in (("train", names[:2]), ("val", names[2:])):
        _list(root / "sbd" / f"{split}.txt", of_split)
    for i, name in enumerate(names):
        _image(root / "sbd/img" / f"{name}.jpg", i)
        path = _prepared(root / "sbd/cls" / f"{name}.mat")
        savemat(path, {"GTcls": {"Segmentation": _classes(i, _CLASS, void=0)}})
    for split in ("train2014", "val2014"):
        _coco(root / "coco", split)
    chairs = root / "FlyingChairs_release"
    for number in range(1, 1 + sum(_COUNTS.values())):
        for image in (1, 2):
            _image(chairs / f"data/{number:05d}_img{image}.ppm", 2 * number + image)
        write_flo(chairs / f"data/{number:05d}_flow.flo", np.full((*SIZE, 2), number, np.float32))
    _list(chairs / "FlyingChairs_train_val.txt", ["1"] * _COUNTS["train"] + ["2"] * _COUNTS["val"])
    return root


def _classes(seed: int, value: int, void: int = 255) -> np.ndarray:
    """One object, with a void outline on one side."""
    label = np.zeros(SIZE, np.uint8)
    label[8:30, 10 + seed : 30] = value
    label[8:30, 30] = void
    return label


def _prepared(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _image(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 60, (*SIZE, 3))
    bright = 150 * (_classes(seed, 1) == 1)[..., None]
    Image.fromarray((noise + bright).astype(np.uint8)).save(_prepared(path), quality=95)


def _label(path: Path, seed: int, value: int) -> None:
    Image.fromarray(_classes(seed, value)).save(_prepared(path))


def _segments(path: Path, seed: int) -> None:
    np.savez(_prepared(path), segments=1 + _classes(seed, 1, void=0)[None])


def _list(path: Path, names: list[str]) -> None:
    _prepared(path).write_text("".join(f"{name}\n" for name in names))


def _everyday(root: Path, split: str, name: str, seed: int) -> None:
    """Write one image of every set, and what networks predict of it."""
    sets = ("ade", "clothes", "duts", "ecssd", "facades", "faces", "pedestrians")
    for of_set in (*sets, "coco", "sky") if split == "train" else sets:
        place = f"everyday/{split}/{of_set}"
        _image(root / place / "images" / f"{name}.jpg", seed)
        _label(root / place / "masks" / f"{name}.png", seed, 1)
        for network in ("u2netp", "selfie"):
            probability = Image.fromarray(200 * _classes(seed, 1, void=0)).resize((32, 32))
            probability.save(_prepared(root / "predictions" / network / place / f"{name}.png"))


def _official_val(root: Path) -> None:
    folder, names = root / "voc_official_val", [f"val{i}" for i in range(_COUNTS["val"])]
    _list(folder / "ImageSets/Segmentation/val.txt", names)
    for i, name in enumerate(names):
        _image(folder / "JPEGImages" / f"{name}.jpg", i)
        _label(folder / "SegmentationClass" / f"{name}.png", i, _CLASS)
        _logits(root / "predictions/deeplabv3_mnv2/voc_official_val" / f"{name}.npz")
    for i in range(_COUNTS["train"]):
        _logits(root / "predictions/deeplabv3_mnv2/voc/train" / f"train{i}.npz")


def _logits(path: Path) -> None:
    logits = {"q": np.eye(21, dtype=np.uint8)[:, :6].reshape(21, 3, 2), "zero_point": 0, "scale": 1.0, "size": SIZE}
    np.savez(_prepared(path), **logits)


def _coco(folder: Path, split: str) -> None:
    images = [{"id": i, "file_name": f"{split}{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(2)]
    content = {
        "categories": [{"id": 17, "name": "cat"}],
        "images": images,
        "annotations": list(_boxes(len(images))),
    }
    for i, image in enumerate(images):
        _image(folder / split / str(image["file_name"]), i)
    _prepared(folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _boxes(count: int) -> Iterator[dict[str, object]]:
    for i in range(count):
        polygon = [10 + i, 8, 30, 8, 30, 30, 10 + i, 30]
        yield {"image_id": i, "category_id": 17, "iscrowd": 0, "area": 400.0, "segmentation": [polygon]}
