"""Sizes and rates beyond sense are refused by name before any work, in every recipe and for every number."""

import copy
import functools
import operator
from collections.abc import Iterator
from typing import Any

import pytest

from segaware.recipes import files
from segaware.recipes.files import RecipeError, load_recipe
from segaware.recipes.yaml_text import parse_yaml

# One recipe of every stage, with no section or number left out.
RECIPES = {
    "demo/embedding": ["train.steps=9", "evaluation.images=9"],
    "demo/segaware": ["train.steps=9", "evaluation.images=9", "published=9"],
    "harley2017/table1/dense_crf": ["published=9"],
    "harley2017/table2/segaware": [
        "train.schedule={type: step, every: 9, factor: 0.1}",
        "data.length=9",
        "evaluation.images=9",
    ],
    "harley2017/sharpening/filter": ["published=9"],
    "harley2017/table3/segaware": [
        "data={name: flying_shapes, length: 9, size: [9, 9], crop: [9, 9], flip: [0, 0], batch_size: 9, workers: 0, "
        "affine: {scale: [1, 2], rotate: 1, translate: 0.5, relative_scale: 1, relative_rotate: 1, "
        "relative_translate: 1}, color: {brightness: 1, contrast: [1, 2], gamma: [1, 2], color: [1, 2], noise: 1}}",
        "train.steps=9",
        "train.gradient_clip=9",
        "evaluation.images=9",
        "published=9",
        "published_angle=9",
    ],
}


def _numbers(values: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    parts = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    if isinstance(values, (int, float)) and not isinstance(values, bool):
        yield place
    for key, value in parts:
        yield from _numbers(value, (*place, key))


def _cases() -> Iterator[tuple[str, str, Any]]:
    for name, overrides in RECIPES.items():
        values = load_recipe(name, overrides).model_dump(mode="json")
        for place in _numbers(values):
            yield name, ".".join(map(str, place)), values


CASES = list(_cases())


def test_cases_are_all_of_them() -> None:
    places = {place for _, place, _ in CASES}
    assert {"model.width", "train.learning_rate", "data.crop.1", "data.affine.scale.0", "loss.dilations.2"} <= places
    assert len(places) > 75


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1.0e+400", "1e400", "true", "yes", "-1", "9" * 40])
def test_no_number_is_of_that_kind(number: str) -> None:
    for name, place, values in CASES:
        if "published" in place and number in ("-1", "9" * 40):
            continue
        changed = copy.deepcopy(values)
        *path, last = (int(part) if part.isdigit() else part for part in place.split("."))
        functools.reduce(operator.getitem, path, changed)[last] = parse_yaml(number)
        with pytest.raises(RecipeError, match=rf"^recipe {name}: {place.rpartition('.')[0]}"):
            files._validated(name, changed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.width=1e9", "less than or equal to 8"),
        ("embedding.width=1e9", "less than or equal to 8"),
        ("data.workers=100000", "less than or equal to 256"),
        ("data.crop=[1000000, 1000000]", "less than or equal to 8192"),
        ("data.scale=[1, 1e9]", "less than or equal to 100"),
        ("data.scale=[2, 1]", "low <= high"),
        ("data.batch_size=1000000", "less than or equal to 4096"),
        ("data.length=1000000000000", "less than or equal to 10000000"),
        ("model.filter_kernel_size=1000001", "less than or equal to 255"),
        ("model.fc6_dilation=1048576", "less than or equal to 1024"),
        ("model.filter_stride=1000000000000", "less than or equal to 64"),
        ("model.filter_iterations=1000000000", "less than or equal to 1000"),
        ("model.hardness=1e30", "less than or equal to 10000"),
        ("model.dropout=1", "less than 1"),
        ("train.optimizer.momentum=1", "less than 1"),
        ("train.epochs=1000000000000", "less than or equal to 1000000000"),
        ("train.learning_rate=1e30", "less than or equal to 100"),
        ("train.hardness_multiplier=1e30", "less than or equal to 10000"),
        ("train.weight_decay=1e30", "less than or equal to 10"),
        ("seed=-1", "-1 is not in bounds, from 0 to 4294967295"),
        ("seed=4294967296", "4294967296 is not in bounds, from 0 to 4294967295"),
        ("evaluation.half_widths=[1, 1000000]", "less than or equal to 8192"),
    ],
)
def test_beyond_sense(override: str, message: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(RecipeError, match=rf"^recipe demo/segaware: {key}.*{message}, got "):
        load_recipe("demo/segaware", [override])


def test_windows_of_the_pair_loss() -> None:
    for dilations in ("[]", "[0]", "[1048576]", f"[{'1, ' * 100}]"):
        with pytest.raises(RecipeError, match=r"^recipe demo/embedding: loss.dilations"):
            load_recipe("demo/embedding", [f"loss.dilations={dilations}"])
