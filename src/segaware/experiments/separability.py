"""How well embeddings tell pixels of one region from pixels of two on a data set, beside colour, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segaware.data import Sample, dataset
from segaware.experiments.tasks.cells import scored
from segaware.metrics import PixelPairs, paired_bootstrap, pairs_by_border, pairs_by_distance, separability
from segaware.progress import progress
from segaware.provenance import provenance, weights_digest
from segaware.refining.refine_files import open_embedding
from segaware.viz import separability_curves

PIXEL_DISTANCES = (1, 2, 3, 5, 8, 12, 20, 30, 50, 75, 100)
BORDER_DISTANCES = (1, 2, 3, 5, 8, 12, 20)
_PAIRS = 1000  # of either kind, for every image and distance
_LEAST_SHARE = 0.25  # of the images; the mean over fewer is of what is odd in them, such as a missing void outline
_CONTROL = "color"
_DRAWS = 2000  # of the bootstrap


def measure_separability(
    data: str, embeddings: Sequence[str], root: Path | None = None, images: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return how well embeddings tell regions apart on the validation images of a data set, by distance.

    All embeddings see the same pairs of pixels, which `pairs_by_distance` and `pairs_by_border` draw. The area under
    the ROC curve is that of each image, and its mean is over the images that have pairs of both kinds at a distance.

    Args:
        data: Name of a data set for segmentation, see `segaware.data.dataset_names`.
        embeddings: "pretrained", "fast", "vgg" or .safetensors files; "color" is measured in any case, first.
        root: The data root; may be None for generated data.
        images: The most images, which are taken evenly from the split; None is all.
        seed: Seed of the pairs and of the bootstrap.

    Returns:
        What `segaware separability` writes as JSON: the areas by both kinds of distance, and their differences to
        colour with 95 % intervals by paired bootstrap over images.

    Raises:
        ValueError: The data set is unknown, it has no validation images, two embeddings have one name, or `images` is
            less than 1.
        DataError: Files of the data set are missing or broken.
        FileNotFoundError: Weights are missing.
    """
    if images is not None and images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    names = [_CONTROL, *(name for name in embeddings if name != _CONTROL)]
    titles = [Path(name).stem for name in names]
    if len(set(titles)) < len(titles):
        raise ValueError(f"embeddings must have different names, got {', '.join(titles[1:])}")
    networks = [open_embedding(name) for name in names]
    record = dataset(data, "segmentation")
    samples = record.open("val", root)
    total: int = len(samples)  # type: ignore[arg-type]
    count = min(total, images or total)
    areas = []  # of every image (embeddings, distances)
    for index in progress([total * i // count for i in range(count)], f"measuring {data}", "image"):
        sample = samples[index]
        pairs = _draw(sample, np.random.default_rng([seed, index]), 0 if record.ground else None)
        areas.append([_areas(network, sample, pairs) for network in networks])
    measured = torch.tensor(areas, dtype=torch.float64)
    return {
        "separability": data,
        "split": "val",
        "images": count,
        "of": total,
        "seed": seed,
        "pairs": f"at most {_PAIRS} of one region and {_PAIRS} of two, for every image and distance",
        "interval": f"95 %, paired bootstrap over images, {_DRAWS} draws, seed {seed}",
        "control": _CONTROL,
        "pixel_distances": PIXEL_DISTANCES,
        "border_distances": BORDER_DISTANCES,
        "measured": provenance(),
        "rows": [
            {
                "embedding": title,
                "weights": weights_digest(network.state_dict()) if network.state_dict() else None,
                **_row(measured[:, i], measured[:, 0], seed),
            }
            for i, (title, network) in enumerate(zip(titles, networks, strict=True))
        ],
    }


def _draw(sample: Sample, generator: np.random.Generator, ground_index: int | None) -> list[PixelPairs]:
    kinds = ((pairs_by_distance, PIXEL_DISTANCES), (pairs_by_border, BORDER_DISTANCES))
    return [
        pairs
        for draw, distances in kinds
        for pairs in draw(sample.label, distances, _PAIRS, generator, ground_index=ground_index)
    ]


@torch.no_grad()
def _areas(network: torch.nn.Module, sample: Sample, pairs: list[PixelPairs]) -> list[float]:
    embedding = network(sample.image[None])[0]
    try:
        return [separability(embedding, some) for some in pairs]
    except ValueError as error:
        raise ValueError(f"image {sample.name!r}: {error}") from error


def _row(areas: Tensor, control: Tensor, seed: int) -> dict[str, Any]:
    """Return what the JSON says of an embedding whose areas (images, distances) are known."""
    split = len(PIXEL_DISTANCES)
    columns = [_column(one, other, seed) for one, other in zip(areas.T, control.T, strict=True)]
    return {"by_pixel_distance": columns[:split], "by_border_distance": columns[split:]}


def _column(areas: Tensor, control: Tensor, seed: int) -> dict[str, Any]:
    """Return the mean of the areas (images,) over the images that have pairs, and its difference to the control."""
    has = ~areas.isnan()
    if not has.any():
        return {"images": 0, "area": None, "difference": None}
    interval = paired_bootstrap(
        _counted(areas[has]), _counted(control[has]), lambda sums: sums[..., 0] / sums[..., 1], _DRAWS, seed
    )
    return {"images": int(has.sum()), "area": areas[has].mean().item(), "difference": interval._asdict()}


def _counted(areas: Tensor) -> Tensor:
    """Return (images, 2): summed, they give a mean."""
    return torch.stack([areas, torch.ones_like(areas)], 1)


def draw_separability(values: dict[str, Any], path: Path) -> None:
    """Plot the areas under the ROC curve by both kinds of distance into a PNG file.

    As in tables, distances at which fewer than a quarter of the images had pairs are left out.

    Args:
        values: What `measure_separability` returns.
        path: File to write.
    """
    panels = {
        "distance between the two pixels [px]": ("pixel_distances", "by_pixel_distance"),
        "distance of both pixels to a border [px]": ("border_distances", "by_border_distance"),
    }
    curves = {
        label: (
            values[distances],
            {row["embedding"]: [_shown(column, values)["area"] for column in row[columns]] for row in values["rows"]},
        )
        for label, (distances, columns) in panels.items()
    }
    separability_curves(f"{values['separability']}, {values['images']} images", curves, path)


def _shown(column: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a column, or one that says nothing where few images had pairs."""
    return column if column["images"] >= _LEAST_SHARE * values["images"] else {"area": None, "difference": None}


def separability_cells(
    values: dict[str, Any],
    border: Sequence[int] = (1, 5, 20),
    apart: Sequence[int] = (1, 5, 20, 50, 100),
    intervals: bool = True,
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table for people, 100 times the areas.

    Args:
        values: What `measure_separability` returns.
        border: Distances to a border to show.
        apart: Distances between pixels to show.
        intervals: Whether to show the intervals of the differences to colour.
    """
    shown = [("border_distances", "by_border_distance", border), ("pixel_distances", "by_pixel_distance", apart)]
    headers = ["embedding", *(f"border {distance} px" for distance in border), *(f"{d} px apart" for d in apart)]
    rows = []
    for row in values["rows"]:
        columns = [
            _shown(row[key][list(values[distances]).index(one)], values)
            for distances, key, some in shown
            for one in some
        ]
        is_control = row["embedding"] == values["control"]
        cells = [scored(column["area"], column["difference"], 100, 1, is_control, intervals) for column in columns]
        rows.append([row["embedding"], *cells])
    return headers, rows
