"""Embedding networks whose trained weights come with segaware, and files of such networks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from segaware.nn.embedding import Embedding
from segaware.nn.hub import METADATA, Pretrained

DEFAULT_EMBEDDING = "fast"  # what "pretrained" stands for, and the network of those who choose none
_FOLDER = Path(__file__).parent.parent / "weights"
_NETWORKS: dict[str, type[BundledEmbedding]] = {}


class BundledEmbedding(Embedding, Pretrained):
    """An embedding network of which trained weights come with segaware.

    Attributes:
        bundled: Name of those weights, `segaware/weights/NAME.safetensors`.
    """

    bundled: str

    def forward_scales(self, image: Tensor, stride: int = 1) -> tuple[Tensor, list[Tensor]]:
        """Return the embedding at a stride, and those, at strides 1, 2, ..., that have their own loss in training."""
        return self(image, stride), []

    def calibrate(self, image: Tensor) -> None:
        """Scale what is learned to images (N, 3, H, W) of the training, before its first step."""
        raise NotImplementedError

    @torch.no_grad()
    def rescale(self, learned: float, colors: float) -> None:
        """Multiply the learned channels and the colours that stand beside them, so their distances, by two factors."""
        for layer in self._last_layers():
            for parameter in layer.parameters():
                parameter.mul_(learned)
        if self.colors:
            self.get_parameter("color.scale").mul_(colors)

    def _last_layers(self) -> Iterable[nn.Module]:
        """Return the layers whose sum the learned channels are."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _NETWORKS.setdefault(cls.__name__, cls)  # torch.export makes subclasses of the same name

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, revision: str | None = None) -> Self:
        """Return a trained network, ready to embed photographs.

        Args:
            path: A .safetensors file of such a network, such as `segaware export` writes for a recipe. Or a folder that
                `save_pretrained` wrote, or the name of a repository on the Hugging Face Hub, "owner/name". None takes
                the weights that come with segaware, whose model cards are in `segaware/weights/README.md`; they need
                no network connection.
            revision: Branch, tag or commit of a repository.

        Returns:
            The network in evaluation mode, float32.

        Raises:
            FileNotFoundError: If there is no such file, folder or repository.
            ValueError: If a file is damaged, of another network, or a pickle.

        Example:
            >>> from segaware.nn import FastEmbeddingNet
            >>> FastEmbeddingNet.from_pretrained()(torch.rand(1, 3, 50, 70)).shape
            torch.Size([1, 19, 50, 70])
        """
        if path is not None and Path(path).suffix.lower() != ".safetensors":
            return super().from_pretrained(path, revision)
        path = Path(path) if path is not None else _FOLDER / f"{cls.bundled}.safetensors"
        tensors, metadata = _read(path)
        try:
            network = cls._of_config(metadata[METADATA], path) if METADATA in metadata else cls._of_shapes(tensors)
            network.load_state_dict(tensors)
        except Exception as error:  # a missing tensor, a wrong shape and another network each have their own error
            raise ValueError(
                f"embedding weights: {path} is damaged, or not of class {cls.__name__}: "
                + str(error).split("\n\t")[:2][-1]  # below a headline, one line for every tensor
            ) from error
        # 1.5 times as fast as contiguous weights on a CPU.
        return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def _of_shapes(cls, tensors: dict[str, Tensor]) -> Self:
        """Return an untrained network that fits weights whose file does not say its constructor arguments."""
        raise ValueError(f"it does not say the arguments of its {cls.__name__}")


def load_embedding(name: str | Path = DEFAULT_EMBEDDING) -> BundledEmbedding:
    """Return a trained embedding network of whatever family.

    Args:
        name: Of weights that come with segaware, "fast", the default, or "vgg"; or a .safetensors file, which says its
            family. A file that does not is of an `EmbeddingNet`.

    Returns:
        The network in evaluation mode, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or of no embedding network.

    Example:
        >>> from segaware.nn import load_embedding
        >>> load_embedding()(torch.rand(1, 3, 50, 70), stride=2).shape
        torch.Size([1, 19, 25, 35])
    """
    for network in _NETWORKS.values():
        if network.bundled == name:
            return network.from_pretrained()
    _, metadata = _read(Path(name))
    try:
        family = json.loads(metadata.get(METADATA, "{}")).get("class", "EmbeddingNet")
    except (ValueError, AttributeError):
        family = None
    if not isinstance(family, str) or family not in _NETWORKS:
        raise ValueError(f"embedding weights: {name} is of a {family}, and not of one of {', '.join(_NETWORKS)}")
    return _NETWORKS[family].from_pretrained(name)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the float32 tensors and the metadata of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"embedding weights: no file {path}")
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name).float() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # damage has many errors, depending on where it is
        raise ValueError(f"embedding weights: {path} is damaged, or no safetensors file") from error
