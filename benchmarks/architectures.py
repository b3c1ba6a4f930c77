"""Networks of other libraries, with random weights, and where the test set-up keeps these libraries."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segaware import EmbeddingNet, SegAwareConv2d, convert


def find_libraries() -> None:
    """Let torchvision, timm and segmentation_models_pytorch be imported from where `make test` has put them.

    That torchvision may be built for another PyTorch than the one here. All it misses then are two operators that no
    network needs, but it cannot be imported unless they are declared.
    """
    folder = Path(sys.prefix) / "architectures"
    if not folder.is_dir() or str(folder) in sys.path:
        return
    sys.path.append(str(folder))
    for library in folder.glob("torchvision/_C*.so"):
        try:
            torch.ops.load_library(library)  # as torchvision itself does
        except OSError:
            arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            for name in ("nms", "qnms"):
                torch.library.define(f"torchvision::{name}", arguments)


@dataclass(frozen=True)
class Architecture:
    """A network of another library.

    Attributes:
        library: The distribution it is from.
        name: Its name.
        build: Makes it, with random weights.
        scores: Takes the tensor that matters out of what it returns.
        sizes: Two sizes of images that it takes, small ones.
        programs: Whether it is compiled and exported.
    """

    library: str
    name: str
    build: Callable[[], nn.Module]
    scores: Callable[[Any], Tensor]
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((64, 64), (49, 83))
    programs: bool = True


def _torchvision(name: str, segmentation: bool = False) -> Architecture:
    def build() -> nn.Module:
        import torchvision

        models = torchvision.models.segmentation if segmentation else torchvision.models
        return getattr(models, name)(weights=None, **({"weights_backbone": None} if segmentation else {}))

    return Architecture("torchvision", name, build, (lambda output: output["out"]) if segmentation else _itself)


def _timm(name: str, programs: bool = True) -> Architecture:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False)

    return Architecture("timm", name, build, _itself, programs=programs)


def _smp(name: str, encoder: str) -> Architecture:
    def build() -> nn.Module:
        import segmentation_models_pytorch

        return getattr(segmentation_models_pytorch, name)(encoder, encoder_weights=None)

    # It wants sides that its encoder can halve five times.
    sizes = ((64, 64), (32, 96))
    return Architecture("segmentation_models_pytorch", f"{name}, {encoder}", build, _itself, sizes)


def _segformer() -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(SegformerConfig(hidden_sizes=[16, 32, 40, 64], decoder_hidden_size=32))


def _upernet() -> nn.Module:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages = [f"stage{i}" for i in range(1, 5)]
    backbone = ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], out_features=stages)
    return UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=backbone, hidden_size=32, use_auxiliary_head=False)
    )


def _itself(output: Tensor) -> Tensor:
    return output


def _logits(output: Any) -> Tensor:
    return output.logits


ARCHITECTURES = (
    _torchvision("deeplabv3_resnet50", segmentation=True),
    _torchvision("fcn_resnet50", segmentation=True),
    _torchvision("lraspp_mobilenet_v3_large", segmentation=True),
    _torchvision("vgg11"),
    _torchvision("resnet18"),
    _timm("resnet18"),
    _timm("convnext_atto"),
    _timm("efficientnet_b0"),
    _timm("tf_mobilenetv3_small_minimal_100", programs=False),  # compiling two sizes takes minutes, of the original too
    _smp("Unet", "resnet18"),
    _smp("DeepLabV3Plus", "resnet18"),
    Architecture("transformers", "SegformerForSemanticSegmentation", _segformer, _logits),
    Architecture("transformers", "UperNetForSemanticSegmentation", _upernet, _logits),
)


def check(architecture: Architecture, programs: bool = False) -> dict[str, Any]:
    """Convert a network, and find out what of it works.

    Args:
        architecture: The network.
        programs: Whether to compile and export it, too.

    Returns:
        How many convolutions were "converted" and "left" alone, and why; "difference", the largest to the original at
        hardness 0, in double precision and relative to its largest value; "changes", whether hardness changes what it
        computes; "trains", whether gradients reach every hardness, the embedding and the converted weights; and whether
        "compile" and "export" work, None where they do not with the original; missing where they were not tried.
    """
    torch.manual_seed(0)
    # In double precision, in which a difference that is more than rounding stands out.
    images = [torch.randn(2, 3, *size, dtype=torch.float64) for size in architecture.sizes]
    original = _awake(architecture.build().double(), images[0])
    embedding = EmbeddingNet(0.125, dim=4).double()
    converted = convert(original, embedding)
    report = converted.report()
    differences, changes = [], []
    with torch.no_grad():
        hardness = [p for name, p in converted.named_parameters() if name.endswith("hardness")]
        for image in images:
            expected, actual = architecture.scores(original(image)), architecture.scores(converted(image))
            differences.append(((actual - expected).abs().max() / expected.abs().max()).item())
            for value in (0.5, 0.0):
                for p in hardness:
                    p.fill_(value)
                if value:
                    changes.append(not torch.allclose(architecture.scores(converted(image)), expected, rtol=1e-3))
        for p in hardness:
            p.fill_(0.05)
    converted.train()
    architecture.scores(converted(images[0])).square().mean().backward()
    weights = [layer.weight for layer in converted.modules() if isinstance(layer, SegAwareConv2d)]
    # Not every hardness has a gradient here: in a small image a dilated window holds its centre alone.
    trained = [*weights, *embedding.parameters()]
    values = {
        "library": architecture.library,
        "name": architecture.name,
        "converted": len(report.converted),
        "left": dict(Counter(report.left.values())),
        "difference": max(differences),
        "changes": all(changes),
        "trains": all(p.grad is not None and bool(p.grad.isfinite().all()) for p in [*hardness, *trained])
        and all(p.grad is not None and bool(p.grad.any()) for p in trained),
    }
    if programs and architecture.programs:
        model = converted.eval()
        values["compile"] = _same_as(architecture, _compiled, original, model, images)
        values["export"] = _same_as(architecture, _exported, original, model, images[:1])
    return values


@torch.no_grad()
def _awake(network: nn.Module, image: Tensor) -> nn.Module:
    """Give batch normalisation the statistics of an image: else features of random weights fade from layer to layer."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.weight.fill_(1)  # some libraries begin with residual branches that do nothing
    network.train()(image)
    return network.eval()


def _compiled(model: nn.Module, image: Tensor) -> Any:
    return torch.compile(model, fullgraph=True, backend="aot_eager")


def _exported(model: nn.Module, image: Tensor) -> Any:
    return torch.export.export(model, (image,)).module()


def _same_as(
    architecture: Architecture,
    program: Callable[[nn.Module, Tensor], Any],
    original: nn.Module,
    converted: nn.Module,
    images: list[Tensor],
) -> bool | None:
    torch.compiler.reset()  # it gives up on a function that it has compiled for many networks
    with torch.no_grad():
        try:
            program(original, images[0])(images[0])
        except Exception:  # a compiler fails in as many ways as there are networks
            return None
        try:
            run = program(converted, images[0])
            outputs = [(architecture.scores(run(image)), architecture.scores(converted(image))) for image in images]
        except Exception:
            return False
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item()) for a, b in outputs)
