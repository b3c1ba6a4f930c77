"""The command `segaware eval`."""

from __future__ import annotations

from pathlib import Path

from segaware.cli.options import DataRoot, Overrides, RecipeName, Runs, Weights, errors, read_recipe
from segaware.cli.show import show
from segaware.experiments.evaluation import evaluate as evaluate_recipe
from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.outputs import check_outputs
from segaware.provenance import provenance, write_json


def evaluate(
    recipe: RecipeName,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
) -> None:
    """Score a trained recipe on its validation images: mean, trimap and boundary IoU; or the errors of its flow."""
    with errors():
        values, workspace = read_recipe(recipe, overrides, runs, data_root)
        network, _ = load_network(recipe, values, checkpoint or workspace.weights(recipe))
        path = workspace.folder(recipe) / "scores.json"
        check_outputs([path], overwrite=True)  # it is this command's own
        result, headers, cells = task_of(values).summary(evaluate_recipe(values, network, workspace))
        show(f"{values.title}, {result['images']} images", headers, [cells])
        write_json(path, {"recipe": recipe, **result, "measured": provenance()})
        print(path)
