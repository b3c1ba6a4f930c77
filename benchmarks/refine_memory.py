"""Measure time and memory of `segaware refine` on 12 megapixels, and write results/bench/refine_memory.json.

Run as `python benchmarks/refine_memory.py [MAX_MEMORY]`. Every command runs in a process of its own, whose peak is that
of all its life, libraries included. The image is the photograph that comes with segaware, enlarged and repeated.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segaware.data import photograph, read_image
from segaware.nn import upsample
from segaware.provenance import provenance, write_json

SIZE, CLASSES, STRIDE = (3000, 4000), 21, 8
CASES = {  # the scores, and what else the command is given
    "filter, scores at stride 8": ("coarse", "filter"),
    "filter, scores of the image's size": ("full", "filter"),
    "segmentation-aware CRF, scores at stride 8": ("coarse", "segaware_crf"),
}
# The peak in /proc is that of the process alone; getrusage's begins with that of the process that started it.
RUN = """
import sys
from segaware.cli.main import app
from segaware.refining.memory import process_memory
app(sys.argv[1:], standalone_mode=False)
print(process_memory("VmHWM"))
"""


def main(max_memory: str) -> None:
    """Measure all cases."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder)
        for title, (scores, method) in CASES.items():
            out = folder / "out.npy"
            command = [str(folder / "image.jpg"), str(folder / f"{scores}.npy"), "--out", str(out)]
            options = ["--method", method, "--max-memory", max_memory, "--overwrite"]
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", RUN, "refine", *command, *options], check=True, stdout=subprocess.PIPE, text=True
            )
            seconds = time.perf_counter() - started
            rows.append({"title": title, "seconds": seconds, "peak_mb": float(done.stdout.splitlines()[-1])})
            print(rows[-1])
    facts = provenance("python", sys.argv[0])
    values = {"size": SIZE, "classes": CLASSES, "max_memory": max_memory, "rows": rows, "measured": facts}
    write_json(Path(__file__).parent.parent / "results/bench/refine_memory.json", values)


def _write_inputs(folder: Path) -> None:
    tile = Image.fromarray(read_image(photograph())).resize((SIZE[1] // 4, SIZE[0] // 4), Image.Resampling.BICUBIC)
    Image.fromarray(np.tile(np.array(tile), (4, 4, 1))).save(folder / "image.jpg", quality=92)
    coarse = torch.randn(CLASSES, SIZE[0] // STRIDE, SIZE[1] // STRIDE, generator=torch.Generator().manual_seed(0))
    np.save(folder / "coarse.npy", coarse.numpy())
    full = np.lib.format.open_memmap(folder / "full.npy", "w+", np.float32, (CLASSES, *SIZE))
    for written, scores in zip(full, coarse, strict=True):
        written[:] = upsample(scores[None, None], STRIDE, SIZE)[0, 0].numpy()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "4GB")
