"""The command `segaware export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import Overrides, RecipeName, Runs, Weights, errors, read_recipe
from segaware.experiments.export import export_embedding, export_network
from segaware.outputs import check_outputs
from segaware.recipes.files import RecipeError


def export(
    recipe: RecipeName,
    out: Annotated[Path, typer.Argument(help="The file to write: .onnx or .safetensors.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    hardness: Annotated[float, typer.Option(min=0, help="What hardness 1 is to mean with exported embeddings.")] = 1.0,
    colors: Annotated[float, typer.Option(min=0, help="Factor on the colours beside learned embeddings.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a trained network as ONNX; or its embeddings in half precision, for `segaware.nn.load_embedding`."""
    with errors():
        suffix = out.suffix.lower()
        if suffix not in (".onnx", ".safetensors"):
            raise RecipeError(f"the file to write must end in .onnx or .safetensors, got {out}")
        if suffix == ".onnx" and (hardness != 1 or colors != 1):
            raise RecipeError(f"--hardness and --colors are for embeddings in .safetensors, got {out}")
        values, workspace = read_recipe(recipe, overrides, runs)
        weights = checkpoint or workspace.weights(recipe)
        check_outputs([out], [weights, workspace.weights(recipe)], overwrite)
        if suffix == ".onnx":
            difference = export_network(recipe, values, weights, out)
            print(f"largest difference to onnxruntime: {difference:.1e}")
        else:
            export_embedding(recipe, values, workspace, out, checkpoint, hardness=hardness, colors=colors)
        print(out)
