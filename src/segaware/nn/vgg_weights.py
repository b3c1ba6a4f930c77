"""ImageNet weights of VGG-16 and VGG-19 from a file, whatever its naming."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segaware.constants import IMAGENET_MEAN, IMAGENET_STD
from segaware.ops.arguments import check_devices, check_rgb, is_number

# What torchvision's weights and all networks here expect: RGB in 0..1, less this mean, divided by this deviation.
# What Caffe's weights expect: BGR in 0..255, less this mean.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_BLOCKS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}  # convolutions in each block of VGG-16 and VGG-19

_LARGEST_WIDTH = 16  # 16,384 channels, and gigabytes a layer


class NormalizeImage(nn.Module):
    """Subtract ImageNet's mean colour from RGB images in 0..1 and divide by its deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the normalised images (N, 3, H, W).

        Raises:
            ValueError: If `image` is not a floating-point tensor (N, 3, H, W) on the device of the network.
            TypeError: If it is no tensor.
        """
        check_rgb("image", image)
        check_devices(**{"image": image, "the network": self.mean})
        return (image - self.mean) / self.std


def check_width(width: float) -> None:
    """Raise ValueError if a factor on the channels of a network's layers leaves none of 64, or is beyond sense."""
    if not (is_number(width) and width > 0 and int(64 * width) >= 1):
        raise ValueError(f"width must leave at least one channel of 64, got {width!r}")
    if width > _LARGEST_WIDTH:
        raise ValueError(f"width must be at most {_LARGEST_WIDTH}, got {width!r}")


def read_vgg_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the convolutions of a VGG network as `convB_I.weight` and `convB_I.bias`, block B, convolution I.

    Three kinds of file are understood: the names above (.safetensors, .pth); torchvision's `features.N.weight`
    (.safetensors, .pth); and a .npz of Caffe weights quantised to 8 bits, with `convB_I.weight.q`,
    `convB_I.weight.scale_min` and `convB_I.bias`. Caffe's input convention (BGR, 0..255) is folded into conv1_1, so
    that all three expect images as `NormalizeImage` gives them.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind; the message names the file and what was found in it.
    """
    path = Path(path)
    tensors = read_tensors(path, "VGG weights")
    try:
        if path.suffix.lower() == ".npz":
            weights = _dequantize(tensors)
            weights["conv1_1.weight"], shift = fold_caffe_input(weights["conv1_1.weight"], _CAFFE_MEAN_BGR)
            weights["conv1_1.bias"] = weights["conv1_1.bias"] + shift
            return weights
        if "features.0.weight" in tensors:
            return _rename_torchvision(path, tensors)
    except KeyError as error:
        raise ValueError(f"VGG weights: {path} has no {error}, it holds {list(tensors)[:3]} ...") from error
    if "conv1_1.weight" not in tensors:
        raise ValueError(f"VGG weights: {path} holds neither conv1_1.weight nor features.0.weight")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("conv")}


def load_vgg_weights(module: nn.Module, path: str | Path) -> list[str]:
    """Copy VGG weights from a file into the layers of `module` that bear their names.

    Args:
        module: A network with convolutions named conv1_1, conv1_2, ...; others are left as they are.
        path: A file that `read_vgg_weights` understands.

    Returns:
        The names of the layers that were loaded.

    Raises:
        ValueError: If a layer is missing from the file or has another shape there; nothing is changed then.
    """
    return copy_vgg_weights(module, read_vgg_weights(path), path)


def copy_vgg_weights(module: nn.Module, weights: dict[str, Tensor], path: str | Path) -> list[str]:
    """`load_vgg_weights` with what `read_vgg_weights` returned for `path`."""
    layers = {n: layer for n, layer in module.named_children() if n.startswith("conv") and isinstance(layer, nn.Conv2d)}
    parameters = {
        f"{name}.{kind}": parameter
        for name, layer in layers.items()
        for kind, parameter in layer.named_parameters()
        if kind != "hardness"  # a segmentation-aware layer's own, in no file of VGG weights
    }
    copy_tensors(parameters, weights, "VGG weights", path)
    return list(layers)


def check_shapes(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str, path: str | Path) -> None:
    """Find out whether tensors fit those of the same names.

    Args:
        targets: The tensors to copy into, by name.
        tensors: The tensors; others in it are passed over.
        what: What they are, for the message of an error.
        path: The file that they are from.

    Raises:
        ValueError: If one is missing or has another shape.
    """
    for name, target in targets.items():
        wanted, given = tuple(target.shape), tuple(tensors[name].shape) if name in tensors else "nothing"
        if given != wanted:
            raise ValueError(f"{what}: {name} needs shape {wanted}, {path} has {given} (is width 1?)")


@torch.no_grad()
def copy_tensors(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str, path: str | Path) -> None:
    """Copy tensors to those of the same names, all or, if `check_shapes` finds one that does not fit, none."""
    check_shapes(targets, tensors, what, path)
    for name, target in targets.items():
        target.copy_(tensors[name])


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors, .pth or .npz file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no tensors; the message names the file and what it should hold.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{what}: no file {path}")
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value for name, value in content.items() if isinstance(value, Tensor)}
    except Exception as error:  # every reader has its own errors, and they name neither the file nor what is wrong
        raise ValueError(f"{what}: {path} is not a file of tensors, or it is damaged") from error


def _dequantize(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = {}
    for name in (key.removesuffix(".weight.q") for key in tensors if key.endswith(".weight.q")):
        scale, minimum = tensors[f"{name}.weight.scale_min"]
        weights[f"{name}.weight"] = tensors[f"{name}.weight.q"].float() * scale + minimum
        weights[f"{name}.bias"] = tensors[f"{name}.bias"].float()
    return weights


def fold_caffe_input(weight: Tensor, mean_bgr: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Rewrite a first convolution for normalised RGB: caffe_c = 255 * std_c * x_c + (255 * mean_c - caffe_mean_c).

    Exact inside the image; in the padding around it the two conventions differ by a grey level or less.

    Args:
        weight: Weight for BGR in 0..255 less its mean, (F, 3, kh, kw).
        mean_bgr: That mean.

    Returns:
        The weight for images as `NormalizeImage` gives them, and what is to be added to the bias, (F,).
    """
    rgb = weight.flip(1)
    scale = 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    shift = 255 * torch.tensor(IMAGENET_MEAN) - torch.tensor(mean_bgr).flip(0)
    return rgb * scale, (rgb.sum((2, 3)) * shift).sum(1)


def _rename_torchvision(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    layers = {name.removeprefix("features.").removesuffix(".weight") for name, t in tensors.items() if t.dim() == 4}
    indices = sorted(int(layer) for layer in layers if layer.isdecimal())
    if any("running_mean" in name for name in tensors) or len(indices) not in _BLOCKS:
        raise ValueError(f"VGG weights: {path} is not torchvision's vgg16 or vgg19 without batch normalisation")
    names = [f"conv{b}_{i + 1}" for b, count in enumerate(_BLOCKS[len(indices)], start=1) for i in range(count)]
    return {
        f"{name}.{kind}": tensors[f"features.{index}.{kind}"]
        for name, index in zip(names, indices, strict=True)
        for kind in ("weight", "bias")
    }
