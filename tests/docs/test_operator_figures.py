"""Every public operator and layer has a figure, which is what the program draws."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import segaware.nn
import segaware.ops

# These compute nothing to look at, nothing without weights that do not come with segaware, or what looks like another's
# figure: a loss of pairs.
WITHOUT = {
    "Embedding",
    "FastEmbeddingNet",
    "MaskLoss",
    "OffsetPairLoss",
    "prune_embedding",
    "ReleasedEmbedding",
    "SharedDistances",
    "clamp_hardness",
    "load_embedding",
    "load_vgg_weights",
    "parameter_groups",
    "read_vgg_weights",
    "use_backend",
}


@pytest.fixture
def figures(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("operator_figures.py")


def test_every_operator_and_layer_has_a_figure(figures: ModuleType) -> None:
    public = {*segaware.ops.__all__, *segaware.nn.__all__, "refine"}
    assert set(figures.FIGURES) == public - WITHOUT, "draw it in docs/operator_figures.py"
    files = {path.stem: path for path in figures.FOLDER.iterdir()}
    assert files.keys() == figures.FIGURES.keys(), "run `make docs`"
    assert max(path.stat().st_size for path in files.values()) < 60_000


@pytest.mark.parametrize("name", ["attention_mask", "segaware_conv2d", "upsample"])
def test_figure_is_what_the_program_draws(figures: ModuleType, name: str) -> None:
    committed = np.array(Image.open(figures.FOLDER / f"{name}.png").convert("RGB"))
    drawn = figures.draw(name)
    assert drawn.shape == committed.shape
    difference = abs(drawn.astype(int) - committed)  # a file has fewer colours
    assert difference.mean() < 3 and np.percentile(difference, 99) < 24, "run `make docs`"
