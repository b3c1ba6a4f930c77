"""Convert networks of other libraries and find out what works.

    python benchmarks/compatibility.py

writes results/bench/compatibility.json, from which `make docs` makes docs/compatibility.md. Needs torchvision, timm,
segmentation_models_pytorch and transformers.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from architectures import ARCHITECTURES, check, find_libraries
from tqdm.auto import tqdm

from segaware.provenance import provenance, write_json


def main() -> None:
    """Check every network, and write the results file."""
    find_libraries()
    networks = [check(architecture, programs=True) for architecture in tqdm(ARCHITECTURES)]
    libraries = {architecture.library: version(architecture.library) for architecture in ARCHITECTURES}
    measured = {**provenance("python", sys.argv[0]), **libraries}
    write_json(Path("results/bench/compatibility.json"), {"measured": measured, "networks": networks})


if __name__ == "__main__":
    main()
