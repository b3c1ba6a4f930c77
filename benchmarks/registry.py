"""The groups of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import gpu
from benchmarks.groups import (
    compatibility,
    conversion,
    crf,
    curves,
    distance,
    filtering,
    flow_values,
    layers,
    network,
    onnx_files,
    overhead,
    processes,
    recipes,
    refine_folder,
    refine_memory,
    refining,
    shards,
)
from benchmarks.harness.plan import PACKAGES, Group

GROUPS: dict[str, Group] = {
    "layers": Group(
        "Segmentation-aware convolution beside plain convolution",
        "The mask is given; forward + backward computes the gradients of input, weight and mask. The baseline is the "
        "faster memory format of plain `F.conv2d`, and the goal is for our faster one.",
        layers.plan,
    ),
    "distance": Group(
        "Embedding distances",
        "L1, beside unfold and the time to read the embedding twice: as warm in the cache as it is for us, or both "
        "from memory, with another copy for every call.",
        distance.plan,
    ),
    "filter": Group(
        "Bilateral filter",
        "Distances and mask included. Kornia's and OpenCV's filters are compared where they compute the same: their "
        "outputs are checked against ours, away from the border of the image, where they reflect.",
        filtering.plan,
    ),
    "crf": Group(
        "CRFs",
        "One photograph with random scores, beside pydensecrf with the constants of its README. Our dense CRF computes "
        "the same, which is checked. The segmentation-aware CRF and the filter run at half resolution, as in the "
        "recipes. Memory is measured in a fresh process each, in 10^6 bytes.",
        crf.plan,
    ),
    "refine": Group(
        "Refining a photograph",
        "`segaware.refine` from coarse scores to classes, what it needs included: embedding, distances, interpolation. "
        "pydensecrf has the constants of its README.",
        refining.plan,
    ),
    "overhead": Group("Cost of a call", "On an image so small that the call itself is what takes time.", overhead.plan),
    "network": Group(
        "Whole networks",
        "DeepLab-LargeFOV at full width. The time is without the embedding network, which is listed apart. Memory is "
        "the most that was resident in a fresh process, libraries included, in 10^6 bytes.",
        network.plan,
    ),
    "recipes": Group(
        "Recipes with each backend",
        "The untrained networks of the recipes, embedding network included, on random images of the size of their "
        "training crops. A training step is forward, loss and backward of a batch.",
        recipes.plan,
        runs="full",
    ),
    "curves": Group(
        "Cost against work",
        "Forward, each point in a fresh process; distances and mask included. Memory is above that before the first "
        "call.",
        curves.plan,
        runs="full",
    ),
    "gpu": Group(
        "On a GPU",
        "Timed by the GPU's own clock. What is not called from Python is the replay of a CUDA graph, so that small "
        "layers are not measured by the calls' overhead. Inputs stay in the GPU's cache if they fit. A floor is the "
        "arithmetic and the bytes that nobody can do without, at what this card reached in large products and copies; "
        "it counts taps inside the image and every tensor once. NATTEN computes another function of the same windows. "
        "Memory is what was allocated at most above inputs and weights, in 10^6 bytes.",
        gpu.plan,
        runs="named",
        on_gpu=True,
        packages=(*PACKAGES, "natten"),
    ),
    "conversion_cpu": conversion.group("cpu"),
    "conversion_cuda": conversion.group("cuda"),
    "compatibility": compatibility.GROUP,
    "onnx": onnx_files.GROUP,
    "flow_values": flow_values.GROUP,
    "refine_folder": refine_folder.GROUP,
    "refine_memory": refine_memory.GROUP,
    "shards": shards.GROUP,
    "shards_run": shards.RUN,
    "processes": processes.GROUP,
}


def choose_groups(names: Sequence[str], full: bool) -> dict[str, Group]:
    """Return the groups to measure: those named, else all of a CPU; some take long and are only in the long form.

    Raises:
        ValueError: If there is no such group.
    """
    for name in names:
        if name not in GROUPS:
            raise ValueError(f"unknown group {name!r}: there are {', '.join(GROUPS)}")
    chosen = names or [name for name, g in GROUPS.items() if g.runs == "always" or (full and g.runs == "full")]
    return {name: GROUPS[name] for name in chosen}
