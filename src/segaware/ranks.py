"""Processes that work on one thing together: what the first of them (rank 0) does for all, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
# On the CPU, where who waits for the first process holds up no GPU, and for as long as that takes.
_PATIENCE = timedelta(days=30)
_group: Any = None


def connect() -> None:
    """Let the processes of torch.distributed's default group work together here; one process alone needs none of it."""
    global _group
    _group = dist.new_group(backend="gloo", timeout=_PATIENCE)


def rank() -> int:
    """Return the number of this process, 0 for the first."""
    return 0 if _group is None else dist.get_rank(_group)


def world_size() -> int:
    """Return the number of processes."""
    return 1 if _group is None else dist.get_world_size(_group)


def once(work: Callable[[], T]) -> T:
    """Do something in the first process, while the others wait, and return its result in all.

    If it raises an error, the first process has it, and the others end without a word.

    Args:
        work: What to do; its result can be pickled.
    """
    if _group is None:
        return work()
    outcome: list[Any] = [False, None]
    try:
        if rank() == 0:
            outcome = [True, work()]
    finally:
        dist.broadcast_object_list(outcome, 0, _group)
    if not outcome[0]:
        raise SystemExit(0)
    result: T = outcome[1]
    return result


def share(count: int) -> range:
    """Return which of so many things are for this process: every so many-th, so that all finish at about one time."""
    return range(rank(), count, world_size())


def gathered(value: T) -> list[T]:
    """Return what all processes have given, in order of their rank, in all of them."""
    if _group is None:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, _group)
    return values


def most(*values: int) -> list[int]:
    """Return the largest that any process has given of each number, in all of them."""
    if _group is None:
        return list(values)
    largest = torch.tensor(values)
    dist.all_reduce(largest, dist.ReduceOp.MAX, _group)
    return largest.tolist()


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, in all of them; without a gradient."""
    if _group is None:
        return tensor
    tensor = tensor.detach().clone()
    dist.all_reduce(tensor)
    return tensor
