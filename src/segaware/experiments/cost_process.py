"""The process in which `segaware.experiments.cost` measures.

Run as `python -m segaware.experiments.cost_process FOLDER INDEX MODULE [ROOT]`: run folder, index of the sample to
predict, the module of the recipe's task, which may not be one of ours, and the data root.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from segaware.devices import default_device
from segaware.experiments.build import open_data
from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.process_memory import forget_peak, process_memory
from segaware.provenance import provenance
from segaware.recipes.files import load_recipe

_CALLS = 5
_CORNER = 33  # pixels


def _main(folder: Path, index: int, data_root: Path | None) -> None:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    network, _ = load_network(str(folder), recipe, folder / "model.safetensors")
    task = task_of(recipe)
    sample = open_data(recipe, "val", data_root, recipe.evaluation.images)[index]
    device = default_device()
    network = network.to(device)

    def predict(side: int | None = None) -> float:
        """Predict a batch of the image, or of its corner; return the seconds that it took."""
        parts = (x[None, ..., :side, :side] if isinstance(x, torch.Tensor) else x for x in sample)
        inputs = task.inputs(recipe, type(sample)(*parts), index)
        started = time.perf_counter()
        with torch.inference_mode():
            output = network(*(x.to(device) if isinstance(x, torch.Tensor) else x for x in inputs))
            task.prediction(output).cpu()
        return time.perf_counter() - started

    # A corner of the image loads libraries and compiled kernels, which take a hundred megabytes of their own.
    predict(_CORNER)
    before = _memory(device, peak=False)
    seconds = [predict() for _ in range(1 + _CALLS)]
    peak = _memory(device, peak=True)
    cost = {
        "milliseconds": 1000 * statistics.median(seconds[1:]),
        "peak_mb": None if before is None or peak is None else peak - before,
        "image": list(sample[0].shape[-2:]),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        **{key: provenance()[key] for key in ("commit", "torch", "machine")},
    }
    print(json.dumps(cost))


def _memory(device: torch.device, peak: bool) -> float | None:
    """Return the memory held, or the most that ever was, in MB."""
    if device.type == "cuda":
        if not peak:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 1e6
    if not Path("/proc/self/status").is_file():
        return None
    if not peak:
        forget_peak()  # of loading the network
    return process_memory("VmHWM" if peak else "VmRSS")


if __name__ == "__main__":
    importlib.import_module(sys.argv[3])
    _main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
