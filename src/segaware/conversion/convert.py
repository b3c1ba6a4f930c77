"""Making an existing network segmentation-aware, and plain again."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from segaware.conversion.call import Call, EmbeddingFunction, embed, run
from segaware.conversion.choice import Layers, choose
from segaware.conversion.layer import ConvertedConv2d, become_plain, become_segaware
from segaware.conversion.report import ConversionReport, measure

_ITEMS = ("__len__", "__iter__", "__contains__", "__getitem__", "__setitem__", "__delitem__")


class SegAwareModel(nn.Module):
    """A network with segmentation-aware convolutions, called as the network that it was; see `convert`.

    Attributes that it does not have are those of the network, also where they are set or deleted: `converted.fc = ...`
    replaces the layer that is called, and new buffers, parameters and modules are the network's.

    Args:
        network: The network, with converted layers.
        embedding: What embeds its images, a module or function.
        left: Why each other convolution was left alone, by name.

    Attributes:
        network: The network, with converted layers.
        embedding: What embeds its images, a module or function.
    """

    embedding: EmbeddingFunction

    def __init__(self, network: nn.Module, embedding: EmbeddingFunction, left: dict[str, str]) -> None:
        super().__init__()
        self.__class__ = _class_like(type(network))
        self._left = left
        self.network = network
        self.embedding = embedding
        self.training = network.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network.

        Args:
            args: As the network's.
            kwargs: As the network's. The first floating-point tensor of four dimensions among all arguments is the
                image that is embedded.

        Returns:
            What the network returns.

        Raises:
            ValueError: If there is no image, or the embedding is not (N, E, H, W) with the batch of the image and at
                least the size of every converted layer's input.
        """
        return run(self.network, Call(embed(self.embedding, *args, **kwargs)), args, kwargs)

    def report(self, *args: Any, **kwargs: Any) -> ConversionReport:
        """Say which convolutions are converted and which are not, and why.

        Args:
            args: Arguments for a call of the network, in which sizes and the cost of layers are measured; without any,
                the report says nothing of these.
            kwargs: Keyword arguments of that call.
        """
        return measure(self, self.embedding, self._left, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            network = self.__dict__.get("_modules", {}).get("network")  # not there yet while it is built or copied
            if network is None or name.startswith("__"):
                raise
            return getattr(network, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._has(name):
            super().__setattr__(name, value)
        else:
            setattr(self.network, name, value)

    def __delattr__(self, name: str) -> None:
        if self._has(name):
            super().__delattr__(name)
        else:
            delattr(self.network, name)

    def _has(self, name: str) -> bool:
        """Tell whether an attribute is its own, as all are while it is built or copied, or else the network's."""
        whole = "network" in self.__dict__.get("_modules", {})
        return not whole or name in ("network", "embedding", *self.__dict__) or hasattr(type(self), name)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Add a module to the network."""
        self.network.add_module(name, module)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Add a parameter to the network."""
        self.network.register_parameter(name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer to the network."""
        self.network.register_buffer(name, tensor, persistent)

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (type(self.network),), self.__dict__


def _class_like(network: type[nn.Module]) -> type[SegAwareModel]:
    """Return the class for a class of networks: its `forward` has their signature, which exporters ask for.

    What Python asks of a class and not of an object, such as the items of a `Sequential`, is the network's too.
    """

    @functools.wraps(network.forward)
    def forward(self: SegAwareModel, *args: Any, **kwargs: Any) -> Any:
        return SegAwareModel.forward(self, *args, **kwargs)

    items = {name: _of_network(name) for name in _ITEMS if hasattr(network, name)}
    return type(SegAwareModel.__name__, (SegAwareModel,), {"forward": forward, **items})


def _of_network(name: str) -> Callable[..., Any]:
    return lambda self, *args: getattr(self.network, name)(*args)


def _empty(network: type[nn.Module]) -> SegAwareModel:
    """Return an object to copy or unpickle a converted network into."""
    converted: SegAwareModel = nn.Module.__new__(_class_like(network))
    return converted


def convert(
    model: nn.Module, embedding: EmbeddingFunction, layers: Layers = None, hardness: float = 0.0
) -> SegAwareModel:
    """Make a network segmentation-aware: its convolutions attend to the pixels that belong with each window's centre.

    The model is copied; its `torch.nn.Conv2d` layers that are chosen become `SegAwareConv2d` with the same weights
    (Eq. 7 of Harley et al. 2017). Every call embeds its image once, and layers with the same resolution and window
    share their distances. At hardness 0 the network computes what it did; to train it from there, let the optimizer
    have its parameters, among them one hardness per layer, and call `segaware.nn.clamp_hardness` after each step.

    It can be copied, pickled, compiled and exported, run in several threads at once, and distributed. Where a layer
    is in an activation checkpoint, `torch.compile` breaks its graph there; `fullgraph=True` needs
    `torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint`. A reentrant checkpoint cannot train the
    embedding.

    Args:
        model: Any network whose image is an argument (N, C, H, W) of its call.
        embedding: Called with the image that the network is called with, it gives a map (N, E, H, W), usually of its
            size: an `EmbeddingNet` (for a network whose images are normalised, behind a `Denormalize`), or any module
            or function. Parameters of a module become parameters of the converted network, and are trained unless
            `requires_grad_(False)`. A layer at a coarser resolution sees the map sampled at its own pixels.
        layers: Which convolutions: those whose name matches a pattern such as "layer4.*" or one of several, those with
            a kernel size, those for which a function of name and layer returns True, or with None all whose window is
            larger than 1x1. Layers of other kinds, transposed, 1-d, 3-d or with a forward of their own, are left alone.
        hardness: Start value of the hardness of each layer, 0 or more.

    Returns:
        The converted network. `print(converted.report(image))` says what was converted and what it costs; `revert`
        gives back a plain network.

    Raises:
        TypeError: If `model` is no module, `embedding` cannot be called, or `layers` is of another kind.
        ValueError: If no convolution is chosen, one that cannot be converted is named, the model is converted already,
            or the hardness is negative.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, 1, 1))
        >>> converted = convert(model, EmbeddingNet(0.25, dim=8))
        >>> image = torch.rand(1, 3, 33, 47)
        >>> torch.allclose(converted(image), model(image), atol=1e-5)
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not callable(embedding):
        raise TypeError(f"embedding must be a module or function of an image, got {type(embedding).__name__}")
    if any(isinstance(module, SegAwareModel | ConvertedConv2d) for module in model.modules()):
        raise ValueError("model is converted already; segaware.revert makes it plain again")
    network = copy.deepcopy(model)
    chosen, left = choose(network, layers)
    for name, layer in chosen.items():
        become_segaware(layer, name, hardness)
    return SegAwareModel(network, embedding, left)


def revert(converted: SegAwareModel) -> nn.Module:
    """Return the network of a converted one as it was, with its weights as they are now.

    Args:
        converted: What `convert` has returned; it stays as it is.

    Raises:
        TypeError: If it is something else.

    Example:
        >>> model = torch.nn.Conv2d(3, 8, 3, padding=1)
        >>> revert(convert(model, EmbeddingNet(0.25, dim=8)))
        Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    if not isinstance(converted, SegAwareModel):
        raise TypeError(f"converted must be what segaware.convert returns, got {type(converted).__name__}")
    network: nn.Module = copy.deepcopy(converted.network)
    for module in network.modules():
        if isinstance(module, ConvertedConv2d):
            become_plain(module)
    return network
