"""What operators save for the backward pass holds no graph alive, whoever keeps it."""

import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from segaware.ops import (
    attention_mask,
    correlation,
    embedding_distance,
    segaware_conv2d,
    segaware_filter2d,
    segaware_median2d,
    segaware_upsample,
)
from segaware.ops._backends import Backend

HOOKS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "none": nullcontext,
    "identity": lambda: saved_tensors_hooks(lambda x: x, lambda x: x),
    "save_on_cpu": save_on_cpu,  # which gives back what is on the CPU already
}
OPERATORS: dict[str, Callable[[Tensor, Tensor, Backend], Tensor]] = {
    "l1": lambda x, mask, backend: embedding_distance(x, 3, padding=1, backend=backend),
    "sqeuclidean": lambda x, mask, backend: embedding_distance(x, 3, padding=1, metric="sqeuclidean", backend=backend),
    "euclidean": lambda x, mask, backend: embedding_distance(x, 3, padding=1, metric="euclidean", backend=backend),
    "half": lambda x, mask, backend: embedding_distance(x.bfloat16(), 3, padding=1, backend=backend),
    "filter": lambda x, mask, backend: segaware_filter2d(x, mask, 3, backend=backend),
    "iterated": lambda x, mask, backend: segaware_filter2d(x, mask, 3, iterations=3, border="zero", backend=backend),
    "median": lambda x, mask, backend: segaware_median2d(x, mask, 3, iterations=2, backend=backend),
    "upsampling": lambda x, mask, backend: segaware_upsample(
        x[..., ::2, ::2], mask, mask[..., ::2, ::2], 0.5, backend=backend
    ),
    "convolution": lambda x, mask, backend: segaware_conv2d(
        x, torch.ones(1, 2, 3, 3), mask, padding=1, backend=backend
    ),
    "mask": lambda x, mask, backend: attention_mask(mask, 0.5),
    "learned hardness": lambda x, mask, backend: attention_mask(mask, x.square().mean()),
    "correlation": lambda x, mask, backend: correlation(x, x, 1),
}


@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_calls_without_a_backward_pass_are_forgotten(operator: str, backend: Backend, hooks: str) -> None:
    calls = 100 if backend == "numba" else 5
    kept: list[weakref.ref[Tensor]] = []
    for _ in range(calls):
        x, mask = torch.rand(1, 2, 4, 5, requires_grad=True), torch.rand(1, 9, 4, 5, requires_grad=True)
        kept += weakref.ref(x), weakref.ref(mask)
        with HOOKS[hooks]():
            OPERATORS[operator](x, mask, backend)
        del x, mask
    gc.collect()
    assert not [reference for reference in kept if reference() is not None]


@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradients_are_the_same_under_hooks_and_in_checkpoints(operator: str, hooks: str) -> None:
    x, mask = torch.rand(1, 2, 4, 5, requires_grad=True), torch.rand(1, 9, 4, 5, requires_grad=True)
    expected = torch.autograd.grad(
        OPERATORS[operator](x, mask, "numba").square().sum(), (x, mask), allow_unused=True, materialize_grads=True
    )
    for checkpointed in (False, True):
        with HOOKS[hooks]():
            run = OPERATORS[operator]
            output = checkpoint(run, x, mask, "numba", use_reentrant=False) if checkpointed else run(x, mask, "numba")
            actual = torch.autograd.grad(output.square().sum(), (x, mask), allow_unused=True, materialize_grads=True)
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("operator", ["l1", "filter"])
def test_an_output_that_changed_in_place_is_noticed(operator: str) -> None:
    """The gradient needs it as it was."""
    x, mask = torch.rand(1, 2, 4, 5, requires_grad=True), torch.rand(1, 9, 4, 5, requires_grad=True)
    output = OPERATORS[operator](x, mask, "numba").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
