"""Weights that DeepLab and the authors' release have trained in Caffe, put into the networks here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from segaware.models.caffemodel import read_caffemodel
from segaware.models.deeplab import OWN_TENSORS, DeepLab
from segaware.models.resnet import FrozenBatchNorm2d
from segaware.nn import ReleasedEmbedding
from segaware.nn.vgg_weights import check_shapes, copy_tensors, fold_caffe_input

_MEAN_BGR = (104.008, 116.669, 122.675)  # of DeepLab and the release; the ImageNet weights of VGG have another
_COLOUR_SCALE = 0.0039215  # of the colours that the released embedding network concatenates, as its prototxt has it
# Layers that see the image at another scale, with the weights of those without this in their names.
_COPY = re.compile("_res0(?:5|75)")
# Classifiers bear the name of their data: fc8_voc12, fc1_voc12_c0.
_CLASSIFIERS = ((re.compile(r"fc8_\w+$"), "fc8"), (re.compile(r"fc1_\w+_c(\d)$"), r"fc1_c\1"))
# First convolutions, and where what their images' mean colour adds to them goes, with its sign.
_FIRST = {
    "conv1_1": ("conv1_1.bias", 1),
    "trunk.conv1": ("trunk.bn1.running_mean", -1),
    "embedding.conv1_1": ("embedding.conv1_1.bias", 1),
}
_OPTIONAL = ("embedding.", "refinement.crf.", "refinement.filter.")  # parts that a file has as a whole or not at all


@dataclass(frozen=True)
class CaffeReport:
    """What `load_caffe` has done; as a string, a line for every blob and every tensor.

    Attributes:
        used: By name of a blob, such as "conv1[0]", the tensor of the network that it went into.
        copies: Blobs that hold the same as a used one, for the same layer at another scale of the image.
        unused: Blobs that went nowhere.
        unfilled: Tensors of the network that no blob filled, and which stay as they were.
    """

    used: dict[str, str]
    copies: tuple[str, ...]
    unused: tuple[str, ...]
    unfilled: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"blobs used: {len(self.used)}", *(f"  {blob} -> {name}" for blob, name in self.used.items())]
        for what, names in (
            ("copies of these, for other scales", self.copies),
            ("blobs not used", self.unused),
            ("tensors of the network that the file does not have, left as they were", self.unfilled),
        ):
            lines += [f"{what}: {len(names)}", *(f"  {name}" for name in names)]
        return "\n".join(lines)


class _Blobs:
    """The blobs of a file by layer, classifiers and copies under the name of the layer, and what has become of them."""

    def __init__(self, path: str | Path) -> None:
        self.layers: dict[str, list[Tensor]] = {}
        self.used: dict[str, str] = {}
        self.copies: list[str] = []
        self.names: dict[str, str] = {}  # of the layers in the file
        layers = read_caffemodel(path)
        for name in sorted(layers, key=lambda n: bool(_COPY.search(n))):  # copies last
            layer = _COPY.sub("", name)
            for pattern, replacement in _CLASSIFIERS:
                layer = pattern.sub(replacement, layer)
            if layer not in self.layers:
                self.layers[layer], self.names[layer] = layers[name], name
                continue
            ours, theirs = self.layers[layer], layers[name]
            if len(ours) != len(theirs) or not all(map(torch.equal, ours, theirs)):
                raise ValueError(
                    f"Caffe weights: {path} has layers {self.names[layer]} and {name}, which should share their weights"
                    ", but they differ"
                )
            self.copies += [f"{name}[{i}]" for i in range(len(theirs))]

    def take(
        self, layer: str, index: int, target: str, dim: int, convert: Callable[[Tensor], Tensor] = torch.clone
    ) -> dict[str, Tensor]:
        """Return a blob under the name of the tensor that it fills, with that tensor's dimensions, if there is one."""
        blobs = self.layers.get(layer, [])
        if index >= len(blobs):
            return {}
        self.used[f"{self.names[layer]}[{index}]"] = target
        blob = blobs[index].float()
        while blob.dim() > dim and blob.shape[0] == 1:  # of biases in old files, and of the CRF's matrices
            blob = blob.squeeze(0)
        return {target: convert(blob)}

    def unused(self) -> list[str]:
        """Return the names of blobs that have not been taken."""
        names = [f"{self.names[layer]}[{i}]" for layer, blobs in self.layers.items() for i in range(len(blobs))]
        return [name for name in names if name not in self.used]


def load_caffe(network: DeepLab, path: str | Path) -> CaffeReport:
    """Put the weights of a .caffemodel into a network, layer by layer, by their names in Caffe.

    `DeepLabLargeFOV` takes files of DeepLab-LargeFOV on VGG-16, `DeepLabV2` those of DeepLabV2 on ResNet-101, and
    `DeepLabV2.released` those of the authors' SegAware DeepLabV2. Caffe's input (BGR, 0..255, less DeepLab's mean
    colour) is folded into the first layers. Embedding, CRF and filter stay as they are if the file has none.

    Args:
        network: A network of width 1 with as many classes as the file's: a VGG-16 without batch normalisation, or a
            ResNet with `stride_in="1x1"`.
        path: The file.

    Returns:
        What was used and what was not; print it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or of another network, or shapes do not fit; the network is unchanged then.

    Example:
        >>> from segaware.models import DeepLabV2, load_caffe
        >>> net = DeepLabV2.released(width=0.0625)
        >>> print(load_caffe(net, "missing.caffemodel"))
        Traceback (most recent call last):
        FileNotFoundError: Caffe weights: no file missing.caffemodel
    """
    blobs = _Blobs(path)
    tensors = _layers(network, blobs) | _refinement(network, blobs, path)
    absent = tuple(part for part in _OPTIONAL if not any(name.startswith(part) for name in tensors))
    state = network.state_dict()
    targets = {
        name: tensor
        for name, tensor in state.items()
        if name in tensors or not (name.startswith(absent) or name.endswith(OWN_TENSORS))
    }
    missing = [name for name in targets if name not in tensors]
    if missing:
        raise ValueError(
            f"Caffe weights: {path} is not of this {type(network).__name__}: of its {len(targets)} tensors it lacks "
            f"{len(missing)}, {_some(missing)}; the file has layers {_some(blobs.names.values())}"
        )
    check_shapes(targets, tensors, "Caffe weights", path)
    _fold_input(tensors)
    copy_tensors(targets, tensors, "Caffe weights", path)
    unfilled = tuple(name for name in state if name not in targets)
    return CaffeReport(blobs.used, tuple(blobs.copies), tuple(blobs.unused()), unfilled)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")


def _layers(network: DeepLab, blobs: _Blobs) -> dict[str, Tensor]:
    """Return the weights of convolutions and batch normalisations."""
    tensors: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if name.startswith("embedding.") and not isinstance(network.embedding, ReleasedEmbedding):
            continue
        if isinstance(module, nn.Conv2d):
            layer = _caffe_name(name)
            tensors |= blobs.take(layer, 0, f"{name}.weight", 4)
            if module.bias is not None:
                tensors |= blobs.take(layer, 1, f"{name}.bias", 1)
        elif isinstance(module, (FrozenBatchNorm2d, nn.BatchNorm2d)):
            layer = _caffe_name(name)
            mean, variance = f"{name}.running_mean", f"{name}.running_var"
            sums = blobs.take(f"bn{layer}", 0, mean, 1) | blobs.take(f"bn{layer}", 1, variance, 1)
            # Caffe keeps sums of statistics, and how many batches' they are; 0 if it has seen none.
            for count in blobs.take(f"bn{layer}", 2, mean, 0).values():
                tensors |= {key: total / count if count else 0 * total for key, total in sums.items()}
            tensors |= blobs.take(f"scale{layer}", 0, f"{name}.weight", 1)
            tensors |= blobs.take(f"scale{layer}", 1, f"{name}.bias", 1)
    return tensors


def _caffe_name(name: str) -> str:
    """Return the name of a convolution in Caffe, and of a batch normalisation what follows "bn" and "scale" there."""
    part, _, rest = name.partition(".")
    if part == "embedding":
        return "emb" if rest == "fuse" else rest.replace("conv", "emb")
    if part == "aspp":
        return f"fc1_c{rest}"
    if part != "trunk":
        return name
    if "." not in rest:
        return "conv1" if rest == "conv1" else "_conv1"
    block, unit, layer, *which = rest.split(".")
    letter = "abc"[int(unit)] if block in ("layer1", "layer4") else "a" if unit == "0" else f"b{unit}"
    branch = "1" if layer == "downsample" else "2" + "abc"[int(layer[-1]) - 1]
    is_convolution = layer.startswith("conv") or which == ["0"]
    return f"{'res' if is_convolution else ''}{int(block[-1]) + 1}{letter}_branch{branch}"


def _refinement(network: DeepLab, blobs: _Blobs, path: str | Path) -> dict[str, Tensor]:
    """Return the weights of CRF and filter.

    The release's CRF compares a * embedding and b * position by exp(-|difference|^2 / 2), neighbours by c * position.
    """
    tensors: dict[str, Tensor] = {}
    crf = network.refinement.crf
    if crf is not None and "crf" in blobs.layers:
        if crf.metric != "sqeuclidean":
            raise ValueError(
                f"Caffe weights: the CRF in {path} compares squared Euclidean distances, the network's {crf.metric}; "
                "make it with crf_metric='sqeuclidean'"
            )
        for index, name in enumerate(("spatial_weight", "bilateral_weight", "compatibility")):
            tensors |= blobs.take("crf", index, f"refinement.crf.{name}", 2)
        tensors |= blobs.take("scaled_emb", 0, "refinement.crf.hardness", 0, lambda a: a.square() / 2)
        for layer, name in (("scaled_xy", "log_bandwidth"), ("scaled_xy2", "log_spatial_bandwidth")):
            tensors |= blobs.take(layer, 0, f"refinement.crf.{name}", 0, lambda b: -b.abs().log())
    if network.refinement.filter is not None:
        tensors |= blobs.take("halfsize_dist_sc", 0, "refinement.filter.hardness", 0)
    return tensors


def _fold_input(tensors: dict[str, Tensor]) -> None:
    """Rewrite the layers that see the image, so that they expect it as `NormalizeImage` gives it."""
    for layer, (target, sign) in _FIRST.items():
        if f"{layer}.weight" in tensors:
            tensors[f"{layer}.weight"], shift = fold_caffe_input(tensors[f"{layer}.weight"], _MEAN_BGR)
            tensors[target] = tensors[target] + sign * shift
    if "embedding.fuse.weight" in tensors:
        weight = tensors["embedding.fuse.weight"]
        colours, shift = fold_caffe_input(_COLOUR_SCALE * weight[:, :3], _MEAN_BGR)
        tensors["embedding.fuse.weight"] = torch.cat([colours, weight[:, 3:]], dim=1)
        tensors["embedding.fuse.bias"] = tensors["embedding.fuse.bias"] + shift
