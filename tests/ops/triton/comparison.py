"""An operator and its gradients with Triton's kernels, against its reference in double precision."""

import os
from collections.abc import Callable, Sequence

import torch
from hypothesis import settings
from torch import Tensor

from ..random_windows import repeatable

# The interpreter runs kernels on the CPU.
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"

# The interpreter takes seconds for one window.
few = settings(repeatable, max_examples=6 if DEVICE == "cpu" else 30)

# Relative to the largest value: sums of up to some hundred products in these types, with the operands rounded to them.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def random_numbers(*shape: int, seed: int = 0) -> Tensor:
    """Numbers with ties, which bfloat16 can hold."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(8).round().div(8).to(DEVICE)


def positive_numbers(*shape: int, seed: int = 0) -> Tensor:
    """Numbers between 1/8 and 1, which bfloat16 can hold."""
    return torch.randint(1, 9, shape, generator=torch.Generator().manual_seed(seed)).div(8).to(DEVICE)


def results(run: Callable[..., Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The output and the gradients of all tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = run(*leaves)
    grad = random_numbers(*output.shape, seed=1).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


def same_as_reference(run: Callable[..., Tensor], tensors: Sequence[Tensor], tolerance: float | None = None) -> None:
    """Compare `run(*tensors, backend)` with both backends, forward and every gradient."""
    expected = results(lambda *leaves: run(*leaves, "reference"), [t.double() for t in tensors])
    actual = results(lambda *leaves: run(*leaves, "triton"), tensors)
    if expected[0].isnan().any():  # of a window without a pixel; what it gives to its taps means nothing
        actual, expected = actual[:1], expected[:1]
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert a.dtype == (actual[0].dtype if i == 0 else tensors[i - 1].dtype)
        scale = max(b.nan_to_num().abs().max().item(), 1) if b.numel() else 1
        limit = scale * (TOLERANCES[tensors[0].dtype] if tolerance is None else tolerance)
        torch.testing.assert_close(a.double(), b, rtol=0, atol=limit, equal_nan=True, msg=lambda m, i=i: f"{i}: {m}")
