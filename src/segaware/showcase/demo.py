"""The page that `segaware demo` writes: what segmentation-awareness does, in pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segaware.data import Sample, dataset, write_png
from segaware.experiments.build import open_data
from segaware.experiments.run import load_network
from segaware.experiments.tasks.segmentation.prediction import predict_label
from segaware.experiments.workspace import Workspace
from segaware.models import DeepLabLargeFOV
from segaware.recipes.files import load_recipe
from segaware.showcase.photograph import draw_photograph
from segaware.viz import (
    Report,
    colorize,
    curve_png,
    embedding_colors,
    error_map,
    image_picture,
    side_by_side,
)
from segaware.viz.masks import draw_masks, points_inside

CONTROL, SEGAWARE, COLOR = "demo/control", "demo/segaware", "demo/filter_color"
_SCENES = 6  # shown on the page: the first ones of the validation set, not chosen
_POINTS = 3  # whose masks are shown, in each scene
_REACH = 8  # pixels that a shown mask reaches in each direction: that of the 9x9 filter at stride 2
_HEIGHT = 288  # of the scenes beside masks: three times theirs


def write_page(
    path: Path, table: dict[str, Any], headers: list[str], rows: list[list[str]], workspace: Workspace
) -> None:
    """Write the demo's page, and beside it predictions.png, the first of its pictures.

    Args:
        path: File to write.
        table: What `run_table("demo", ...)` returned.
        headers: Header of the table as the command line prints it.
        rows: Its rows.
        workspace: Where the trained recipes are.
    """
    networks = {}
    for name in (CONTROL, SEGAWARE, COLOR):
        network, _ = load_network(name, load_recipe(name), workspace.weights(name))
        assert isinstance(network, DeepLabLargeFOV)
        networks[name] = network
    report = Report(table["title"], table["about"])
    report.table(headers, rows, f"Mean IoU in percent on {table['images']} scenes; trimap: near object borders only.")
    report.paragraph(f"In brackets: difference to the control ({table['interval']}), which had the same extra steps.")
    curves = {row["title"]: [math.nan if v is None else v for v in row["trimap_miou"]] for row in table["rows"]}
    report.heading("Near the borders")
    report.picture(curve_png(curves, table["half_widths"]), "Mean IoU within a band around the borders.")
    scenes = open_data(load_recipe(SEGAWARE), "val", None, None)
    report.heading("Predictions")
    predictions = [_predictions(scenes[i], networks) for i in range(_SCENES)]
    for picture in predictions:
        report.picture(picture, "")
    write_png(path.with_name("predictions.png"), np.concatenate(predictions[:3]))
    report.heading("Masks")
    report.paragraph(
        "The windows of three pixels near a border, and the masks with which the final filter weighs them: white "
        "pixels count fully, black ones not at all. A learned embedding sees through the texture and stops at the "
        "border; colour does the opposite."
    )
    for i in range(_SCENES):
        report.picture(_masks(scenes[i], networks), "")
    report.heading("A photograph")
    report.paragraph(
        "The embedding network that comes with segaware, trained on real photographs. What DeepLabV3 says of the cat, "
        "at a sixteenth of the resolution, and what a 9x9 filter applied eight times makes of it; below, the masks of "
        "three pixels near its border."
    )
    (image, embedding, (first, before), (second, after)), masks = draw_photograph()
    report.before_after(before, after, f"{first} | {second}")
    report.gallery([image, embedding])
    report.picture(masks, "")
    report.write(path)


def _predictions(sample: Sample, networks: dict[str, DeepLabLargeFOV]) -> np.ndarray:
    palette = dataset("scenes").palette
    image, truth = image_picture(sample.image), sample.label.numpy()
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


def _masks(sample: Sample, networks: dict[str, DeepLabLargeFOV]) -> np.ndarray:
    masks = {}
    for caption, name in (("learned", SEGAWARE), ("colour", COLOR)):
        end = networks[name].refinement.filter
        assert end is not None
        masks[caption] = _embed(networks[name], sample), end.hardness.item()
    return draw_masks(
        image_picture(sample.image), points_inside(sample.label.numpy(), _POINTS, _REACH), masks, _REACH, _HEIGHT
    )
