"""Generated pairs in the spirit of FlyingChairs (Dosovitskiy et al. 2015): shapes and cut-outs fly over photographs."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import Dataset

from segaware.constants import GROUND_INDEX, IGNORE_INDEX
from segaware.data.flow.layers import Layer, compose, render_pair
from segaware.data.flow.sample import FlowSample, FlowTransform
from segaware.data.registry import DatasetRecord, Split, register_dataset
from segaware.data.sample import Sample, Transform
from segaware.data.scenes import LIMB_REACH, outline, smooth
from segaware.data.voc import VOC, VOC_LAYOUT

WORLD = (384, 512)  # height and width of FlyingChairs' images; smaller images show a part of such a world

_OBJECTS = (6, 14)  # in such a world, at least and at most
_SMALLEST_CUT_OUT = 1000  # pixels of the photograph


class PhotographSource(Protocol):
    """What textures and cut-outs are taken from."""

    def __len__(self) -> int:
        """Return the number of photographs."""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return an image, uint8 (H, W, 3), and its class map, uint8 (H, W), 0 for background, if there is one."""


class _Spread(NamedTuple):
    """Distribution of a motion's parameter: scale * sign(g) |g|^power for a Gaussian g, clipped to +-limit.

    The power makes a peak at 0 and a heavy tail, as motions in films have.
    """

    scale: float
    power: float
    limit: float

    def draw(self, rng: np.random.Generator, count: int | None = None) -> np.ndarray:
        gaussian = rng.standard_normal(count)
        return np.clip(self.scale * np.sign(gaussian) * abs(gaussian) ** self.power, -self.limit, self.limit)


class _Motion(NamedTuple):
    shift: _Spread  # pixels, in x and in y
    angle: _Spread  # degrees
    zoom: _Spread  # logarithm of the scale

    def draw(self, rng: np.random.Generator, centre: np.ndarray) -> np.ndarray:
        """Return an affine map (3, 3) that turns and scales around `centre`, (x, y), then shifts."""
        angle, scale = np.deg2rad(self.angle.draw(rng)), np.exp(self.zoom.draw(rng))
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return _affine(linear, centre + self.shift.draw(rng, 2) - linear @ centre)


# Chosen for lengths of flow like those of FlyingChairs: 10 pixels on average, half below 5, one in a hundred above 70.
_BACKGROUND = _Motion(shift=_Spread(2.5, 2.2, 40), angle=_Spread(0.5, 2, 8), zoom=_Spread(0.01, 2, 0.1))
_OBJECT = _Motion(shift=_Spread(20, 1.7, 120), angle=_Spread(5, 1.5, 30), zoom=_Spread(0.06, 1.5, 0.25))


def _affine(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the homogeneous map (3, 3) of a linear part (2, 2) and a shift (2,)."""
    return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])


def generate_pair(
    seed: int | np.random.SeedSequence, size: tuple[int, int] = WORLD, photographs: PhotographSource | None = None
) -> FlowSample:
    """Generate one pair: a background and 6 to 14 objects per 384x512 pixels, each with an affine motion of its own.

    One photograph is the background; from another, objects are cut out with its class map and textures cropped for
    shapes with thin limbs and holes. The background's motion is small, and objects move with it and on their own.

    Args:
        seed: The same seed, size and photographs give the same pair.
        size: (height, width) in pixels. Displacements are those of FlyingChairs' 384x512 images, also in smaller ones.
        photographs: What backgrounds, textures and cut-outs are taken from; without, shapes wear and fly over coloured
            noise, of the coarse and fine kind that photographs have.

    Returns:
        The sample, `valid` everywhere, `occluded` exact, named `"pair"`.

    Raises:
        ValueError: A side is not positive, or `photographs` is empty.
        DataError: A photograph cannot be read.

    Example:
        >>> sample = generate_pair(0, size=(64, 96))
        >>> sample.image2.shape, sample.flow.shape, sample.occluded.dtype
        (torch.Size([3, 64, 96]), torch.Size([2, 64, 96]), torch.bool)
    """
    background, *objects = _layers(seed, size, photographs)
    return render_pair(background, objects, size, "pair")


def _layers(
    seed: int | np.random.SeedSequence, size: tuple[int, int], photographs: PhotographSource | None
) -> list[Layer]:
    """Return the layers of a pair, from the background to the topmost."""
    _check(size, photographs)
    rng = np.random.default_rng(seed)
    extent = np.array(size[::-1], float)  # width, height
    if photographs is None:
        ground, material, cut_outs = None, None, []
    else:
        ground, _ = _read(rng, photographs)
        material, label = _read(rng, photographs)
        cut_outs = _find_cut_outs(material, label)
    outside = np.maximum(0, WORLD[::-1] - extent) / 2
    camera = _BACKGROUND.draw(rng, extent / 2 + rng.uniform(-outside, outside))
    texture = _texture(_pattern(rng, size[::-1], ground), Image.new("L", size[::-1], 255))
    layers = [Layer(texture, _affine(np.eye(2), rng.uniform(-1, 1, 2)), camera)]
    for _ in range(_count(rng.uniform(*_OBJECTS), size)):
        radius = np.exp(rng.uniform(np.log(16), np.log(100)))
        if cut_outs and rng.random() < 0.5:
            texture = _resize_cut_out(rng, *cut_outs[rng.integers(len(cut_outs))], radius)
        else:
            alpha = _shape(rng, radius)
            texture = _texture(_pattern(rng, alpha.size, material if rng.random() < 0.75 else None), alpha)
        centre = rng.uniform(-0.1, 1.1, 2) * extent
        pose = _affine(np.eye(2), centre - np.array(texture.shape[:0:-1]) / 2)
        layers.append(Layer(texture, pose, camera @ _OBJECT.draw(rng, centre)))
    return layers


def _count(density: float, size: tuple[int, int]) -> int:
    """Return how many objects an image has of which 384x512 pixels have `density`."""
    return max(1, round(density * size[0] * size[1] / (WORLD[0] * WORLD[1])))


def _check(size: tuple[int, int], photographs: PhotographSource | None) -> None:
    if min(size) < 1:
        raise ValueError(f"size must be positive, got {size}")
    if photographs is not None and not len(photographs):
        raise ValueError("photographs must hold at least one photograph, got none")


def _read(rng: np.random.Generator, photographs: PhotographSource) -> tuple[Image.Image, np.ndarray | None]:
    """Read a random photograph and its class map."""
    image, label = photographs.read(int(rng.integers(len(photographs))))
    return Image.fromarray(image), label


def _find_cut_outs(photograph: Image.Image, label: np.ndarray | None) -> list[tuple[Image.Image, Image.Image]]:
    """Return photograph and mask of every region of objects that is large enough."""
    if label is None:
        return []
    from scipy import ndimage  # slow to import

    regions, _ = ndimage.label((label > 0) & (label != IGNORE_INDEX))
    cut_outs = []
    for index, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
        mask = regions[rows, columns] == index
        if mask.sum() >= _SMALLEST_CUT_OUT:
            box = (columns.start, rows.start, columns.stop, rows.stop)
            cut_outs.append((photograph.crop(box), Image.fromarray(mask)))
    return cut_outs


def _resize_cut_out(rng: np.random.Generator, photograph: Image.Image, mask: Image.Image, radius: float) -> Tensor:
    """Return a cut-out as a texture with the area of a square of 2 `radius`, mirrored half of the time."""
    scale = min(2.0, 2 * radius / np.sqrt(mask.width * mask.height))
    size = (max(1, round(scale * mask.width)), max(1, round(scale * mask.height)))
    texture = _texture(
        photograph.resize(size, Image.Resampling.BICUBIC), mask.convert("L").resize(size, Image.Resampling.BILINEAR)
    )
    return texture.flip(2) if rng.random() < 0.5 else texture


def _shape(rng: np.random.Generator, radius: float) -> Image.Image:
    """Return the alpha of a random body, now and then with a hole, with up to three limbs."""
    fine = 2  # subpixels along each side of a pixel
    side = 2 * int(LIMB_REACH * radius + 2)

    def points(angle: np.ndarray, distance: np.ndarray) -> list[float]:
        return (fine * (side / 2 + np.stack([distance * np.cos(angle), distance * np.sin(angle)], 1))).ravel().tolist()

    alpha = Image.new("L", (fine * side, fine * side))
    draw = ImageDraw.Draw(alpha)
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    distance = outline(rng, angle, radius)
    draw.polygon(points(angle, distance), fill=255)
    if rng.random() < 0.3:
        draw.polygon(points(angle, rng.uniform(0.4, 0.8) * distance), fill=0)
    for _ in range(rng.integers(0, 4)):
        direction, length = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.2, LIMB_REACH)
        half_width = rng.uniform(1.5, max(3, radius / 8))
        along, across = np.array([0, length, length, 0]), half_width * np.array([1, 1, -1, -1])
        draw.polygon(points(direction + np.arctan2(across, along), np.hypot(across, along)), fill=255)
    return alpha.crop(alpha.getbbox()).reduce(fine)


def _pattern(rng: np.random.Generator, size: tuple[int, int], photograph: Image.Image | None) -> Image.Image:
    """Return a random part of the photograph, or without one coloured noise, of this (width, height)."""
    width, height = size
    if photograph is None:
        spacings = (96, 48, 24, 12, 6, 3)  # of the knots, in pixels
        octaves = [smooth(rng, (height, width), [2 + height // s, 2 + width // s], -1, 1) for s in spacings]
        colors = rng.normal(0, rng.uniform(0.03, 0.15), (len(spacings), 3))
        noise = rng.uniform(0.1, 0.9, 3) + np.dstack(octaves) @ colors
        return Image.fromarray((255 * noise.clip(0, 1)).round().astype(np.uint8))
    enlarged = max(height / photograph.height, width / photograph.width, rng.uniform(0.6, 1)) * rng.uniform(1, 1.3)
    box = np.array(size) / enlarged
    corner = rng.uniform(0, photograph.size - box)
    return photograph.resize(size, Image.Resampling.BICUBIC, (*corner, *np.minimum(corner + box, photograph.size)))


def _texture(image: Image.Image, alpha: Image.Image) -> Tensor:
    """Return an RGBA texture (4, h + 2, w + 2): its border is transparent, so that all edges are soft."""
    image.putalpha(alpha)
    rgba = np.pad(np.array(image), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rgba[[0, -1], :, 3] = rgba[:, [0, -1], 3] = 0
    return torch.from_numpy(rgba).permute(2, 0, 1).contiguous().float().div(255)


class FlyingShapes(Dataset[FlowSample]):
    """Generated pairs with exact flow and occlusion, see `generate_pair`: nothing to download.

    Item i depends on `seed`, `size`, the photographs and i alone, and other seeds give other pairs.

    Args:
        length: Number of pairs.
        size: (height, width) in pixels.
        seed: Which series of pairs.
        photographs: What backgrounds, textures and cut-outs are taken from, for instance `VOC`.
        transform: Applied to each sample.

    Raises:
        ValueError: `length`, a side or `seed` is out of range, or `photographs` is empty.
        DataError: On access, a photograph cannot be read.

    Example:
        >>> pairs = FlyingShapes(length=2, size=(64, 64))
        >>> [sample.name for sample in pairs]
        ['000000', '000001']
    """

    def __init__(
        self,
        length: int,
        size: tuple[int, int] = WORLD,
        seed: int = 0,
        photographs: PhotographSource | None = None,
        transform: FlowTransform | None = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        _check(size, photographs)
        self.length, self.size, self.seed = length, size, seed
        self.photographs, self.transform = photographs, transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FlowSample:
        index = range(self.length)[index]  # negative from the end; IndexError past it, which ends a for loop
        sample = generate_pair(_seed(self, index), self.size, self.photographs)._replace(name=f"{index:06d}")
        return self.transform(sample) if self.transform else sample


def _seed(pairs: FlyingShapes, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(pairs.seed, spawn_key=(index,))


class FlyingRegions(Dataset[Sample]):
    """Images of generated pairs with their objects as labels, for the embedding alone: a number means nothing.

    Item i is the first image of pair i if i is even, and the second if it is odd. Labels count layers from the
    background, 0, to the topmost, and are exact: a pixel belongs to the topmost layer that is more than half opaque
    there. An object that others cut into parts has one number. Without photographs every layer wears one noise, so that
    the background is a region as the objects are.

    Args:
        pairs: The pairs; their own transform is left out.
        transform: Applied to each sample.

    Raises:
        ValueError: The pairs are so large that they may have more objects than labels have numbers.
        DataError: On access, a photograph cannot be read.

    Example:
        >>> regions = FlyingRegions(FlyingShapes(length=2, size=(64, 64)))
        >>> [sample.label.shape for sample in regions]
        [torch.Size([64, 64]), torch.Size([64, 64])]
    """

    def __init__(self, pairs: FlyingShapes, transform: Transform | None = None) -> None:
        if _count(_OBJECTS[1], pairs.size) >= GROUND_INDEX:
            raise ValueError(
                f"size must be smaller: labels have numbers for {GROUND_INDEX - 1} objects, got {pairs.size}"
            )
        self.pairs, self.transform = pairs, transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        layers = _layers(_seed(self.pairs, index), self.pairs.size, self.pairs.photographs)
        poses = [layer.next_pose if index % 2 else layer.pose for layer in layers]
        sample = Sample(*compose(layers, poses, self.pairs.size), f"{index:06d}")
        return self.transform(sample) if self.transform else sample


def _read_shapes(
    root: Path | None,
    split: Split,
    transform: FlowTransform | None,
    length: int = 1000,
    size: tuple[int, int] = WORLD,
    photographs: PhotographSource | None = None,
) -> FlyingShapes:
    return FlyingShapes(length, size, 0 if split == "train" else 1, photographs, transform)


def _read_voc(root: Path, split: Split, transform: FlowTransform | None, **generated: Any) -> FlyingShapes:
    return _read_shapes(root, split, transform, photographs=VOC(root, split), **generated)


def _read_regions(root: Path | None, split: Split, transform: Transform | None, **generated: Any) -> FlyingRegions:
    return FlyingRegions(_read_shapes(root, split, None, **generated), transform)


register_dataset(DatasetRecord("flying_shapes", "flow", _read_shapes, layout="", is_generated=True))
register_dataset(DatasetRecord("flying_voc", "flow", _read_voc, VOC_LAYOUT, is_generated=True))
register_dataset(DatasetRecord("flying_regions", "segmentation", _read_regions, layout="", is_generated=True))
