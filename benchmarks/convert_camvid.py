"""A torchvision DeepLabV3, and the same converted to segmentation-aware convolutions, trained on CamVid.

    python -m benchmarks convert_camvid --data-root DATA

trains DeepLabV3 on ResNet-50 from random weights, then goes on from there: the network as it is (the control), and
converted, each over the same batches. Writes results/conversion/camvid.json, from which `make docs` makes a section of
docs/results.md; `--runs` keeps the weights, and what is finished is not trained again. Wants a GPU and torchvision.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, Subset

import segaware
from benchmarks.architectures import find_libraries
from segaware.atomic import write_atomically
from segaware.data import CamVid, ColorJitter, Compose, RandomCrop, RandomFlip, RandomScale, Sample
from segaware.experiments.tasks.segmentation.scores import SegmentationScores, count_classes, segmentation_row
from segaware.nn import ColorEmbedding, EmbeddingNet
from segaware.nn.vgg_weights import NormalizeImage
from segaware.provenance import provenance, write_json
from segaware.training import Optimization, SegmentationStage, find_checkpoint, fit, load_weights, save_weights
from segaware.training.optimization import polynomial

HALF_WIDTHS = (1, 2, 3, 5, 10, 20, 40)
CONTROL = "control"
PASSES = 10  # over the images, between two checkpoints
HARDNESS = 0.05  # where the paper's training starts


class ClassScores(nn.Module):
    """A segmentation network of torchvision as a function of RGB in 0..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.normalize = network, NormalizeImage()

    def forward(self, image: Tensor) -> Tensor:
        """Score RGB images (N, 3, H, W) in 0..1."""
        return self.network(self.normalize(image))["out"]


def deeplab() -> nn.Module:
    """Return DeepLabV3 with random weights."""
    find_libraries()
    from torchvision.models.segmentation import deeplabv3_resnet50

    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CamVid.num_classes)
    return ClassScores(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def convert(network: nn.Module, embedding: nn.Module, layers: str | int) -> nn.Module:
    """Return the network with segmentation-aware convolutions, on an embedding that is not trained."""
    return segaware.convert(network, embedding.requires_grad_(False), layers, HARDNESS)


# Title, and what is made of the trained network.
ROWS: dict[str, tuple[str, Callable[[nn.Module], nn.Module]]] = {
    CONTROL: ("DeepLabV3, same extra steps", lambda network: network),
    "all": ("its 3x3 convolutions converted", lambda network: convert(network, EmbeddingNet.from_pretrained(), 3)),
    "head": (
        "those of the head alone",
        lambda network: convert(network, EmbeddingNet.from_pretrained(), "network.classifier.*"),
    ),
    "all_color": ("3x3 converted, on colour", lambda network: convert(network, ColorEmbedding(), 3)),
}


def main(arguments: Sequence[str]) -> None:
    """Train, predict, score, compare, and write the results file."""
    options = _options(arguments)
    titles = {"baseline": "DeepLabV3"} | {name: ROWS[name][0] for name in options.rows}
    for name in titles:
        if name == "baseline":
            _train(options, name, deeplab, options.steps, options.learning_rate)
        else:
            make = partial(_started, options, ROWS[name][1])
            _train(options, name, make, options.extra_steps, options.extra_learning_rate)
    if options.predict_only:
        return
    scores = {name: _scores(options, name) for name in titles}
    control = scores[CONTROL]
    rows = [
        {
            "recipe": name,
            "title": title,
            **segmentation_row([scores[name]], [control]),
            **_description(options, name),
        }
        for name, title in titles.items()
    ]
    write_json(
        options.out,
        {
            "table": "conversion/camvid",
            "title": "CamVid: a network of torchvision, converted",
            "about": "DeepLabV3 on ResNet-50, torchvision's, from random weights; 367 training and 101 validation "
            "images of 480x360. The validation images are from a sequence that is also in the training set, so the "
            f"figures are optimistic; they compare methods. The first row trains {rows[0]['steps']} steps of "
            f"{options.batch_size} images; the others start from its weights and take {rows[1]['steps']} steps "
            f"more, over the same batches. Hardness starts at {HARDNESS:g}; the embedding network that comes with "
            "segaware is not trained.",
            "control": CONTROL,
            "images": len(control.names),
            "half_widths": list(HALF_WIDTHS),
            "interval": "95 %, paired bootstrap over images, 2000 draws, seed 0",
            "measured": _provenance(),
            "rows": rows,
        },
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks convert_camvid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds camvid/")
    parser.add_argument("--out", type=Path, default=Path("results/conversion/camvid.json"))
    parser.add_argument("--runs", type=Path, default=Path("runs/conversion"), help="where weights and logs are kept")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--extra-steps", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--crop", type=int, nargs=2, default=(320, 448))
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--extra-learning-rate", type=float, default=0.004)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--predict-only", action="store_true", help="leave scores for later: they need no GPU")
    options = parser.parse_args(arguments)
    if CONTROL not in options.rows:
        parser.error(f"--rows needs {CONTROL}, which the others are compared with")
    return options


def _started(options: argparse.Namespace, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    network = deeplab()
    network.load_state_dict(load_weights(options.runs / "baseline.safetensors")[0])
    return change(network)


def _train(
    options: argparse.Namespace, name: str, make: Callable[[], nn.Module], steps: int, learning_rate: float
) -> None:
    """Train a network and keep its weights, how it was trained, and what it predicts, if that is not there yet."""
    if _file(options, name, "npz").is_file():
        return
    torch.manual_seed(options.seed)
    network = make()
    transform: Compose[Sample] = Compose(
        [RandomScale(0.75, 1.5), RandomCrop(*options.crop), RandomFlip(0.5), ColorJitter(0.2)]
    )
    images, validation = CamVid(options.data_root, "train", transform), CamVid(options.data_root, "val")
    generator = torch.Generator().manual_seed(options.seed)  # all rows see the same batches
    training = DataLoader(
        images,
        options.batch_size,
        sampler=RandomSampler(images, num_samples=PASSES * len(images), generator=generator),
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        generator=generator,
    )
    frozen = ("embedding",) if any(key.startswith("embedding.") for key, _ in network.named_parameters()) else ()
    optimization = Optimization(
        partial(torch.optim.SGD, momentum=0.9),
        partial(polynomial, power=0.9),
        learning_rate,
        weight_decay=5e-4,
        multipliers={"hardness": 10.0},
        frozen=frozen,
    )
    checkpoint = find_checkpoint(options.runs / name)
    started = time.perf_counter()
    fit(
        SegmentationStage(network, CamVid.num_classes, optimization),
        training,
        DataLoader(Subset(validation, range(0, len(validation), 10)), 1),
        options.runs / name,
        epochs=math.ceil(steps / len(training)),
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        gradient_clip=10.0,
        checkpoint=checkpoint,
        steps=steps,
    )
    hardness = {key: p.item() for key, p in network.named_parameters() if key.endswith("hardness")}
    description = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "hardness": {key.removeprefix("network.network."): round(value, 4) for key, value in hardness.items()},
        "seed": options.seed,
        "steps": steps,
        "seconds": None if checkpoint else round(time.perf_counter() - started),
        "trained": _provenance(),
    }
    save_weights(_file(options, name, "safetensors"), network, description)
    write_json(_file(options, name, "json"), description)
    _predict(network, validation, _file(options, name, "npz"))


@torch.inference_mode()
def _predict(network: nn.Module, images: CamVid, path: Path) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()
    classes = [network(images[i].image[None].to(device)).argmax(1).byte().cpu().numpy() for i in range(len(images))]
    content = io.BytesIO()
    np.savez_compressed(content, *classes)
    write_atomically(path, content.getvalue())


def _scores(options: argparse.Namespace, name: str) -> SegmentationScores:
    images = CamVid(options.data_root, "val")
    with np.load(_file(options, name, "npz")) as file:
        predictions = [torch.from_numpy(file[key]).long() for key in file.files]
    return SegmentationScores.measure(
        lambda _, index: lambda: predictions[index],
        DataLoader(images, 1),
        partial(count_classes, num_classes=images.num_classes, half_widths=HALF_WIDTHS),
        name,
        {"half_widths": HALF_WIDTHS},
    )


def _description(options: argparse.Namespace, name: str) -> dict[str, Any]:
    # The time of an image is not measured here: see results/bench for that.
    return json.loads(_file(options, name, "json").read_text()) | {"milliseconds": None}


def _file(options: argparse.Namespace, name: str, suffix: str) -> Path:
    return options.runs / f"{name}.{suffix}"


def _provenance() -> dict[str, Any]:
    values = provenance("python", "-m", "benchmarks")
    if torch.cuda.is_available():
        values["machine"] = f"{torch.cuda.get_device_name()}; {values['machine']}"
    return values
