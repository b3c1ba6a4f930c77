"""A torchvision DeepLabV3, and the same converted to segmentation-aware convolutions, trained on CamVid.

    python benchmarks/convert_camvid.py --data-root DATA

trains DeepLabV3 on ResNet-50 from random weights, then goes on from there: the network as it is (the control), and
converted, each over the same batches. Writes results/conversion/camvid.json, from which `make docs` makes a section of
docs/results.md; `--runs` keeps the weights, and what is finished is not trained again. Wants a GPU and torchvision.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.models.segmentation import deeplabv3_resnet50

import segaware
from segaware.data import CamVid, ColorJitter, Compose, RandomCrop, RandomFlip, RandomScale
from segaware.nn import ColorEmbedding, EmbeddingNet
from segaware.recipes.evaluation import Scores, score
from segaware.recipes.provenance import provenance, write_json
from segaware.recipes.table import compared_with
from segaware.training import Optimization, SegmentationStage, find_checkpoint, fit, load_weights, save_weights

HALF_WIDTHS = (1, 2, 3, 5, 10, 20, 40)
CONTROL = "control"
HARDNESS = 0.05  # where the paper's training starts


class ClassScores(nn.Module):
    """A segmentation network of torchvision as a function of RGB in 0..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Score RGB images (N, 3, H, W) in 0..1."""
        return self.network((image - self.mean) / self.std)["out"]


def deeplab() -> nn.Module:
    """Return DeepLabV3 with random weights."""
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CamVid.num_classes)
    return ClassScores(network).to(memory_format=torch.channels_last)


def convert(network: nn.Module, embedding: nn.Module, layers: str | int) -> nn.Module:
    """Return the network with segmentation-aware convolutions, on an embedding that is not trained."""
    return segaware.convert(network, embedding.requires_grad_(False), layers=layers, hardness=HARDNESS)


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


def main() -> None:
    """Train, score, compare, and write the results file."""
    options = _options()
    start = _trained(options, "baseline", deeplab, options.steps, options.learning_rate)
    titles, networks = {"baseline": "DeepLabV3"}, {"baseline": start}
    for name in options.rows:
        titles[name], change = ROWS[name]

        def make(change: Callable[[nn.Module], nn.Module] = change) -> nn.Module:
            network = deeplab()
            network.load_state_dict(start[0].state_dict())
            return change(network)

        networks[name] = _trained(options, name, make, options.extra_steps, options.extra_learning_rate)
    scores = {name: _scores(options, name, network) for name, (network, _) in networks.items()}
    control = scores[CONTROL]
    write_json(
        options.out,
        {
            "table": "conversion/camvid",
            "title": "CamVid: a network of torchvision, converted",
            "about": "DeepLabV3 on ResNet-50, torchvision's, from random weights; 367 training and 101 validation "
            "images of 480x360. The validation images are from a sequence that is also in the training set, so the "
            f"figures are optimistic; they compare methods. The first row trains {options.steps} steps of "
            f"{options.batch_size} images; the others start from its weights and take {options.extra_steps} steps "
            f"more, over the same batches. Hardness starts at {HARDNESS:g}; the embedding network that comes with "
            "segaware is not trained.",
            "control": CONTROL,
            "images": len(control.names),
            "half_widths": list(HALF_WIDTHS),
            "interval": "95 %, paired bootstrap over images, 2000 draws, seed 0",
            "measured": _provenance(),
            "rows": [
                {
                    "recipe": name,
                    "title": titles[name],
                    **compared_with(control, scores[name]),
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "hardness": {
                        key: round(p.item(), 4) for key, p in network.named_parameters() if key.endswith("hardness")
                    },
                    "seed": options.seed,
                    **trained,
                }
                for name, (network, trained) in networks.items()
            ],
        },
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    options = parser.parse_args()
    if CONTROL not in options.rows:
        parser.error(f"--rows needs {CONTROL}, which the others are compared with")
    return options


def _trained(
    options: argparse.Namespace, name: str, make: Callable[[], nn.Module], steps: int, learning_rate: float
) -> tuple[nn.Module, dict[str, Any]]:
    """Train a network, or load what was trained before; return it, and how it was trained."""
    path, folder = options.runs / f"{name}.safetensors", options.runs / name
    torch.manual_seed(options.seed)
    network = make()
    if path.is_file():
        tensors, description = load_weights(path)
        network.load_state_dict(tensors)
        return network, description
    transform = Compose([RandomScale(0.75, 1.5), RandomCrop(*options.crop), RandomFlip(0.5), ColorJitter(0.2)])
    training = DataLoader(
        CamVid(options.data_root, "train", transform),
        options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        generator=torch.Generator().manual_seed(options.seed),  # all rows see the same batches
    )
    stage = SegmentationStage(
        network,
        CamVid.num_classes,
        Optimization(
            "sgd",
            learning_rate,
            momentum=0.9,
            weight_decay=5e-4,
            power=0.9,
            hardness_multiplier=10.0,
            # freeze() makes all other parameters trainable, those of the embedding too.
            frozen=("embedding.",)
            if any(key.startswith("embedding.") for key, _ in network.named_parameters())
            else (),
        ),
    )
    checkpoint = find_checkpoint(folder)
    started = time.perf_counter()
    fit(
        stage,
        training,
        DataLoader(Subset(CamVid(options.data_root, "val"), range(0, 101, 10)), 1),
        folder,
        epochs=math.ceil(steps / len(training)),
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        gradient_clip=10.0,
        checkpoint=checkpoint,
        steps=steps,
    )
    description = {
        "steps": steps,
        "seconds": None if checkpoint else round(time.perf_counter() - started),
        "trained": _provenance(),
    }
    save_weights(path, network, description)
    return network, description


@torch.inference_mode()
def _scores(options: argparse.Namespace, name: str, trained: tuple[nn.Module, dict[str, Any]]) -> Scores:
    path = options.runs / f"{name}.npz"
    if not path.is_file():
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = trained[0].to(device).eval()
        images = DataLoader(CamVid(options.data_root, "val"), 1)
        scores = score(
            lambda sample, _: network(sample.image.to(device)).argmax(1), images, CamVid.num_classes, HALF_WIDTHS, name
        )
        scores.save(path)
    return Scores.load(path)


def _provenance() -> dict[str, Any]:
    values = provenance() | {"command": shlex.join(["python", *sys.argv])}
    if torch.cuda.is_available():
        values["machine"] = f"{torch.cuda.get_device_name()}; {values['machine']}"
    return values


if __name__ == "__main__":
    main()
