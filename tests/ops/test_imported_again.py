"""The package can be imported again in a process that has its operators already."""

import subprocess
import sys

SCRIPT = """
import gc, importlib, sys
import torch
import segaware

def run():
    import segaware

    image = torch.randn(1, 4, 6, 6, requires_grad=True)
    mask = segaware.attention_mask(segaware.embedding_distance(image, 3, padding=1), 0.5)
    convolved = segaware.segaware_conv2d(image, torch.randn(2, 4, 3, 3), mask, padding=1)
    (convolved.sum() + segaware.segaware_filter2d(image, mask, 3).sum()).backward()
    assert image.grad.isfinite().all()
    assert segaware.embedding_distance(torch.empty(1, 4, 6, 6, device="meta"), 3).shape == (1, 9, 4, 4)
    gc.collect()

old = segaware.embedding_distance
run()
for name in [name for name in sys.modules if name.startswith("segaware")]:
    del sys.modules[name]
run()
assert sys.modules["segaware"].embedding_distance is not old
old(torch.randn(1, 4, 6, 6, requires_grad=True), 3).sum().backward()
for name in [name for name in sys.modules if name.startswith("segaware.ops")]:
    importlib.reload(sys.modules[name])
run()

library = sys.modules["segaware.ops.distance.library"]
library.kernels = None  # the newest functions are what runs
try:
    run()
except TypeError:
    print("done")
"""


def test_operators_are_registered_again() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert result.stdout == "done\n", result.stderr
