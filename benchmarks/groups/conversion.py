"""What converting a network costs: time and memory beside the original, and beside masks by unfold."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segaware
from benchmarks.architectures import find_libraries
from benchmarks.gpu import card
from benchmarks.harness.fresh import measure_fresh
from benchmarks.harness.measure import Goal, Samples, interleave, summarize, wall_clock
from benchmarks.harness.plan import Group, Measurement, Settings
from segaware.nn import segaware_conv
from segaware.tuning import gpu

HARDNESS = 0.05
ORIGINAL, CONVERTED, GIVEN, UNFOLD = "original", "converted", "converted, given embedding", "converted, by unfold"
EMBEDDING = "embedding network alone"
VARIANTS = (CONVERTED, ORIGINAL, GIVEN, UNFOLD, EMBEDDING)  # the first is what unfold is compared with
GRAPH = "one CUDA graph"  # of a variant, without Python and launches
# Of two ways to sum up to some thousand products, relative to the largest value.
TOLERANCES = {"cpu": 1e-4, "cuda": 1e-1}
_LIMIT = 1.4  # times the original's time, on a GPU and with the embedding given


class Scores(nn.Module):
    """A network whose scores are one entry of what it returns."""

    def __init__(self, network: nn.Module, key: str | int) -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores."""
        return self.network(image)[self.key]


def deeplab() -> nn.Module:
    """Return torchvision's DeepLabV3 on ResNet-50."""
    from torchvision.models.segmentation import deeplabv3_resnet50

    return Scores(deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21), "out")


def resnet() -> nn.Module:
    """Return timm's ResNet-50, up to its last features."""
    import timm

    return Scores(timm.create_model("resnet50", pretrained=False, features_only=True), -1)


def upernet() -> nn.Module:
    """Return transformers' UperNet on ConvNeXt-tiny."""
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages = [f"stage{i}" for i in range(1, 5)]
    backbone = ConvNextConfig(hidden_sizes=[96, 192, 384, 768], depths=[3, 3, 9, 3], out_features=stages)
    network = UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=backbone, use_auxiliary_head=False, num_labels=21)
    )
    return Scores(network, "logits")


MODELS = {
    "torchvision deeplabv3_resnet50": deeplab,
    "timm resnet50": resnet,
    "transformers UperNet, ConvNeXt-tiny": upernet,
}


def unfold_conv2d(
    input: Tensor,
    weight: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    normalize: str,
) -> Tensor:
    """Masked convolution as others write it: all columns at once, times the mask, times the filters."""
    height, width = mask.shape[-2:]
    columns = F.unfold(input, weight.shape[-2:], dilation, padding, stride)
    columns = columns.unflatten(1, (input.shape[1], -1)) * mask.flatten(2)[:, None].to(columns.dtype)
    filters = weight.flatten(1).unflatten(0, (groups, -1)).to(columns.dtype)
    output = filters @ columns.flatten(1, 2).unflatten(1, (groups, -1))
    output = output.flatten(1, 2).unflatten(2, (height, width)) / mask.mean(1, keepdim=True)
    return output if bias is None else output + bias.view(-1, 1, 1)


def unfold_distance(
    embedding: Tensor, kernel_size: tuple[int, int], stride: Any, padding: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """L1 distances of windows, padded on both sides alike."""
    columns = F.unfold(embedding, kernel_size, dilation, padding, stride).unflatten(1, (embedding.shape[1], -1))
    inside = F.unfold(torch.ones_like(embedding[:, :1]), kernel_size, dilation, padding, stride)
    centre = kernel_size[0] // 2 * kernel_size[1] + kernel_size[1] // 2
    distance = (columns - columns[:, :, centre : centre + 1]).abs().sum(1) * inside * inside[:, centre : centre + 1]
    height, width = (
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, p, d, k, s in zip(embedding.shape[-2:], padding, dilation, kernel_size, stride, strict=True)
    )
    return distance.unflatten(2, (height, width))


@contextlib.contextmanager
def by_unfold() -> Iterator[None]:
    """Let segmentation-aware convolutions unfold inside a `with` block."""
    with (
        mock.patch.object(segaware_conv, "segaware_conv2d", unfold_conv2d),
        mock.patch.object(segaware_conv, "embedding_distance", unfold_distance),
    ):
        yield


def contender(settings: Settings, model: str, variant: str, device: str, size: int) -> Callable[[], Tensor]:
    """Return a call of one variant of a network, on the same image and with the same weights as the others."""
    find_libraries()
    torch.manual_seed(settings.seed)
    network = MODELS[model]().eval()
    image = torch.randn(1, 3, size, size)
    embedding = nn.Sequential(segaware.Denormalize(), segaware.load_embedding()).eval()
    for module in (network, embedding):
        module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = image.to(device, memory_format=torch.channels_last)

    def call(function: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                return function(image)

        return run

    if variant == ORIGINAL:
        return call(network)
    if variant == EMBEDDING:
        return call(embedding)
    if variant == GIVEN:
        given = call(embedding)().clone()
        return call(segaware.convert(network, lambda _: given, hardness=HARDNESS))
    converted = call(segaware.convert(network, embedding, hardness=HARDNESS))
    return converted if variant == CONVERTED else by_unfold()(converted)


def group(device: str) -> Group:
    """Return the group of a device, "cpu" or "cuda"."""
    on_gpu = device == "cuda"
    return Group(
        f"Converted networks, {'GPU' if on_gpu else 'CPU'}",
        f"All convolutions with a window larger than 1x1 are converted, at hardness {HARDNESS:g}; one image, "
        "channels_last, inference, random weights. The embedding network is the one that comes with segaware, at the "
        "image's full resolution. Unfold is the same network with distances and masked convolutions by "
        "`torch.nn.functional.unfold`; its output is checked against ours. Memory is the most that was "
        + (
            "allocated above weights and image, in 10^6 bytes."
            if on_gpu
            else "resident in a process of its own, libraries included, in 10^6 bytes."
        ),
        functools.partial(plan, device=device),
        runs="named",
        on_gpu=on_gpu,
        needs=("torchvision", "timm", "transformers"),
        packages=("numpy", "numba"),
    )


def plan(settings: Settings, device: str, size: int = 512) -> list[Measurement]:
    """Return the measurements: time and memory of every network, on an image of this height and width."""
    return [Measurement(model, functools.partial(_measure, settings, model, device, size)) for model in MODELS]


def _measure(settings: Settings, model: str, device: str, size: int) -> list[dict[str, Any]]:
    title = f"{model}, {size}x{size}, {'bfloat16' if device == 'cuda' else 'float32'}"
    runs = {variant: contender(settings, model, variant, device, size) for variant in VARIANTS}
    clock = gpu.clock if device == "cuda" else wall_clock
    timed = dict(runs)
    goals = []
    if device == "cuda":
        graphs = {variant: f"{variant}, {GRAPH}" for variant in (ORIGINAL, GIVEN)}
        timed |= {title: gpu.captured(runs[variant]) for variant, title in graphs.items()}
        goals = [Goal((names[GIVEN],), (names[ORIGINAL],), _LIMIT) for names in ({v: v for v in VARIANTS}, graphs)]
    times = interleave(
        timed, settings.seconds, settings.seed, same={UNFOLD: 0}, clock=clock, tolerance=TOLERANCES[device]
    )
    memory: dict[str, Samples | str] = {}
    for variant, run in runs.items():
        if device == "cuda":
            memory[variant] = Samples(None, [card.peak_megabytes(run)])
        else:
            values = measure_fresh(contender, settings, None, model=model, variant=variant, device=device, size=size)
            memory[variant] = values if isinstance(values, str) else Samples(None, [values["peak"]])
    return [
        summarize(f"{title}, forward", "ms", times, (ORIGINAL,), goals),
        summarize(f"{title}, peak memory", "MB", memory, (ORIGINAL,)),
    ]
