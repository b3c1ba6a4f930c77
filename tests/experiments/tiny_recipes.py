"""The demo's recipes, made so small that a training takes a fraction of a second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from segaware.recipes.files import load_recipe
from segaware.recipes.schema import Recipe
from segaware.recipes.segmentation import EmbeddingRecipe

_SMALL = (
    "data.length=16",
    "data.crop=[48, 48]",  # smaller scenes may hold no object, and so no border to score
    "data.batch_size=4",
    "train.epochs=1",
    "evaluation.images=3",
    "evaluation.validation_images=2",
    "evaluation.half_widths=[1, 3]",
)
STEPS = 4  # of an epoch


def tiny(name: str, *overrides: str) -> Recipe:
    """Return the recipe `name` with tiny values and further overrides."""
    recipe = load_recipe(name)
    small = list(_SMALL)
    if not isinstance(recipe, EmbeddingRecipe):
        small.append("model.width=0.0625")
    if recipe.embedding is not None and recipe.embedding.type == "vgg":
        small += ["embedding.width=0.125", "embedding.dim=4"]
    return load_recipe(name, [*small, *overrides])


def write_recipe(path: Path, recipe: Recipe) -> str:
    """Write a recipe's YAML file and return its path, by which it can be loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    return str(path)


def write_table(
    folder: Path, rows: Sequence[str], control: str = "tiny/control", data: dict[str, Any] | None = None
) -> None:
    """Write a table, and beside it the tiny recipes of the demo, which start from one another."""
    names = ("baseline", "control", "segaware", "embedding")
    for name in names:
        values = tiny(f"demo/{name}").model_dump(mode="json")
        for key in ("model", "embedding"):
            if values["start"].get(key):
                values["start"][key] = values["start"][key].replace("demo", folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    table = {"title": "Tiny", "about": "Tiny networks.", "control": control, "rows": list(rows)}
    table |= {"figure": None, "published": [], "data": data or {}}
    (folder / "table.yaml").write_text(yaml.safe_dump(table, sort_keys=False), encoding="utf-8")
