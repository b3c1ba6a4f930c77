"""What is trained and how it is compared: YAML files and their values. Nothing here trains or computes."""

from segaware.recipes.files import RecipeError, load_recipe, load_table, recipe_names, table_names
from segaware.recipes.schema import Recipe, Section, Start, Table
from segaware.recipes.stages import register_stage

__all__ = [
    "Recipe",
    "RecipeError",
    "Section",
    "Start",
    "Table",
    "load_recipe",
    "load_table",
    "recipe_names",
    "register_stage",
    "table_names",
]
