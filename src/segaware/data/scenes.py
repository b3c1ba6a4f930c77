"""Procedural scenes: objects whose class is their texture, so that colour alone shows neither class nor border.

The ground is blotches of two colours that melt into each other. More than half of the objects are camouflaged: they
wear the same two colours, alternating every few pixels. The others share one of the two. A filter guided by colour
therefore meets as many edges inside an object as around it, while a network that looks at a neighbourhood can tell
the textures apart. Labels are exact by construction.
"""

import functools
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from segaware.data.images import to_sample
from segaware.data.palettes import class_palette
from segaware.data.registry import DatasetRecord, Split, register_dataset
from segaware.data.sample import Sample, Transform

_COLOURS = {
    "ground": (128, 128, 128),
    "stripes": (230, 80, 70),
    "checker": (70, 130, 230),
    "dots": (245, 190, 60),
    "grain": (80, 180, 110),
    "waves": (165, 100, 200),
}
CLASSES = tuple(_COLOURS)

LIMB_REACH = 1.8  # how far limbs reach from an object's centre, in body radii


def generate_scene(
    seed: int | np.random.SeedSequence, size: tuple[int, int] = (96, 96)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: smooth ground and 3 to 7 overlapping textured objects per 96x96 pixels.

    Args:
        seed: The same seed and size give the same scene.
        size: (height, width) in pixels.

    Returns:
        Image, uint8 RGB (H, W, 3), and label, uint8 (H, W), an index into `CLASSES`.

    Raises:
        ValueError: A side is not positive.

    Example:
        >>> image, label = generate_scene(0, size=(64, 96))
        >>> image.shape, label.shape, int(label.max()) < len(CLASSES)
        ((64, 96, 3), (64, 96), True)
    """
    if min(size) < 1:
        raise ValueError(f"size must be positive, got {size}")
    rng = np.random.default_rng(seed)
    colours = _two_colours(rng)
    image, label = _ground(rng, size, colours), np.zeros(size, np.uint8)
    for _ in range(round(rng.integers(3, 8) * size[0] * size[1] / 96**2)):
        camouflaged = rng.random() < 0.6
        _add_object(rng, image, label, colours if camouflaged else _recolour(rng, colours))
    image *= smooth(rng, size, knots=[2, 2], low=0.8, high=1.1)
    image += rng.normal(0, 0.04, image.shape)
    return (255 * image.clip(0, 1)).round().astype(np.uint8), label


def _two_colours(rng: np.random.Generator) -> np.ndarray:
    """Return two colours far apart in every channel, (2, 3)."""
    mean = rng.uniform(0.35, 0.65, 3)
    half = rng.uniform(0.2, 0.35, 3) * rng.choice((-1, 1), 3)
    return np.stack([mean - half, mean + half])


def _recolour(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Replace one of the two colours by another that is far from the one that stays."""
    kept = colours[rng.integers(2)]
    while True:
        other = rng.uniform(0, 1, 3)
        if abs(other - kept).sum() > 1:
            return np.stack([kept, other])


def smooth(rng: np.random.Generator, size: tuple[int, int], knots: list[int], low: float, high: float) -> np.ndarray:
    """Interpolate a grid of random numbers linearly over an image.

    Args:
        rng: Source of the numbers.
        size: (height, width) in pixels.
        knots: How many numbers along each side, at least 2.
        low: Lower end of the numbers' range.
        high: Upper end.

    Returns:
        float64 (H, W, 1).

    Example:
        >>> smooth(np.random.default_rng(0), (96, 64), knots=[3, 2], low=0, high=1).shape
        (96, 64, 1)
    """
    grid = rng.uniform(low, high, knots)
    rows, columns = (
        np.maximum(0, 1 - abs(np.linspace(0, n - 1, side)[:, None] - np.arange(n)))
        for side, n in zip(size, knots, strict=True)
    )
    return (rows @ grid @ columns.T)[..., None]


def _ground(rng: np.random.Generator, size: tuple[int, int], colours: np.ndarray) -> np.ndarray:
    """Return blotches of the two colours that melt into each other, (H, W, 3)."""
    knots = [2 + side // 24 for side in size]
    mix = smooth(rng, size, knots, low=-0.3, high=1.3) + rng.normal(0, 0.07, (*size, 1))
    return colours[0] + mix.clip(0, 1) * (colours[1] - colours[0])


def _add_object(rng: np.random.Generator, image: np.ndarray, label: np.ndarray, colours: np.ndarray) -> None:
    """Draw one object over `image` and `label`, in place."""
    radius = rng.uniform(10, 25)
    centre = rng.random(2) * label.shape
    first = np.maximum(0, centre - LIMB_REACH * radius).astype(int)
    last = np.minimum(label.shape, centre + LIMB_REACH * radius + 1).astype(int)
    window = (slice(first[0], last[0]), slice(first[1], last[1]))
    y, x = np.mgrid[window] - centre[:, None, None]
    inside = _shape(rng, y, x, radius)
    index = int(rng.integers(1, len(CLASSES)))
    mix = _texture(rng, CLASSES[index], y, x)[inside][:, None]
    image[window][inside] = colours[0] + mix * (colours[1] - colours[0])
    label[window][inside] = index


def _shape(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Return a random body around the origin with up to three limbs 3 to 6 pixels wide, as a boolean mask."""
    inside = np.hypot(y, x) < outline(rng, np.arctan2(y, x), radius)
    for _ in range(rng.integers(0, 4)):
        along, across = _rotate(y, x, rng.uniform(0, 2 * np.pi))
        length, half_width = radius * rng.uniform(1.2, LIMB_REACH), rng.uniform(1.5, 3)
        inside |= (along > 0) & (along < length) & (abs(across) < half_width)
    return inside


def outline(rng: np.random.Generator, angle: np.ndarray, radius: float) -> np.ndarray:
    """Draw a random outline around the origin: an ellipse, a star or a blob.

    Args:
        rng: Source of randomness.
        angle: Directions in radians, any shape.
        radius: Size of the outline, which may reach a third further out.

    Returns:
        Distance of the outline from the origin in each direction, in the shape of `angle`.

    Example:
        >>> distance = outline(np.random.default_rng(0), np.linspace(0, 2 * np.pi, 100), radius=20)
        >>> bool((distance > 0).all() and (distance < 28).all())
        True
    """
    body = rng.choice(("ellipse", "star", "blob"))
    angle = angle + rng.uniform(0, 2 * np.pi)
    if body == "ellipse":
        ratio = rng.uniform(0.4, 1)
        return radius * ratio / np.hypot(ratio * np.cos(angle), np.sin(angle))
    if body == "star":
        corners = np.linspace(0, 2 * np.pi, rng.integers(5, 10), endpoint=False)
        return np.interp(angle, corners, radius * rng.uniform(0.35, 1.1, len(corners)), period=2 * np.pi)
    bumps = [rng.uniform(0, 0.2) * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)]
    return radius * (0.8 + np.sum(bumps, axis=0))


def _rotate(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _texture(rng: np.random.Generator, name: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return how far each pixel is on the way from the texture's one colour (0) to its other (1)."""
    u, v = _rotate(y, x, rng.uniform(0, np.pi))
    shortest = 3 if name == "stripes" else 5  # pixels; a finer pattern in two directions would look like grain
    frequency = 2 * np.pi / rng.uniform(shortest, 8)
    u, v = frequency * u + rng.uniform(0, 2 * np.pi), frequency * v + rng.uniform(0, 2 * np.pi)
    if name == "stripes":
        wave = np.sin(u)
    elif name == "checker":
        wave = 1.5 * np.sin(u) * np.sin(v)
    elif name == "dots":
        wave = np.cos(u) + np.cos(v) - 0.4
    elif name == "waves":
        wave = np.sin(u + 2 * np.sin(v / 2))
    else:  # grain
        wave = rng.uniform(-1, 1, u.shape)
    return (0.5 + wave).clip(0, 1)


# A small training sees the same scenes in every epoch, and drawing them is a fifth of its time.
@functools.lru_cache(maxsize=512)
def _drawn(seed: int, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return generate_scene(np.random.SeedSequence(seed, spawn_key=(index,)), size)


class Scenes(Dataset[Sample]):
    """Procedural scenes, drawn when they are asked for: nothing to download, nothing on disk.

    Item i depends on `seed` and i alone, and other seeds give other scenes.

    Args:
        length: Number of scenes.
        size: (height, width) in pixels.
        seed: Which series of scenes.
        transform: Applied to each sample.

    Raises:
        ValueError: `length`, a side or `seed` is out of range.

    Example:
        >>> scenes = Scenes(length=3, size=(64, 64))
        >>> [sample.name for sample in scenes]
        ['000000', '000001', '000002']
    """

    classes = CLASSES
    num_classes = len(CLASSES)

    def __init__(
        self, length: int, size: tuple[int, int] = (96, 96), seed: int = 0, transform: Transform | None = None
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        if min(size) < 1:
            raise ValueError(f"size must be positive, got {size}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.length, self.size, self.seed, self.transform = length, size, seed, transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        index = range(self.length)[index]  # negative from the end; IndexError past it, which ends a for loop
        image, label = _drawn(self.seed, index, (self.size[0], self.size[1]))
        sample = to_sample(image, label, f"{index:06d}")
        return self.transform(sample) if self.transform else sample


def _read_scenes(
    root: Path | None, split: Split, transform: Transform | None, length: int = 1000, size: tuple[int, int] = (96, 96)
) -> Scenes:
    return Scenes(length, size, seed=0 if split == "train" else 1, transform=transform)


register_dataset(
    DatasetRecord(
        "scenes",
        "segmentation",
        _read_scenes,
        layout="",
        classes=CLASSES,
        palette=class_palette(list(_COLOURS.values())),
        is_generated=True,
    )
)
