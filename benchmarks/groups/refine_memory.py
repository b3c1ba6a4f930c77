"""Time and memory of `segaware refine` on 12 megapixels.

Every command runs in a process of its own, whose peak is that of all its life, libraries included. The image is the
photograph that comes with segaware, enlarged and repeated.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness.plan import Group, Measurement, Settings
from segaware.data import photograph, read_image
from segaware.nn import upsample

SIZE, CLASSES, STRIDE = (3000, 4000), 21, 8
CASES = {  # the scores, the method, and the most memory, of which the CRF's wide windows need more
    "filter, scores at stride 8": ("coarse", "filter", "2GB"),
    "filter, scores of the image's size": ("full", "filter", "2GB"),
    "segmentation-aware CRF, scores at stride 8": ("coarse", "segaware_crf", "4GB"),
}
# The peak in /proc is that of the process alone; getrusage's begins with that of the process that started it.
RUN = """
import sys
from segaware.cli.main import app
from segaware.process_memory import process_memory
if code := app(sys.argv[1:], standalone_mode=False):  # which returns the code of an error that it has told
    sys.exit(code)
print(process_memory("VmHWM"))
"""


def plan(settings: Settings) -> list[Measurement]:
    """Return one measurement per case."""
    return [Measurement(title, functools.partial(_measure, settings, title)) for title in CASES]


def _measure(settings: Settings, title: str) -> list[dict[str, Any]]:
    scores, method, max_memory = CASES[title]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, settings.seed, full=scores == "full")
        command = [str(folder / "image.jpg"), str(folder / f"{scores}.npy"), "--out", str(folder / "out.npy")]
        options = ["--method", method, "--max-memory", max_memory]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", RUN, "refine", *command, *options], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds = time.perf_counter() - started
    return [
        {"title": title, "max_memory": max_memory, "seconds": seconds, "peak_mb": float(done.stdout.splitlines()[-1])}
    ]


def _write_inputs(folder: Path, seed: int, full: bool) -> None:
    tile = Image.fromarray(read_image(photograph())).resize((SIZE[1] // 4, SIZE[0] // 4), Image.Resampling.BICUBIC)
    Image.fromarray(np.tile(np.array(tile), (4, 4, 1))).save(folder / "image.jpg", quality=92)
    coarse = torch.randn(CLASSES, SIZE[0] // STRIDE, SIZE[1] // STRIDE, generator=torch.Generator().manual_seed(seed))
    np.save(folder / "coarse.npy", coarse.numpy())
    if full:
        large = np.lib.format.open_memmap(folder / "full.npy", "w+", np.float32, (CLASSES, *SIZE))
        for written, scores in zip(large, coarse, strict=True):
            written[:] = upsample(scores[None, None], STRIDE, SIZE)[0, 0].numpy()


GROUP = Group(
    "Refining a photograph of 12 megapixels",
    "`segaware refine` with `--max-memory`, each in a process of its own.",
    plan,
    runs="named",
    rows="rows",
    facts={"size": SIZE, "classes": CLASSES},
)
