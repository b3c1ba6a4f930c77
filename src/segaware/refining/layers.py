"""The layers that refine, their default options, and the radius of their receptive fields."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from segaware.nn import BilateralFilter2d, DenseCRF, SegAwareCRF
from segaware.nn.bilateral_filter import Reduce
from segaware.ops.window import IntPair

Method: TypeAlias = Literal["filter", "segaware_crf", "dense_crf"]
"""How it is refined: by the segmentation-aware filter or CRF over embeddings, or by the dense CRF over colours."""
RefiningLayer: TypeAlias = BilateralFilter2d | SegAwareCRF | DenseCRF


def build_layer(
    method: Method | RefiningLayer,
    num_classes: int,
    kernel_size: IntPair | None,
    iterations: int | None,
    hardness: float | None,
    color: bool,
    coarse: bool,
    reduce: Reduce,
) -> RefiningLayer:
    """Return the layer of a method, with the project's measured defaults where an option is None.

    Those are: for the filter, the rows of docs/everyday.md with the embeddings that come with segaware, or with colour,
    half as many iterations where scores are as fine as the image; for the segmentation-aware CRF, the untrained row of
    the ablation of Table 1; for the dense CRF, DeepLab-LargeFOV's constants, the best of three in the sharpening table.

    Raises:
        ValueError: If the method is unknown, has no such option, or does not fit the number of classes.
    """
    options = {"kernel_size": kernel_size, "iterations": iterations, "hardness": hardness}
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(method, RefiningLayer):
        if given:
            raise ValueError(f"{next(iter(given))} is an option of the layer that was given as method; set it there")
        if isinstance(method, SegAwareCRF) and method.num_classes != num_classes:
            raise ValueError(f"scores must have the method's {method.num_classes} classes, got {num_classes}")
        return method
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)} or such a layer, got {method!r}")
    if method == "dense_crf":
        if kernel_size is not None or hardness is not None:
            raise ValueError("kernel_size and hardness are not options of the dense CRF; give a DenseCRF as method")
        return DenseCRF(2.0, 2.0, 77.0, 4.0, 3.0, 10 if iterations is None else iterations)
    if method == "filter":
        default = {"kernel_size": 9, "iterations": 8 if coarse else 4, "hardness": 1.76 if color else 1.0}
        return BilateralFilter2d(**default | given, reduce=reduce)  # type: ignore[arg-type]
    return SegAwareCRF(num_classes, compat=3.0, **{"iterations": 10} | given)  # type: ignore[arg-type]


def takes_median(layer: RefiningLayer) -> bool:
    """Return whether a layer is a filter that takes medians."""
    return isinstance(layer, BilateralFilter2d) and layer.reduce == "median"


def reach(layer: BilateralFilter2d | SegAwareCRF) -> int:
    """Return the radius of a layer's receptive field, in pixels of its input."""
    windows = [zip(layer.kernel_size, layer.dilation, strict=True)]
    if isinstance(layer, SegAwareCRF):
        windows.append(zip(layer.spatial_window.kernel_size, (1, 1), strict=True))
    # Both means of a CRF are of the same probabilities: the wider one counts.
    return layer.iterations * max(taps // 2 * step for window in windows for taps, step in window)
