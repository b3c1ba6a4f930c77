"""What was converted, what was not, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segaware.conversion.call import EmbeddingFunction, embed
from segaware.conversion.layer import ConvertedConv2d
from segaware.nn.resampling import stride_between


@dataclass(frozen=True)
class ConvertedLayer:
    """A converted convolution.

    Attributes:
        name: Its name in the network.
        window: Kernel size and what is unusual: stride, dilation, groups.
        size: Height and width of its input, if they were measured.
        stride: Rows of the embedding per row of its input.
        operations: Multiply-adds of the plain convolution.
        extra: Multiply-adds and the like that its mask adds; the distances count for the layer that needs them first.
    """

    name: str
    window: str
    size: tuple[int, int] | None = None
    stride: float | None = None
    operations: int | None = None
    extra: int | None = None


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` did; `print` shows it as a table.

    Attributes:
        converted: The converted layers.
        left: Other convolutions by name, and why they are as they were.
        extra_parameters: Parameters that were added: a hardness per layer; those of the embedding are its own.
        embedding_parameters: Parameters of the embedding.
        operations: Multiply-adds of the plain network's `Conv2d` layers, each called once, if they were measured.
        embedding_operations: Multiply-adds of the embedding's convolutions.
    """

    converted: tuple[ConvertedLayer, ...]
    left: Mapping[str, str]
    extra_parameters: int
    embedding_parameters: int
    operations: int | None = None
    embedding_operations: int | None = None

    @property
    def extra(self) -> int | None:
        """Operations that all masks add, if they were measured."""
        counts = [layer.extra for layer in self.converted if layer.extra is not None]
        return sum(counts) if counts else None

    def __str__(self) -> str:
        """Return the report as a table for a terminal."""
        rows = [("converted", "window", "input", "stride", "extra cost")]
        for layer in self.converted:
            measured = layer.size is not None and layer.operations is not None and layer.extra is not None
            rows.append(
                (
                    layer.name,
                    layer.window,
                    f"{layer.size[0]}x{layer.size[1]}" if layer.size is not None else "",
                    f"{layer.stride:g}" if layer.stride is not None else "",
                    f"+{100 * layer.extra / layer.operations:.2g} %" if measured else "",  # type: ignore[operator]
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for reason in dict.fromkeys(self.left.values()):
            lines.append(f"left alone, {reason}: {', '.join(n for n, r in self.left.items() if r == reason)}")
        lines.append(
            f"{len(self.converted)} converted, {len(self.left)} left alone, {self.extra_parameters} parameters more, "
            f"{self.embedding_parameters:,} in the embedding"
        )
        if self.operations is not None and self.extra is not None and self.embedding_operations is not None:
            lines.append(
                f"multiply-adds: {self.operations / 1e9:.3g} G plain, +{self.extra / 1e9:.2g} G for masks, "
                f"+{self.embedding_operations / 1e9:.3g} G for the embedding"
            )
        return "\n".join(lines)


def measure(
    model: nn.Module, embedding: EmbeddingFunction, left: dict[str, str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ConversionReport:
    """Report on a converted network, calling it if there are arguments.

    Args:
        model: The converted network.
        embedding: What embeds its images.
        left: Convolutions that are not converted, and why.
        args: Arguments of the call.
        kwargs: Keyword arguments of the call.
    """
    own = set(embedding.modules()) if isinstance(embedding, nn.Module) else set()
    layers = [module for module in model.modules() if isinstance(module, ConvertedConv2d) and module not in own]
    parameters = sum(p.numel() for p in embedding.parameters()) if isinstance(embedding, nn.Module) else 0
    if not args and not kwargs:
        return ConversionReport(
            tuple(ConvertedLayer(x.name, _window(x)) for x in layers), left, len(layers), parameters
        )

    with _watched(model) as seen, torch.no_grad():
        model(*args, **kwargs)
        embedded = embed(embedding, *args, **kwargs)
    rows: list[ConvertedLayer] = []
    shared = set()
    for layer in layers:
        if layer not in seen:  # not called with these arguments
            rows.append(ConvertedLayer(layer.name, _window(layer)))
            continue
        input, output = seen[layer]
        taps = output.shape[0] * output.shape[-2:].numel() * layer.weight[0, 0].numel()
        window = (input.shape[-2:], layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        # Per tap: its mask into each input channel and into the sum, and once for all layers that share them, the
        # absolute differences of each embedding channel.
        extra = taps * (layer.in_channels + 2) + (0 if window in shared else taps * embedded.shape[1])
        shared.add(window)
        rows.append(
            ConvertedLayer(
                layer.name,
                _window(layer),
                (input.shape[-2], input.shape[-1]),
                stride_between(embedded.shape[-2], input.shape[-2]) or round(embedded.shape[-2] / input.shape[-2], 2),
                _operations(layer, output),
                extra,
            )
        )
    operations = {layer: _operations(layer, output) for layer, (_, output) in seen.items()}
    inside = sum(operations.get(module, 0) for module in own)
    return ConversionReport(tuple(rows), left, len(layers), parameters, sum(operations.values()) - inside, inside)


@contextmanager
def _watched(model: nn.Module) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Record the shapes of the first input and output of each convolution, as tensors without numbers.

    Meanwhile the model is in evaluation mode.
    """
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.setdefault(layer, (inputs[0].to("meta"), output.to("meta")))

    handles = [m.register_forward_hook(record) for m in model.modules() if isinstance(m, nn.Conv2d)]
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield seen
    finally:
        for module, was in training.items():
            module.training = was
        for handle in handles:
            handle.remove()


def _operations(layer: nn.Module, output: Tensor) -> int:
    assert isinstance(layer, nn.Conv2d)
    return output.numel() * layer.weight[0].numel()


def _window(layer: nn.Conv2d) -> str:
    text = "x".join(map(str, layer.kernel_size))
    for name, usual in (("stride", (1, 1)), ("dilation", (1, 1)), ("groups", 1)):
        value = getattr(layer, name)
        if value != usual:
            text += f" {name} {value[0] if isinstance(value, tuple) and value[0] == value[1] else value}"
    return text
