"""Embeddings that learn from several data sets."""

import numpy as np
import pytest

from segaware.experiments.build import open_data
from segaware.experiments.run import train
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError, load_recipe

from ..data.test_everyday import write_set
from .tiny_recipes import tiny


def test_a_training_draws_from_its_mixture_and_validates_on_its_data_set(tmp_path):
    write_set(tmp_path, "duts", np.pad(np.ones((20, 20), np.uint8), 20))
    recipe = tiny("demo/embedding", "data.mixture={duts: 3, scenes: 1}")
    samples = open_data(recipe, "train", tmp_path)
    assert len(samples) == 16  # data.length
    assert {samples[0].name for _ in range(20)} > {"a"}
    assert samples[0].image.shape == (3, 48, 48)
    assert "a" not in {sample.name for sample in open_data(recipe, "val", tmp_path, 2)}
    assert train("mine", recipe, Workspace(tmp_path / "runs", tmp_path)).is_file()


def test_validation_on_files_has_their_number(tmp_path):
    for split in ("train", "val"):
        write_set(tmp_path, "duts", np.eye(8, dtype=np.uint8), split)
    recipe = load_recipe("bsds500/embedding", ["data.name=duts", "data.length=7", "data.mixture={duts: 1}"])
    assert [len(open_data(recipe, split, tmp_path)) for split in ("train", "val")] == [7, 1]


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ("{ducts: 1}", r"data\.mixture: .*unknown data set .*ducts.*did you mean duts"),
        ("{ecssd: 1}", r"data\.mixture: .*'ecssd' is for scoring alone"),
        ("{duts: 0}", r"data\.mixture\.duts: .*greater than 0, got 0"),
        ("{}", r"data\.mixture: .*at least one data set"),
    ],
)
def test_mistakes(mixture, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("bsds500/embedding", [f"data.mixture={mixture}", "data.length=4"])


def test_a_mixture_needs_a_length(tmp_path):
    recipe = load_recipe("bsds500/embedding", ["data.mixture={duts: 1}"])
    with pytest.raises(RecipeError, match=r"data\.length: a mixture needs"):
        open_data(recipe, "train", tmp_path)
