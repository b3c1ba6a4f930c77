"""The command `segaware tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from segaware.cli.options import errors
from segaware.ops._tuned_tiles import tiles_path
from segaware.outputs import make_folder
from segaware.tuning import gpu, search


def tune(
    seed: Annotated[int, typer.Option("--seed", help="Seed of the inputs.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try the likeliest tiles alone, for 8 images in bfloat16 (three minutes).")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The JSON file to write; if not given, the one that the kernels read."),
    ] = None,
) -> None:
    """Search the tiles of the GPU kernels for layers like DeepLab's, and keep the fastest (an hour on a GPU)."""
    with errors():
        problem = gpu.problem()
        if problem is not None:
            raise ValueError(f"tiles cannot be tuned: {problem}")
        path = out or tiles_path(torch.cuda.get_device_name())
        make_folder(path.parent)
        less: dict[str, Any] = {"batches": (8,), "precisions": ("bfloat16",), "quick": True} if quick else {}
        for line in search.tune(seed, path, **less):
            print(line, flush=True)
        print(path)
