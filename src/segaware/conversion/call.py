"""One call of a converted network: the image's embedding, and how layers deep inside the network get at it.

Layers are called with features alone, so what they need waits in a variable of the thread that runs the network. Where
activations are checkpointed, layers run once more in the backward pass, for which every output of the network remembers
its call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.variable import Variable
from torch.utils._pytree import tree_map

from segaware.nn import SegAwareConv2d, SharedDistances

EmbeddingFunction: TypeAlias = Callable[[Tensor], Tensor]


class Call:
    """One call of a converted network.

    Args:
        embedding: Of the images (N, E, H, W).
    """

    def __init__(self, embedding: Tensor) -> None:
        self.shared = SharedDistances(embedding)
        self._without_gradients: set[str] = set()

    def distance(self, layer: SegAwareConv2d, name: str, input: Tensor) -> Tensor:
        """Return the distances of a layer's window over the embedding, sampled at the size of its input."""
        embedding = self.shared.embedding
        if not torch.compiler.is_exporting():
            if input.shape[0] != embedding.shape[0]:
                raise ValueError(
                    f"embedding must have the batch of the features of {name}, {input.shape[0]}, got "
                    f"{embedding.shape[0]}"
                )
            if input.shape[-2] > embedding.shape[-2] or input.shape[-1] > embedding.shape[-1]:
                raise ValueError(
                    f"embedding must not be smaller than the features of {name}, {tuple(input.shape[-2:])}, got "
                    f"{tuple(embedding.shape[-2:])}; let the embedding upsample its result, or convert other layers"
                )
            self._check_checkpoint(name)
        # Kept outside of any checkpoint: the first layer that needs a distance computes it, and it alone, so that a
        # checkpoint would see different work when it runs the layer again.
        keep = nullcontext() if torch.compiler.is_compiling() else saved_tensors_hooks(Tensor.detach, _same)
        with keep:
            return self.shared.at_size(layer, (input.shape[-2], input.shape[-1]))

    def _check_checkpoint(self, name: str) -> None:
        """Raise where a layer that ran without gradients runs again with them, in a graph that is not the embedding's.

        That is what a reentrant checkpoint does.
        """
        if torch.compiler.is_compiling() or not self.shared.embedding.requires_grad:
            return
        if not torch.is_grad_enabled():
            self._without_gradients.add(name)
        elif name in self._without_gradients and _thread.call is not self:
            raise RuntimeError(
                f"{name} is in a checkpoint with use_reentrant=True, which cannot train the embedding; pass "
                "use_reentrant=False, or freeze the embedding"
            )


def _same(x: Any) -> Any:
    return x


class _Thread(threading.local):
    def __init__(self) -> None:
        self.call: Call | None = None  # not an attribute of the class, of which a compiler's guards know nothing


_thread = _Thread()
# By number of the backward pass: the call whose layers it may run again.
_backward: WeakValueDictionary[int, Call] = WeakValueDictionary()


def run(network: Callable[..., Any], call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a network with layers that belong to `call`; one inside another is possible."""
    outer = _thread.call
    if outer is not None and not torch.compiler.is_compiling():
        args, kwargs = _remember((args, kwargs), outer)  # in the backward pass, what ran before this network is next
    _thread.call = call
    try:
        output = network(*args, **kwargs)
    finally:
        _thread.call = outer
    return output if torch.compiler.is_compiling() else _remember(output, call)


def current_call(name: str) -> Call:
    """Return the call that a layer runs in.

    Raises:
        RuntimeError: If there is none.
    """
    call = _thread.call
    if call is None and not torch.compiler.is_compiling():
        number = torch._C._current_graph_task_id()  # -1 outside of a backward pass
        call = _backward.get(number)
        if call is None and number != -1:
            raise RuntimeError(
                f"{name} is in a checkpoint and cannot tell whose backward pass this is: let the network return its "
                "tensors in tuples, lists, dicts or a class registered with torch.export.register_dataclass"
            )
    if call is None:
        raise RuntimeError(
            f"{name} is segmentation-aware and needs the image: call the converted network, not a part of it"
        )
    return call


class _Remember(torch.autograd.Function):
    """The identity. Autograd runs what came last first, so this before all layers of the call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call) -> Tensor:
        ctx.call = call
        return x.detach()  # unlike a view, it may be changed in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if ctx.call is not None:  # else autograd is about to say that this graph has been freed
            _backward[torch._C._current_graph_task_id()] = ctx.call
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            # Autograd frees its tensors then, and an output that somebody keeps should hold none of the call's either.
            Variable._execution_engine.queue_callback(lambda: setattr(ctx, "call", None))
        return grad, None


def _remember(values: Any, call: Call) -> Any:
    """Return the values with tensors that recall `call` in their backward pass."""
    if not torch.is_grad_enabled():
        return values
    return tree_map(lambda x: _Remember.apply(x, call) if isinstance(x, Tensor) and x.requires_grad else x, values)


def embed(embedding: EmbeddingFunction, *args: Any, **kwargs: Any) -> Tensor:
    """Return the embedding (N, E, H, W) of the image among the arguments of a call.

    Raises:
        ValueError: If there is no image, or its embedding is none.
    """
    image = next((x for x in (*args, *kwargs.values()) if _is_map(x)), None)
    if image is None:
        raise ValueError("a converted network needs an image, a floating-point tensor (N, C, H, W), as an argument")
    embedded = embedding(image)
    if not _is_map(embedded) or embedded.shape[1] == 0:
        given = (
            f"{tuple(embedded.shape)} of {embedded.dtype}" if isinstance(embedded, Tensor) else type(embedded).__name__
        )
        raise ValueError(
            f"embedding must give a floating-point map (N, E, H, W) with at least one channel, got {given}"
        )
    if embedded.shape[0] != image.shape[0]:
        raise ValueError(f"embedding must have the batch of the image, {image.shape[0]}, got {embedded.shape[0]}")
    return embedded


def _is_map(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() == 4 and x.is_floating_point()
