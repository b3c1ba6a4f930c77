"""Results in the form that the test server of PASCAL VOC takes (http://host.robots.ox.ac.uk/pascal/VOC)."""

import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segaware.atomic import replaced
from segaware.data.images import write_png
from segaware.data.palettes import voc_palette
from segaware.data.reading import DataError
from segaware.data.voc import VOC_CLASSES

# Competition 6: segmentation by methods that were trained on more than VOC's own data, be it ImageNet.
_RESULTS = Path("results", "VOC2012", "Segmentation", "comp6_test_cls")


def write_voc_submission(
    predictions: Iterable[tuple[str, Tensor]], folder: str | Path, names: Sequence[str] | None = None
) -> None:
    """Write predictions as `FOLDER/results/VOC2012/Segmentation/comp6_test_cls/NAME.png`, in VOC's colours.

    Predictions are taken one at a time, so they may come from a generator; what came before a wrong one is written.

    Args:
        predictions: Name of each image with its classes, integers (H, W) in 0..20. The server takes no 255.
        folder: Where to write; made if it is not there.
        names: The names that are wanted, all of them and no other: `read_voc_list(voc_folder(root), "test")`.

    Raises:
        ValueError: A prediction has another shape, type or value; a name is no file name, comes twice or is not in
            `names`; at the end, a name of `names` has had no prediction.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_voc_submission([("2008_000006", torch.zeros(3, 5, dtype=torch.int64))], folder, ["2008_000006"])
        >>> pack_voc_submission(folder, ["2008_000006"]).name
        'results.tgz'
    """
    results = Path(folder) / _RESULTS
    results.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for name, prediction in predictions:
        _check_name(name, names, written)
        _check_prediction(name, prediction)
        write_png(results / f"{name}.png", prediction.cpu().numpy().astype(np.uint8), voc_palette())
        written.add(name)
    missing = [name for name in names or () if name not in written]
    if missing:
        raise ValueError(
            f"predictions must hold every image of names, but {missing[0]!r} is missing, of {len(missing)}"
        )


def _check_name(name: str, names: Sequence[str] | None, written: set[str]) -> None:
    if not name or Path(name).name != name:
        raise ValueError(f"predictions must name images as files are named, got {name!r}")
    if name in written:
        raise ValueError(f"predictions must hold each image once, but {name!r} comes twice")
    if names is not None and name not in names:
        raise ValueError(f"predictions must be of the images in names, got {name!r}")


def _check_prediction(name: str, prediction: Tensor) -> None:
    if prediction.ndim != 2 or prediction.is_floating_point() or prediction.dtype == torch.bool:
        raise ValueError(
            f"prediction of {name!r} must be integers (H, W), got {prediction.dtype} {tuple(prediction.shape)}"
        )
    outside = prediction[(prediction < 0) | (prediction >= len(VOC_CLASSES))]
    if outside.numel():
        raise ValueError(
            f"prediction of {name!r} must hold classes in 0..{len(VOC_CLASSES) - 1}, got {outside[0].item()}"
        )


def submission_paths(folder: str | Path, names: Sequence[str]) -> list[Path]:
    """Return the files of the results of names, those that `write_voc_submission` writes.

    Raises:
        DataError: There are results of other names, which `pack_voc_submission` would not pack.
    """
    results = Path(folder) / _RESULTS
    extra = sorted({path.stem for path in results.glob("*.png")} - set(names))
    if extra:
        raise DataError(f"{results / extra[0]}.png: is not of names; {len(extra)} are not")
    return [results / f"{name}.png" for name in names]


def pack_voc_submission(folder: str | Path, names: Sequence[str]) -> Path:
    """Pack what `write_voc_submission` wrote into `FOLDER/results.tgz`, ready to upload: whole, or not at all.

    Args:
        folder: As in `write_voc_submission`.
        names: The names of the test list, `read_voc_list(voc_folder(root), "test")`.

    Returns:
        The archive's path; an existing archive is replaced.

    Raises:
        DataError: The results of a name are missing, or there are results of other names.
    """
    folder = Path(folder)
    results = folder / _RESULTS
    missing = sorted(name for name in set(names) if not (results / f"{name}.png").is_file())
    if missing:
        raise DataError(f"{results / missing[0]}.png: no such file, wanted by names; {len(missing)} are missing")
    paths = submission_paths(folder, sorted(set(names)))
    archive = folder / "results.tgz"
    with replaced(archive) as temporary, tarfile.open(temporary, "w:gz") as tar:
        for path in paths:
            tar.add(path, arcname=str(_RESULTS / path.name))
    return archive
