"""What real networks predict of photographs, unrefined: what a sharpening has to do with outside of a laboratory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from segaware.data.everyday import EVERYDAY, Everyday
from segaware.data.folders import files_by_stem
from segaware.data.images import read_label, to_sample
from segaware.data.labelled_images import LabelledImages
from segaware.data.polygons import draw_polygons
from segaware.data.reading import DataError, reading
from segaware.data.registry import DatasetRecord, Split, dataset, register_dataset
from segaware.data.sample import PredictedSample

_CLIP = 1e-3  # of probabilities that become logits: those of files are rounded to 255ths
_STRIDE = 16  # of DeepLabV3's scores, to the photograph as it was scaled


class Predictions(Dataset[PredictedSample]):
    """The photographs of a data set of which there are predictions, with these.

    Args:
        samples: The data set; its own transform is left out.
        folder: Folder of predictions, a file by the name of its photograph for each.
        suffix: Ending of the files.
        read: Reads a file for a photograph of a (height, width): float32 logits (C, height, width).
        transform: Applied to each sample.

    Raises:
        DataError: The folder is missing or empty, or a file in it has no photograph; on access, a file is broken.
    """

    def __init__(
        self,
        samples: LabelledImages,
        folder: Path,
        suffix: str,
        read: Callable[[Path, tuple[int, int]], Tensor],
        transform: Callable[[PredictedSample], PredictedSample] | None = None,
    ) -> None:
        files = files_by_stem(folder, (suffix,))
        if not files:
            raise DataError(f"{folder}: no such folder, or no {suffix} file in it")
        index = {image.stem: number for number, (image, _) in enumerate(samples.pairs)}
        strangers = [path for stem, path in files.items() if stem not in index]
        if strangers:
            raise DataError(f"{strangers[0]}: there is no photograph of this name; {len(strangers)} have none")
        self.samples, self.transform, self._read = samples, transform, read
        self.files = [(index[stem], path) for stem, path in files.items()]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> PredictedSample:
        number, path = self.files[index]
        image, label = self.samples.read(number)
        scores = self._read(path, (label.shape[0], label.shape[1]))
        sample = PredictedSample(*to_sample(image, label, path.stem), scores)
        return self.transform(sample) if self.transform else sample


def resample_scores(scores: Tensor, size: tuple[int, int], scaled: tuple[float, float], stride: int) -> Tensor:
    """Resample what a network gives for a photograph that was scaled before, bilinearly, to the photograph's size.

    Pixel centres count for the scaling, as images are resized; and score (i, j) lies on pixel (stride * i, stride * j)
    of the scaled photograph. Beyond the outermost scores their values are repeated.

    Args:
        scores: Scores (C, h, w).
        size: Height and width of the photograph.
        scaled: Height and width to which it was scaled.
        stride: Stride of the scores to the scaled photograph.

    Returns:
        Scores (C, *size).

    Example:
        >>> resample_scores(torch.tensor([[[0.0, 4.0]]]), (1, 4), scaled=(1, 2), stride=1)
        tensor([[[0., 1., 3., 4.]]])
    """
    axes = []
    for length, whole, count in zip(size, scaled, scores.shape[1:], strict=True):
        place = ((torch.arange(length) + 0.5) * whole / length - 0.5) / stride
        axes.append(2 * place / max(count - 1, 1) - 1)  # -1 and 1 at the outermost scores
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], -1)[None]
    return F.grid_sample(scores[None], grid, padding_mode="border", align_corners=True)[0]


def read_probability(path: Path, size: tuple[int, int], reduce: int = 1) -> Tensor:
    """Read 255 times the probability of an object, of a photograph that was squashed to a square, from an image file.

    The probability is interpolated, as the networks' own packages do, and becomes logits afterwards.

    Args:
        path: One-channel 8-bit file.
        size: Height and width of the photograph.
        reduce: Average squares of this side first, as a coarser network would give.

    Returns:
        Logits of ground and object (2, height, width), whose softmax is the probability but for its clipping to
        0.001..0.999.

    Raises:
        DataError: The file is broken, or has other pixels.
    """
    with reading(path, "an image"), Image.open(path) as image:
        mode, pixels = image.mode, np.array(image)
    if mode != "L" or min(pixels.shape) < reduce:
        raise DataError(
            f"{path}: probabilities must be 8-bit gray, at least {reduce} pixels, got {mode} {pixels.shape}"
        )
    probability = F.avg_pool2d(torch.from_numpy(pixels).float()[None] / 255, reduce)
    height, width = probability.shape[1:]
    probability = resample_scores(probability, size, (height, width), 1).clamp(_CLIP, 1 - _CLIP)
    return torch.cat([torch.zeros_like(probability), probability.logit()])


def read_logits(path: Path, size: tuple[int, int], num_classes: int = 21) -> Tensor:
    """Read logits of stride 16 that were rounded to 8 bits, from an .npz file.

    Args:
        path: File with `q`, uint8 (C, h, w), `zero_point` and `scale`, logits being (q - zero_point) * scale, and
            `size`, the height and width to which the photograph was scaled.
        size: Height and width of the photograph.
        num_classes: Number of classes C.

    Returns:
        Logits (C, height, width).

    Raises:
        DataError: The file is broken, or has another number of classes.
    """
    with reading(path, "logits"), np.load(path, allow_pickle=False) as file:
        quantised, scaled = file["q"], tuple(map(float, file["size"]))
        logits = (quantised.astype(np.float32) - float(file["zero_point"])) * np.float32(file["scale"])
    if logits.ndim != 3 or len(logits) != num_classes or len(scaled) != 2:
        raise DataError(f"{path}: 'q' must be logits of {num_classes} classes (C, h, w), got shape {logits.shape}")
    return resample_scores(torch.from_numpy(logits), size, (scaled[0], scaled[1]), _STRIDE)


def read_polygons(path: Path, size: tuple[int, int], tolerance: float = 3.0) -> Tensor:
    """Read the exact mask of an object as it would be had someone drawn it, see `draw_polygons`.

    Args:
        path: Mask with 1 for the object.
        size: Height and width of the photograph.
        tolerance: How far outlines may be off, in pixels; those of COCO are 2 to 4.

    Returns:
        Logits of ground and object (2, height, width), as sure as those of `read_probability` can be.

    Raises:
        DataError: The file is broken, or holds other values.
    """
    mask = read_label(path, 2) == 1
    if mask.shape != size:
        raise DataError(f"{path}: a mask of {mask.shape} for a photograph of {size}")
    drawn = torch.from_numpy(draw_polygons(mask, tolerance)).float()[None].clamp(_CLIP, 1 - _CLIP)
    return torch.cat([torch.zeros_like(drawn), drawn.logit()])


def _read_objects(
    root: Path, split: Split, transform: Any, *, network: str, folder: str, class_of: tuple[int, ...], reduce: int
) -> Predictions:
    samples = Everyday(root, split, folder=folder, class_of=class_of)
    place = Path(root) / "predictions" / network / "everyday" / split / folder
    return Predictions(samples, place, ".png", partial(read_probability, reduce=reduce), transform)


def _read_polygons(root: Path, split: Split, transform: Any) -> Predictions:
    samples = Everyday(root, split, folder="ecssd", class_of=(0, 1))
    return Predictions(samples, Path(root) / "everyday" / split / "ecssd" / "masks", ".png", read_polygons, transform)


def _read_voc(root: Path, split: Split, transform: Any) -> Predictions:
    samples = dataset("voc" if split == "train" else "voc_official").open(split, root)
    assert isinstance(samples, LabelledImages)
    place = Path(root) / "predictions" / "deeplabv3_mnv2" / ("voc/train" if split == "train" else "voc_official_val")
    return Predictions(samples, place, ".npz", read_logits, transform)


# By network, the sets of which it has predicted photographs, and the classes that it tells from ground.
_OBJECTS = {
    "u2netp": (("duts", "ecssd", "horses", "butterflies"), "object"),
    "selfie": (("clothes", "faces", "pedestrians"), "person"),
}

for _network, (_sets, _class) in _OBJECTS.items():
    for _name in _sets:
        _set = EVERYDAY[_name]
        _class_of = tuple(min(value, 1) for value in _set.class_of)
        for _suffix, _reduce in (("", 1), ("_40", 8))[: 2 if _network == "u2netp" else 1]:
            register_dataset(
                DatasetRecord(
                    f"{_network}_{_name}{_suffix}",
                    "predictions",
                    partial(_read_objects, network=_network, folder=_set.folder, class_of=_class_of, reduce=_reduce),
                    f"{dataset(_name).layout}; and predictions/{_network}/{_set.place}/ID.png",
                    ("ground", _class),
                    splits=_set.splits,
                    ground=True,
                )
            )
register_dataset(
    DatasetRecord(
        "polygons_ecssd",
        "predictions",
        _read_polygons,
        dataset("ecssd").layout,
        ("ground", "object"),
        splits=dataset("ecssd").splits,
        ground=True,
    )
)
register_dataset(
    DatasetRecord(
        "deeplabv3_voc",
        "predictions",
        _read_voc,
        f"{dataset('voc').layout}; and {dataset('voc_official').layout}; and "
        "predictions/deeplabv3_mnv2/{voc/train,voc_official_val}/NAME.npz",
        dataset("voc").classes,
        ground=True,
    )
)
