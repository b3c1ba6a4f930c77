"""Draw the figures of docs/gains.md: where `refine` gains most over what a network gives, and where it loses most.

Run as `python -m docs.gains --runs RUNS --data-root DATA`, where a `segaware table everyday/predictions` has put the
scores of each data set.
"""

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segaware.data import write_png
from segaware.experiments.build import open_data
from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.experiments.tasks.segmentation.scores import SegmentationScores
from segaware.experiments.workspace import Workspace
from segaware.metrics import mean_boundary_iou
from segaware.recipes.files import load_recipe
from segaware.viz import draw_outlines, error_map, image_picture, side_by_side, stack

GIVEN = "everyday/predictions/bilinear"
# By set, the row beside it: hard masks are sure everywhere, so only strength=1 changes them.
SETS = {
    "u2netp_ecssd": "everyday/predictions/fast",
    "deeplabv3_voc": "everyday/predictions/fast",
    "polygons_ecssd": "everyday/predictions/fast_whole",
}
COUNT, HEIGHT = 2, 250


@torch.inference_mode()
def draw_gains(data: str, refined: str, workspace: Workspace) -> np.ndarray:
    """Draw the photographs of a set on which boundary IoU rises most, then those on which it falls most."""
    recipes = [load_recipe(name, [], data) for name in (GIVEN, refined)]
    networks = [load_network(n, r, workspace.weights(n))[0] for n, r in zip((GIVEN, refined), recipes, strict=True)]
    scores = [SegmentationScores.load(workspace.scores(name)) for name in (GIVEN, refined)]
    before, after = (mean_boundary_iou(one.boundary) for one in scores)
    gains = (after - before).nan_to_num(0)
    order = gains.argsort(descending=True, stable=True).tolist()
    samples = open_data(recipes[0], "val", workspace.data_root, recipes[0].evaluation.images)
    task = task_of(recipes[0])
    rows = []
    for index in (*order[:COUNT], *order[-COUNT:]):
        sample = samples[index]
        batch = sample._replace(image=sample.image[None], label=sample.label[None], scores=sample.scores[None])
        given, ours = (
            task.prediction(network(*task.inputs(recipe, batch, index)))[0].numpy()
            for recipe, network in zip(recipes, networks, strict=True)
        )
        truth = sample.label.numpy()
        panels = {
            f"boundary IoU {gains[index]:+.3f}": draw_outlines(image_picture(sample.image), given, ours, 2 * HEIGHT),
            "errors as given": error_map(given, truth),
            "errors refined": error_map(ours, truth),
        }
        rows.append(side_by_side([(title, _scaled(panel)) for title, panel in panels.items()]))
    return stack(rows)


def _scaled(picture: np.ndarray) -> np.ndarray:
    width = round(picture.shape[1] * HEIGHT / len(picture))
    return np.asarray(Image.fromarray(picture).resize((width, HEIGHT), Image.Resampling.BOX))


def main() -> None:
    """Write the figures."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    for data, refined in SETS.items():
        workspace = Workspace(arguments.runs, arguments.data_root).below(data)
        write_png(Path(__file__).parent / f"figures/gains_{data}.png", draw_gains(data, refined, workspace))


if __name__ == "__main__":
    main()
