"""Training with the kernels is training with the reference."""

import pytest
import torch
import torch.nn.functional as F

from segaware import EmbeddingNet, use_backend
from segaware.models import DeepLabLargeFOV, ScoreRefinement
from segaware.nn import clamp_hardness


def losses(backend: str, steps: int, dtype: torch.dtype) -> list[float]:
    """The loss of each step of a short training of all parts: layers, filter, embeddings and hardness."""
    with use_backend(backend):  # type: ignore[arg-type]
        torch.manual_seed(0)
        embedding = EmbeddingNet(0.125, 8)
        network = DeepLabLargeFOV(
            4, 0.125, segaware_layers="all", hardness=0.05, fc6_dilation=2, batch_norm=True, dropout=0.0,
            refinement=ScoreRefinement(4, filter_kernel_size=5, filter_iterations=2, filter_hardness=0.1),
            embedding=embedding,
        ).to(dtype)  # fmt: skip
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        images, labels = torch.rand(4, 3, 49, 65, dtype=dtype), torch.randint(4, (4, 7, 9)).repeat_interleave(7, 1)
        labels = labels.repeat_interleave(8, 2)[:, :49, :65]
        labels = F.pad(labels, (0, 65 - labels.shape[2]), value=255)
        curve = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels, ignore_index=255)
            loss.backward()
            optimizer.step()
            clamp_hardness(network)
            curve.append(loss.item())
        return curve


# In float32 a difference of rounding grows from step to step, as it does between two machines.
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-2)])
def test_the_loss_curves_agree_step_by_step(dtype: torch.dtype, tolerance: float) -> None:
    reference, numba = losses("reference", 16, dtype), losses("numba", 16, dtype)
    assert reference[-1] < 0.9 * reference[0]  # it does train
    assert numba == pytest.approx(reference, rel=tolerance)
