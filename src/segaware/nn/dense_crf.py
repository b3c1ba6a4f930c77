"""Fully connected CRF as a post-process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.nn.hub import Configured
from segaware.ops._backends import Backend
from segaware.ops.arguments import (
    FLOATING,
    check_devices,
    check_finite,
    check_image,
    check_iterations,
    check_tensor,
    is_number,
    value_range,
)
from segaware.ops.permutohedral.limits import FARTHEST
from segaware.ops.permutohedral.op import mean_field


@torch.no_grad()
def dense_crf(
    log_probabilities: Tensor,
    image: Tensor,
    *,
    gaussian_sxy: float | Sequence[float] = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float | Sequence[float] = 80.0,
    bilateral_srgb: float | Sequence[float] = 13.0,
    bilateral_compat: float = 10.0,
    iterations: int = 10,
    backend: Backend | None = None,
) -> Tensor:
    """Refine class probabilities with a fully connected CRF: Kraehenbuehl & Koltun 2011, DeepLab's post-process.

    Every pixel votes for its classes at every other one, with a weight that falls off with their distance, and one that
    falls off with distance and difference of colour: mean field with those two filters (`ops.mean_field`; Eq. 5-6 of
    Harley et al. 2017). It computes what pydensecrf does with

        crf = DenseCRF2D(W, H, C)
        crf.setUnaryEnergy(-log_probabilities)
        crf.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
        crf.addPairwiseBilateral(sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=image, compat=bilateral_compat)
        marginals = crf.inference(iterations)

    to about 1e-5. The defaults are those of pydensecrf's README. DeepLab-LargeFOV's constants, which were found by
    cross-validation, are gaussian_sxy=2, gaussian_compat=2, bilateral_sxy=77, bilateral_srgb=4, bilateral_compat=3.

    Args:
        log_probabilities: `F.log_softmax` of the scores, (N, C, H, W) or (C, H, W); pydensecrf's unary energy is its
            negative. Of probabilities p, `p.clamp(min=1e-5).log().log_softmax(-3)`, as pydensecrf's
            `unary_from_softmax`: a pixel with a probability of nearly 0 could not be outvoted by its neighbours.
        image: The RGB image that was classified, (N, 3, H, W) or (3, H, W), in 0..1, or uint8 in 0..255.
        gaussian_sxy: Standard deviation of the smoothness filter, in pixels; or a pair, (x, y).
        gaussian_compat: Weight of the smoothness filter; 0 leaves it out.
        bilateral_sxy: Standard deviation of the bilateral filter in the image, in pixels; or a pair, (x, y).
        bilateral_srgb: Its standard deviation in colour, in units of 0..255; or three, (r, g, b).
        bilateral_compat: Weight of the bilateral filter; 0 leaves it out.
        iterations: Number of mean-field updates; 0 gives back the probabilities.
        backend: "numba", the permutohedral lattice; "reference", exact filters over all pairs of pixels, for small
            images; or None for what `use_backend` chose, by default the lattice, for tensors on any device: it is
            computed on the CPU, and the result moved back.

    Returns:
        The marginal probabilities, with the shape and dtype of `log_probabilities`; they carry no gradient. With
        "numba" they are computed in float32.

    Raises:
        ValueError: If a shape, device, value or option does not fit; the message names the argument. Values are not
            checked within `torch.compile` and `torch.export`.
        TypeError: If what must be a tensor is none.
        RuntimeError: If the backend that was asked for cannot run here.

    Example:
        >>> image = torch.zeros(3, 6, 8)
        >>> image[:, :, 4:] = 1  # black and white halves
        >>> scores = torch.stack([0.3 - image[0], image[0] - 0.3])
        >>> scores[:, 2, 1] *= -1  # one pixel is wrong
        >>> dense_crf(F.log_softmax(scores, 0), image).argmax(0)[2]
        tensor([0, 0, 0, 0, 1, 1, 1, 1])
    """
    _check_shapes(log_probabilities, image)
    _check_options(gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat, iterations)
    side = max(image.shape[-2:])
    _check_reach("gaussian_sxy", gaussian_sxy, side, "pixels")
    _check_reach("bilateral_sxy", bilateral_sxy, side, "pixels")
    _check_reach("bilateral_srgb", bilateral_srgb, 255, "units of colour")
    if value_range(log_probabilities) is not None:
        _check_log_probabilities(log_probabilities)
        _check_colors(image)

    def refine(scores: Tensor, rgb: Tensor) -> Tensor:
        features, weights = [], []
        if gaussian_compat != 0:
            features.append(_positions(rgb, gaussian_sxy))
            weights.append(gaussian_compat)
        if bilateral_compat != 0:
            features.append(torch.cat([_positions(rgb, bilateral_sxy), _colors(rgb, bilateral_srgb)]))
            weights.append(bilateral_compat)
        return mean_field(scores, features, weights, iterations, backend)

    if log_probabilities.dim() == 3:
        return refine(log_probabilities, image)
    marginals = torch.empty_like(log_probabilities)
    for i in range(len(marginals)):
        marginals[i] = refine(log_probabilities[i], image[i])
    return marginals


class DenseCRF(Configured):
    """Fully connected CRF behind a trained network, see `dense_crf`: it has no parameters, and passes on no gradient.

    Args:
        gaussian_sxy: As `dense_crf`'s, like all of the following.
        gaussian_compat: Weight of the smoothness filter.
        bilateral_sxy: Standard deviation of the bilateral filter in the image.
        bilateral_srgb: Its standard deviation in colour.
        bilateral_compat: Its weight.
        iterations: Number of mean-field updates.

    Raises:
        ValueError: If an option does not fit; the message names it.

    Example:
        >>> scores, image = torch.randn(1, 21, 30, 40), torch.rand(1, 3, 30, 40)
        >>> log_marginals = DenseCRF()(scores, image)
        >>> log_marginals.shape, bool(log_marginals.exp().sum(1).allclose(torch.ones(())))
        (torch.Size([1, 21, 30, 40]), True)
    """

    def __init__(
        self,
        gaussian_sxy: float | Sequence[float] = 3.0,
        gaussian_compat: float = 3.0,
        bilateral_sxy: float | Sequence[float] = 80.0,
        bilateral_srgb: float | Sequence[float] = 13.0,
        bilateral_compat: float = 10.0,
        iterations: int = 10,
    ) -> None:
        super().__init__()
        _check_options(gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat, iterations)
        self.gaussian_sxy = gaussian_sxy
        self.gaussian_compat = gaussian_compat
        self.bilateral_sxy = bilateral_sxy
        self.bilateral_srgb = bilateral_srgb
        self.bilateral_compat = bilateral_compat
        self.iterations = check_iterations(iterations, least=0)

    @torch.no_grad()
    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        """Refine scores.

        Args:
            scores: Unnormalised class scores, (N, C, H, W) or (C, H, W); of probabilities p, `p.clamp(min=1e-5).log()`.
            image: The RGB image, (N, 3, H, W) or (3, H, W), in 0..1, or uint8.

        Returns:
            The logarithm of the marginals, with the shape and dtype of `scores`. It is never below that of the smallest
            normal float32, about -87.

        Raises:
            ValueError: If shapes, devices or values do not fit.
            TypeError: If what must be a tensor is none.
        """
        _check_shapes(scores, image, "scores")
        check_finite("scores", scores.float())
        marginals = dense_crf(
            F.log_softmax(scores.float(), -3),
            image,
            gaussian_sxy=self.gaussian_sxy,
            gaussian_compat=self.gaussian_compat,
            bilateral_sxy=self.bilateral_sxy,
            bilateral_srgb=self.bilateral_srgb,
            bilateral_compat=self.bilateral_compat,
            iterations=self.iterations,
        )
        return marginals.clamp_(min=torch.finfo(torch.float32).tiny).log_().to(scores.dtype)

    def extra_repr(self) -> str:
        """Describe the CRF."""
        return (
            f"gaussian_sxy={self.gaussian_sxy}, gaussian_compat={self.gaussian_compat}, "
            f"bilateral_sxy={self.bilateral_sxy}, bilateral_srgb={self.bilateral_srgb}, "
            f"bilateral_compat={self.bilateral_compat}, iterations={self.iterations}"
        )


def _positions(image: Tensor, deviation: float | Sequence[float]) -> Tensor:
    """Return x and y of every pixel in standard deviations, (2, H, W)."""
    y, x = (torch.arange(size, dtype=torch.float32, device=image.device) for size in image.shape[1:])
    return torch.stack(torch.broadcast_tensors(x, y[:, None])) / _each(deviation, 2, image)


def _colors(image: Tensor, deviation: float | Sequence[float]) -> Tensor:
    """Return the colours of every pixel in standard deviations, (3, H, W)."""
    return image.float() * (255 if image.is_floating_point() else 1) / _each(deviation, 3, image)


def _each(deviation: float | Sequence[float], count: int, image: Tensor) -> Tensor:
    """Return one standard deviation per feature."""
    return torch.tensor(deviation, dtype=torch.float32, device=image.device).expand(count)[:, None, None]


def _check_shapes(scores: Tensor, image: Tensor, name: str = "log_probabilities") -> None:
    check_image(name, scores)
    if scores.shape[-3] < 2:
        raise ValueError(f"{name} must have at least 2 classes, got shape {tuple(scores.shape)}")
    expected = (*scores.shape[:-3], 3, *scores.shape[-2:])
    wanted = f"a floating-point or uint8 RGB image of shape {expected}, as {name} of shape {tuple(scores.shape)}"
    check_tensor("image", image, wanted, lambda image: tuple(image.shape) == expected, (*FLOATING, torch.uint8))
    check_devices(**{name: scores, "image": image})


def _check_log_probabilities(log_probabilities: Tensor) -> None:
    check_finite("log_probabilities", log_probabilities.float())
    total = sum(plane.float().exp() for plane in log_probabilities.unbind(-3))
    assert isinstance(total, Tensor)
    error = _largest(total.log())
    # Half precisions round the logarithms themselves.
    if error < (1e-3 if log_probabilities.dtype.itemsize > 2 else 3e-2):
        return
    if log_probabilities.min() >= 0 and _largest(log_probabilities.float().sum(-3) - 1) < 1e-2:
        raise ValueError(
            "log_probabilities must be logarithms, got what look like probabilities: of such, p, pass "
            "p.clamp(min=1e-5).log().log_softmax(-3)"
        )
    raise ValueError(
        "log_probabilities must have probabilities that sum to 1 over the classes, got values whose logsumexp is up to "
        f"{error:.3g} away from 0: pass F.log_softmax(scores, dim), with the dimension of the classes"
    )


def _largest(tensor: Tensor) -> float:
    return tensor.abs().max().item()


def _check_colors(image: Tensor) -> None:
    check_finite("image", image)
    low, high = value_range(image) or (0.0, 0.0)
    if image.is_floating_point() and not 0 <= low <= high <= 1:
        raise ValueError(
            f"image must be RGB in 0..1, or uint8 in 0..255, got {image.dtype} values from {low:.4g} to {high:.4g}"
        )


def _check_options(
    gaussian_sxy: float | Sequence[float],
    gaussian_compat: float,
    bilateral_sxy: float | Sequence[float],
    bilateral_srgb: float | Sequence[float],
    bilateral_compat: float,
    iterations: int,
) -> None:
    deviations = (
        ("gaussian_sxy", gaussian_sxy, "pair, (x, y)", 2),
        ("bilateral_sxy", bilateral_sxy, "pair, (x, y)", 2),
        ("bilateral_srgb", bilateral_srgb, "triple, (r, g, b)", 3),
    )
    for name, given, several, count in deviations:
        each = given if isinstance(given, Sequence) else [given] * count
        if len(each) != count or not all(is_number(value) and value > 0 for value in each):
            raise ValueError(f"{name} must be a positive number or such a {several}, got {given!r}")
    for name, compat in (("gaussian_compat", gaussian_compat), ("bilateral_compat", bilateral_compat)):
        if not is_number(compat):
            raise ValueError(f"{name} must be a finite number, got {compat!r}")
    check_iterations(iterations, least=0)


def _check_reach(name: str, deviation: float | Sequence[float], extent: int, unit: str) -> None:
    """Raise ValueError if so much is more standard deviations than features can be apart."""
    least = extent / FARTHEST
    if min(deviation if isinstance(deviation, Sequence) else [deviation]) < least:
        raise ValueError(f"{name} must be at least {least:.2g} for {extent} {unit}, got {deviation!r}")
