"""Reads and writes image and label files, and checks that they fit together."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image

from segaware.atomic import replaced
from segaware.constants import IGNORE_INDEX
from segaware.data.folders import IMAGE_SUFFIXES, files_by_stem
from segaware.data.reading import DataError, reading
from segaware.data.sample import Sample
from segaware.labels import check_not_binary

# Pillow transposes what it has decoded into what a photograph's orientation, the key, says.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PILLOWS_LIMIT = threading.Lock()


@contextmanager
def pixel_limit(pixels: int | None) -> Iterator[int | None]:
    """Change the most pixels that Pillow decodes, which is a global variable of Pillow's; yield what it was."""
    with _PILLOWS_LIMIT:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
        try:
            yield usual
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def check_pixels(path: str | Path, width: int, height: int, max_pixels: int | None) -> None:
    """Check what a file's header says of its size, before anything is decoded.

    Raises:
        DataError: There are more pixels than `max_pixels`, unless that is None.
    """
    if max_pixels is not None and width * height > max_pixels:
        raise DataError(
            f"{path}: has {width}x{height} (width x height) = {width * height} pixels, more than the limit of "
            f"{max_pixels}, which keeps small files from filling the memory; a larger max_pixels allows it"
        )


def png_header(content: bytes) -> tuple[int, int, int, int] | None:
    """Return width, height, bits per channel and colour type (0 gray, 2 RGB, 3 palette) of a PNG file; None of others.

    Args:
        content: The file, or its first 26 bytes.
    """
    if content[:8] != PNG_SIGNATURE or len(content) < 26:
        return None
    return struct.unpack(">IIBB", content[16:26])  # after signature, length and name of the first chunk


def _decode(path: str | Path, max_pixels: int | None) -> Image.Image:
    """Decode a file, the way up that its orientation says."""
    with reading(path, "an image", "cannot be decoded as an image"):
        with pixel_limit(None) as usual:
            opened = Image.open(path)
        with opened as image:
            check_pixels(path, *image.size, usual if max_pixels is None else max_pixels)
            # Some formats ask for Pillow's limit again.
            with nullcontext() if max_pixels is None else pixel_limit(max_pixels):
                image.load()
            turn = _TURNS.get(_orientation(image))
            return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # The pixels are fine, and viewers show such a photograph as it is stored.
        return 1


def read_image(path: str | Path, max_pixels: int | None = None) -> np.ndarray:
    """Read a photograph, the way up that its EXIF orientation says, as viewers show it.

    Grayscale, palette and CMYK files become RGB, and an alpha channel is dropped.

    Args:
        path: Any 8-bit image file that Pillow reads.
        max_pixels: The most pixels to decode; None is Pillow's `Image.MAX_IMAGE_PIXELS`, 89,478,485 unless a program
            has set another number. The file's header is asked first, so that a file of kilobytes that would fill the
            memory is refused before that.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        DataError: The file is missing, broken, too large, or has 16-bit, 32-bit or floating-point grayscale pixels.
    """
    image = _decode(path, max_pixels)
    if image.mode[0] in "IF":  # Pillow would clip these to 0..255, which turns most of them white.
        raise DataError(f"{path}: pixels must be 8-bit, got Pillow mode {image.mode!r}")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def photograph() -> Path:
    """Return the file of a photograph that comes with segaware: a cat, 451x300.

    Chelsea, by Stefan van der Walt, in the public domain (CC0); from scikit-image's `data.chelsea()`, as a JPEG.
    """
    return Path(__file__).parent / "chelsea.jpg"


def photograph_logits() -> np.ndarray:
    """Return what DeepLabV3 on MobileNetV2 gives for `photograph()`: logits of VOC's 21 classes, float32 (21, 19, 29).

    Logit (i, j) lies on pixel (16 i, 16 j). The network is TensorFlow's quantised one of 2018, trained on Pascal VOC
    (Apache 2.0); it saw the photograph at its own size, padded at the right and the bottom with gray.
    """
    with np.load(Path(__file__).parent / "chelsea_deeplabv3.npz") as file:
        return (file["q"].astype(np.float32) - file["zero_point"]) * file["scale"]


def read_label(path: str | Path, num_classes: int, max_pixels: int | None = None) -> np.ndarray:
    """Read a map of class indices from a one-channel PNG; a palette's colours do not matter, its indices do.

    Pillow spreads gray of 2 or 4 bits over 0..255; here it is read as the indices that the file holds.

    Args:
        path: PNG file in Pillow's mode L (gray of 2 to 8 bits) or P (palette).
        num_classes: Number of classes; legal values are 0..num_classes-1 and 255 (unlabelled).
        max_pixels: As in `read_image`.

    Returns:
        uint8 (H, W), turned as `read_image` turns a photograph if the file has an orientation of its own.

    Raises:
        DataError: The file is missing, broken, too large, of another mode, or holds another value, or 0 and 255 alone:
            see `segaware.labels.check_not_binary`.
    """
    image = _decode(path, max_pixels)
    if image.mode not in ("L", "P"):
        raise DataError(
            f"{path}: a label must have one 8-bit channel (Pillow mode 'L' or 'P'), got mode {image.mode!r} "
            f"with {len(image.getbands())} channel(s)"
        )
    label = np.array(image)
    with open(path, "rb") as file:
        header = png_header(file.read(26))
    if image.mode == "L" and header is not None and header[2] < 8:
        label //= 255 // (2 ** header[2] - 1)
    wrong = (label >= num_classes) & (label != IGNORE_INDEX)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: label value {label[row, column]} at row {row}, column {column} is neither in "
            f"0..{num_classes - 1} nor {IGNORE_INDEX}"
        )
    with reading(path, "a label map"):
        check_not_binary("it", label)
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
    check_size(label.shape, image, name)


def check_size(size: tuple[int, ...], image: np.ndarray, name: str | Path) -> None:
    """Check that a label of this size belongs to an image (H, W, 3).

    Raises:
        DataError: The sizes differ.
    """
    if size != image.shape[:2]:
        raise DataError(
            f"{name}: the label's size {'x'.join(map(str, size))} (height x width) is not "
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
        ValueError: An array has another type.

    Example:
        >>> sample = to_sample(np.full((2, 4, 3), 255, np.uint8), np.zeros((2, 4), np.uint8), "white")
        >>> sample.image.shape, sample.image.max(), sample.label.dtype
        (torch.Size([3, 2, 4]), tensor(1.), torch.int64)
    """
    check_pair(image, label, name)
    if image.dtype != np.uint8 or label.dtype.kind not in "biu":
        raise ValueError(f"{name}: want an image of uint8 and a label of integers, got {image.dtype} and {label.dtype}")
    # Copies: PyTorch takes no negative strides and no foreign byte order.
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy("C")).float().div(255)
    return Sample(pixels, torch.from_numpy(label.astype(np.int64, order="C")), name)


def find_pairs(images: Path, targets: Path, suffix: str) -> list[tuple[Path, Path]]:
    """List every photograph of a folder with the file of its name in another, sorted by name.

    Args:
        images: Folder of photographs, files with one of `IMAGE_SUFFIXES` in any case.
        targets: Folder with one file for each photograph.
        suffix: File ending in `targets` in lower case, dot included; files may have it in any case.

    Returns:
        (image, target) paths.

    Raises:
        DataError: A folder is missing, there is no photograph, a photograph has no target, or two files of a folder
            have one stem.
    """
    for folder in (images, targets):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    photographs, found = files_by_stem(images, IMAGE_SUFFIXES), files_by_stem(targets, (suffix,))
    pairs = [(path, found.get(stem, targets / (stem + suffix))) for stem, path in photographs.items()]
    if not pairs:
        raise DataError(f"{images}: holds no .jpg image, nor any other of {', '.join(IMAGE_SUFFIXES)}")
    missing = [target for _, target in pairs if target.stem not in found]
    if missing:
        raise DataError(f"{missing[0]}: no such file, wanted for its image; {len(missing)} of {len(pairs)} are missing")
    return pairs
