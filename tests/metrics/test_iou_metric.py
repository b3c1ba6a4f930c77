import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchmetrics.segmentation import MeanIoU as PerImageMeanIoU

from segaware.metrics import MeanIoU

ONE_OF_TWO_PROCESSES = """
import sys
import torch
from segaware.metrics import MeanIoU
rank, rendezvous = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
metric = MeanIoU(2)
metric.update(torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]][rank]), torch.tensor([[0, 0, 0, 0], [0, 1, 1, 255]][rank]))
print(metric.compute().item(), *metric.per_class().tolist())
torch.distributed.destroy_process_group()
"""


def images() -> tuple[Tensor, Tensor]:
    """Two images: in the first class 0 has 4 pixels, in the second 1 (and one pixel is void)."""
    return torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]]), torch.tensor([[0, 0, 0, 0], [0, 1, 1, 255]])


def test_equals_the_hand_computation_on_the_whole_set() -> None:
    metric = MeanIoU(num_classes=2)
    for prediction, target in zip(*images(), strict=True):
        metric.update(prediction, target)
    # Class 0: 3 of 5 true pixels found, none wrongly; class 1: 2 found, 2 wrongly.
    assert metric.per_class().tolist() == [3 / 5, 2 / 4]
    assert metric.compute().item() == pytest.approx((3 / 5 + 2 / 4) / 2)


def test_is_not_the_mean_over_images() -> None:
    prediction, target = torch.tensor([[[0, 0, 0, 1]], [[1, 1, 1, 1]]]), torch.tensor([[[0, 0, 0, 0]], [[0, 1, 1, 1]]])
    per_image = PerImageMeanIoU(num_classes=2, input_format="index")
    whole_set = MeanIoU(num_classes=2)
    per_image.update(prediction, target)
    whole_set.update(prediction, target)
    # Image 1: 3/4 and 0; image 2: 0 and 3/4. Set: 3/5 and 3/5.
    assert per_image.compute().item() == pytest.approx(0.375)
    assert whole_set.compute().item() == pytest.approx(0.6)


def test_states_of_two_halves_add_up() -> None:
    prediction = torch.randint(0, 5, (6, 8, 8), generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 5, (6, 8, 8), generator=torch.Generator().manual_seed(1))
    whole, left, right = MeanIoU(5), MeanIoU(5), MeanIoU(5)
    whole.update(prediction, target)
    left.update(prediction[:2], target[:2])
    right.update(prediction[2:], target[2:])
    assert not torch.equal(left.confusion, whole.confusion)
    left.merge_state(right)
    assert left.compute() == whole.compute()


def test_reset_forgets() -> None:
    metric = MeanIoU(2)
    metric.update(*images())
    metric.reset()
    metric.update(torch.tensor([1]), torch.tensor([1]))
    assert metric.compute().item() == 1.0


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO_PROCESSES, str(rank), str(tmp_path / "rendezvous")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert [float(word) for word in output.split()] == pytest.approx([0.55, 0.6, 0.5])
