"""The page that `segaware demo` writes: what segmentation-awareness does, in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segaware.data import Sample, dataset_info
from segaware.models import DeepLabLargeFOV
from segaware.ops import attention_mask, embedding_distance
from segaware.recipes.build import open_data
from segaware.recipes.files import load_recipe
from segaware.recipes.prediction import predict_label
from segaware.recipes.run import load_network, weights_path
from segaware.viz import (
    Report,
    colorize,
    curve_png,
    embedding_colors,
    error_map,
    mark_points,
    mask_picture,
    side_by_side,
)

CONTROL, SEGAWARE, COLOR = "demo/control", "demo/segaware", "demo/filter_color"
_SCENES = 6  # shown on the page: the first ones of the validation set, not chosen
_POINTS = 3


def write_page(path: Path, table: dict[str, Any], headers: list[str], rows: list[list[str]], runs: Path) -> None:
    """Write the demo's page.

    Args:
        path: File to write.
        table: What `run_table("demo", ...)` returned.
        headers: Header of the table as the command line prints it.
        rows: Its rows.
        runs: Folder of the trained recipes.
    """
    networks = {}
    for name in (CONTROL, SEGAWARE, COLOR):
        network, _ = load_network(name, load_recipe(name), weights_path(runs, name))
        assert isinstance(network, DeepLabLargeFOV)
        networks[name] = network
    report = Report(table["title"], table["about"])
    report.table(headers, rows, f"Mean IoU in percent on {table['images']} scenes; trimap: near object borders only.")
    report.paragraph(f"Differences: {table['interval']}. The control had the same extra training steps.")
    curves = {row["title"]: row["trimap_miou"] for row in table["rows"]}
    report.heading("Near the borders")
    report.picture(curve_png(curves, table["half_widths"]), "Mean IoU within a band around the borders.")
    scenes = open_data(load_recipe(SEGAWARE), "val", None, None)
    report.heading("Predictions")
    for i in range(_SCENES):
        report.picture(_predictions(scenes[i], networks), scenes[i].name)
    report.heading("Masks at three border pixels")
    report.paragraph(
        "Each tile is one pixel's window: white pixels count fully, black ones not at all. The learned embedding sees "
        "through the texture and stops at the border; colour does the opposite."
    )
    for i in range(_SCENES):
        report.picture(_masks(scenes[i], networks), scenes[i].name)
    report.write(path)


def _picture(sample: Sample) -> np.ndarray:
    return (sample.image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def _predictions(sample: Sample, networks: dict[str, DeepLabLargeFOV]) -> np.ndarray:
    palette = dataset_info("scenes").palette
    image, truth = _picture(sample), sample.label.numpy()
    before, after = (predict_label(networks[name], image) for name in (CONTROL, SEGAWARE))
    return side_by_side(
        [
            ("input", image),
            ("truth", colorize(truth, palette)),
            ("control", colorize(before, palette)),
            ("segmentation-aware", colorize(after, palette)),
            ("errors, control", error_map(before, truth)),
            ("errors, segaware", error_map(after, truth)),
            ("embedding (PCA)", embedding_colors(_embed(networks[SEGAWARE], sample)[0])),
        ]
    )


@torch.inference_mode()
def _embed(network: DeepLabLargeFOV, sample: Sample) -> torch.Tensor:
    assert network.embedding is not None
    embedding: torch.Tensor = network.embedding(sample.image[None])
    return embedding


def border_points(label: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return pixels just inside objects, spread over the scene: evenly spaced in the list of all such pixels."""
    inside = label[8:-8, 8:-8]
    at_border = (inside != 0) & (label[8:-8, 5:-11] != inside)
    rows, columns = np.nonzero(at_border)
    if len(rows) == 0:
        return []
    chosen = np.linspace(0, len(rows) - 1, count + 2).round().astype(int)[1:-1]
    return [(int(rows[i]) + 8, int(columns[i]) + 8) for i in chosen]


def _masks(sample: Sample, networks: dict[str, DeepLabLargeFOV]) -> np.ndarray:
    image = _picture(sample)
    points = border_points(sample.label.numpy(), _POINTS)
    panels = [("marked pixels", mark_points(image, points))]
    for number, (row, column) in enumerate(points, start=1):
        patch = image[row - 8 : row + 9, column - 8 : column + 9].repeat(8, 0).repeat(8, 1)
        panels.append((f"{number}: patch", patch))
        for caption, name in (("learned", SEGAWARE), ("colour", COLOR)):
            panels.append((f"{number}: {caption}", mask_picture(_mask(networks[name], sample, row, column), 17)))
    return side_by_side(_same_height(panels))


def _same_height(panels: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """Enlarge or crop nothing but pad below with white, so that pictures of two heights stand in one row."""
    height = max(picture.shape[0] for _, picture in panels)
    return [
        (caption, np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255))
        for caption, picture in panels
    ]


@torch.inference_mode()
def _mask(network: nn.Module, sample: Sample, row: int, column: int) -> torch.Tensor:
    """Return one pixel's 17x17 mask under a network's embedding and the hardness of its final filter."""
    assert isinstance(network, DeepLabLargeFOV) and network.filter is not None
    window = _embed(network, sample)[:, :, row - 8 : row + 9, column - 8 : column + 9]
    return attention_mask(embedding_distance(window, 17), network.filter.hardness)[0, :, 0, 0]
