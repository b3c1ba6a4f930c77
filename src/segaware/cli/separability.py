"""The command `segaware separability`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import DataRoot, Overwrite, errors
from segaware.cli.show import show
from segaware.data import dataset
from segaware.experiments.separability import draw_separability, measure_separability, separability_cells
from segaware.outputs import check_outputs
from segaware.provenance import write_json


def separability(
    data: Annotated[list[str], typer.Option("--data", help="A data set for segmentation; may be given repeatedly.")],
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            "--embedding",
            help="pretrained (the default), fast, vgg, color, or a .safetensors file; may be given repeatedly.",
        ),
    ] = None,
    data_root: DataRoot = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="The most images of each data set, taken evenly from it.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the pairs of pixels.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for DATA.json and DATA.png.")] = Path(
        "results/separability"
    ),
    overwrite: Overwrite = False,
) -> None:
    """Say how well distances of embeddings tell regions apart, by distance, beside colour; nothing is trained."""
    with errors("what is written is whole"):
        data = list(dict.fromkeys(data))
        for name in data:
            dataset(name, "segmentation").open("val", data_root)  # all of them, before work is done for the first
        outputs = [(out / f"{name}.json", out / f"{name}.png") for name in data]
        check_outputs([path for pair in outputs for path in pair], overwrite=overwrite)
        for name, (path, figure) in zip(data, outputs, strict=True):
            values = measure_separability(name, embedding or ["pretrained"], data_root, images, seed)
            write_json(path, values)
            draw_separability(values, figure)
            title = f"{name}, {values['images']} images: area under the ROC curve x 100 (difference to colour)"
            show(title, *separability_cells(values, intervals=False))
            print(figure)
            print(path)
