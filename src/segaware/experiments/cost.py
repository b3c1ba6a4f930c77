"""What one image costs a trained network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segaware.experiments.tasks import Task
from segaware.experiments.workspace import is_up_to_date
from segaware.fresh_process import run_fresh
from segaware.provenance import write_json
from segaware.recipes.files import RecipeError


def measure_cost(folder: Path, index: int, task: Task[Any, Any], data_root: Path | None) -> dict[str, Any]:
    """Measure time and memory of predicting one validation image; for the same weights only once.

    Nothing else should run on the machine meanwhile.

    Args:
        folder: Run folder of a trained recipe. The result is kept there as cost.json.
        index: Index of the image among those that the recipe scores.
        task: The recipe's task, registered by the module that defines it.
        data_root: Folder that holds the data sets.

    Returns:
        The median time of 5 calls after a first one, "milliseconds"; the most memory above what the process (or the
        GPU) held before the first call, libraries and the network included, "peak_mb" in 10^6 bytes, None where the
        system does not tell; and what was measured.

    Raises:
        RecipeError: If the process fails.
    """
    path = folder / "cost.json"
    if not is_up_to_date(path, folder / "model.safetensors"):
        data = [] if data_root is None else [str(data_root)]
        module = type(task).__module__
        values = run_fresh("segaware.experiments.cost_process", str(folder), str(index), module, *data)
        if isinstance(values, str):
            raise RecipeError(f"measuring the cost of {folder} failed: {values}")
        write_json(path, values)
    cost: dict[str, Any] = json.loads(path.read_text())
    return cost
