"""Reads and writes image and label files, and checks that they fit together."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segaware.atomic import replaced
from segaware.data.reading import DataError
from segaware.data.sample import IGNORE_INDEX, Sample

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def _decode(path: str | Path) -> Image.Image:
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    # Pillow reports broken files as any of these, depending on the format and on where the damage is.
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded as an image ({error})") from error


def read_image(path: str | Path) -> np.ndarray:
    """Read a photograph. Grayscale, palette and CMYK files become RGB, and an alpha channel is dropped.

    Args:
        path: Any 8-bit image file that Pillow reads.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        DataError: The file is missing, broken, or has 16-bit, 32-bit or floating-point grayscale pixels.
    """
    image = _decode(path)
    if image.mode[0] in "IF":  # Pillow would clip these to 0..255, which turns most of them white.
        raise DataError(f"{path}: pixels must be 8-bit, got Pillow mode {image.mode!r}")
    return np.array(image.convert("RGB"))


def photograph() -> Path:
    """Return the file of a photograph that comes with segaware: a cat, 451x300.

    Chelsea, by Stefan van der Walt, in the public domain (CC0); from scikit-image's `data.chelsea()`, as a JPEG.
    """
    return Path(__file__).parent / "chelsea.jpg"


def read_label(path: str | Path, num_classes: int) -> np.ndarray:
    """Read a map of class indices from a one-channel PNG; a palette's colours do not matter, its indices do.

    Args:
        path: PNG file in mode L (8-bit grayscale) or P (palette).
        num_classes: Number of classes; legal values are 0..num_classes-1 and 255 (unlabelled).

    Returns:
        uint8 (H, W).

    Raises:
        DataError: The file is missing, broken, of another mode, or holds another value.
    """
    image = _decode(path)
    if image.mode not in ("L", "P"):
        raise DataError(
            f"{path}: a label must have one 8-bit channel (Pillow mode 'L' or 'P'), got mode {image.mode!r} "
            f"with {len(image.getbands())} channel(s)"
        )
    label = np.array(image)
    wrong = (label >= num_classes) & (label != IGNORE_INDEX)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: label value {label[row, column]} at row {row}, column {column} is neither in "
            f"0..{num_classes - 1} nor {IGNORE_INDEX}"
        )
    return label


def write_png(path: str | Path, array: np.ndarray, palette: np.ndarray | None = None) -> None:
    """Write a PNG under a temporary name and move it into place, so that no half-written file is ever seen.

    Args:
        path: Where to write; an existing file is replaced.
        array: uint8, RGB (H, W, 3) or indices (H, W).
        palette: uint8 (n, 3) RGB colours of the indices, n at most 256; without it indices are written as gray values.

    Raises:
        ValueError: `array` or `palette` has another shape or type.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"array must be uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
    image = Image.fromarray(array)
    if palette is not None:
        if palette.dtype != np.uint8 or palette.ndim != 2 or palette.shape[1] != 3 or len(palette) > 256:
            raise ValueError(f"palette must be uint8 (n, 3) with n <= 256, got {palette.dtype} {palette.shape}")
        if array.ndim != 2:
            raise ValueError(f"palette is for a (H, W) array of indices, got array of shape {array.shape}")
        image.putpalette(palette.tobytes())
    with replaced(Path(path)) as temporary:
        image.save(temporary, format="PNG")


def check_pair(image: np.ndarray, label: np.ndarray, name: str | Path) -> None:
    """Check that a label belongs to its image.

    Args:
        image: uint8 (H, W, 3).
        label: integers (H, W).
        name: File or sample that an error should name.

    Raises:
        DataError: The channel count is wrong or the sizes differ.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"{name}: an image must have shape (H, W, 3), got {image.shape}")
    if label.shape != image.shape[:2]:
        raise DataError(
            f"{name}: the label's size {'x'.join(map(str, label.shape))} (height x width) is not "
            f"its image's {image.shape[0]}x{image.shape[1]}"
        )


def to_sample(image: np.ndarray, label: np.ndarray, name: str) -> Sample:
    """Turn arrays into a sample of tensors.

    Args:
        image: uint8 RGB (H, W, 3).
        label: integers (H, W).
        name: Name of the sample.

    Returns:
        The sample, image scaled to 0..1.

    Raises:
        DataError: The shapes do not fit, see `check_pair`.

    Example:
        >>> sample = to_sample(np.full((2, 4, 3), 255, np.uint8), np.zeros((2, 4), np.uint8), "white")
        >>> sample.image.shape, sample.image.max(), sample.label.dtype
        (torch.Size([3, 2, 4]), tensor(1.), torch.int64)
    """
    check_pair(image, label, name)
    pixels = torch.tensor(image).permute(2, 0, 1).contiguous().float().div(255)
    return Sample(pixels, torch.tensor(label, dtype=torch.int64), name)


def find_pairs(images: Path, targets: Path, suffix: str) -> list[tuple[Path, Path]]:
    """List every `images/NAME.jpg` with its `targets/NAME` + `suffix`, sorted by name.

    Args:
        images: Folder of photographs.
        targets: Folder with one file for each photograph.
        suffix: File ending in `targets`, dot included.

    Returns:
        (image, target) paths.

    Raises:
        DataError: A folder is missing, there is no photograph, or a photograph has no target.
    """
    for folder in (images, targets):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    pairs = [(path, targets / (path.stem + suffix)) for path in sorted(images.glob("*.jpg"))]
    if not pairs:
        raise DataError(f"{images}: holds no .jpg image")
    missing = [target for _, target in pairs if not target.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: no such file, wanted for its image; {len(missing)} of {len(pairs)} are missing")
    return pairs
