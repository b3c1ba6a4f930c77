"""Variational refinement of optical flow, as a post-process."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from segaware.extras import import_extra
from segaware.nn.hub import Configured
from segaware.ops.arguments import check_devices, check_integer, check_tensor, is_number


class VariationalRefinement(Configured):
    """Variational refinement behind a network that estimates flow; it has no parameters, and passes on no gradient.

    Starting from the network's flow, OpenCV's `cv2.VariationalRefinement` lowers Brox et al.'s energy (2004), the
    integral over the first image of

        delta * psi(difference of brightness) + gamma * psi(difference of its gradient) + alpha * psi(gradient of flow)

    with the robust psi(s^2) = sqrt(s^2 + 0.001^2): what moves keeps its brightness and gradient, and flow is smooth.
    This is the idea of the "+ variational" rows of Harley et al.'s Table 3, not their computation: FlowNet's
    refinement (Dosovitskiy et al. 2015) goes from coarse to fine and smooths less across edges of the image.

    OpenCV runs on the CPU, on threads of its own (`cv2.setNumThreads`). For any number of them the result is the same
    to the last bit.

    Args:
        alpha: Weight of the smoothness; OpenCV's default, like all of the following.
        delta: Weight of the constancy of brightness.
        gamma: Weight of the constancy of the gradient.
        fixed_point_iterations: How often the second image is warped anew and the equations are made linear.
        sor_iterations: Iterations of successive over-relaxation that solve them each time.
        omega: Its relaxation factor.

    Raises:
        ModuleNotFoundError: If OpenCV is not installed.
        ValueError: If an option is out of range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> wide = torch.nn.functional.interpolate(torch.rand(1, 3, 10, 16), size=(50, 81), mode="bilinear")
        >>> image1, image2 = wide[..., 1:], wide[..., :-1]  # what is at x goes to x + 1
        >>> truth = torch.tensor([1.0, 0.0])[:, None, None]
        >>> flow = truth + torch.randn(1, 2, 50, 80) / 2
        >>> refined = VariationalRefinement()(flow, image1, image2)
        >>> [round((f - truth).norm(dim=1).mean().item(), 1) for f in (flow, refined)]  # end-point errors, pixels
        [0.6, 0.1]
    """

    def __init__(
        self,
        alpha: float = 20.0,
        delta: float = 5.0,
        gamma: float = 10.0,
        fixed_point_iterations: int = 5,
        sor_iterations: int = 5,
        omega: float = 1.6,
    ) -> None:
        super().__init__()
        for name, weight in (("alpha", alpha), ("delta", delta), ("gamma", gamma)):
            if not (is_number(weight) and weight >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, got {weight!r}")
        counts = (("fixed_point_iterations", fixed_point_iterations), ("sor_iterations", sor_iterations))
        for name, count in counts:
            check_integer(name, count, 1, 10_000)
        if not (is_number(omega) and 0 < omega < 2):  # else over-relaxation diverges
            raise ValueError(f"omega must be between 0 and 2, got {omega!r}")
        _opencv()
        self.alpha = alpha
        self.delta = delta
        self.gamma = gamma
        self.fixed_point_iterations = int(fixed_point_iterations)
        self.sor_iterations = int(sor_iterations)
        self.omega = omega

    @torch.no_grad()
    def forward(self, flow: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        """Refine flow.

        Args:
            flow: Flow from the first image to the second, floating-point (N, 2, H, W): u to the right and v down, in
                pixels.
            image1: First images, floating-point RGB (N, 3, H, W) in 0..1. What is compared is their brightness,
                rounded to 8 bits.
            image2: Second images, as `image1`.

        Returns:
            The refined flow, with the shape, dtype and device of `flow`; computed in float32 on the CPU.

        Raises:
            ValueError: If shapes or values do not fit.
        """
        _check(flow, image1, image2)
        cv2 = _opencv()
        # Made anew each time: OpenCV's object can be neither copied nor pickled, which modules are.
        refinement = cv2.VariationalRefinement.create()
        refinement.setAlpha(self.alpha)
        refinement.setDelta(self.delta)
        refinement.setGamma(self.gamma)
        refinement.setFixedPointIterations(self.fixed_point_iterations)
        refinement.setSorIterations(self.sor_iterations)
        refinement.setOmega(self.omega)
        refined = torch.empty_like(flow)
        for i in range(len(flow)):
            first, second = (
                cv2.cvtColor(
                    image[i].float().mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy(),
                    cv2.COLOR_RGB2GRAY,
                )
                for image in (image1, image2)
            )
            start = torch.empty(*flow.shape[2:], 2).copy_(flow[i].permute(1, 2, 0))  # a copy: OpenCV writes into it
            refined[i] = torch.from_numpy(refinement.calc(first, second, start.numpy())).permute(2, 0, 1)
        return refined

    def extra_repr(self) -> str:
        """Describe the refinement."""
        return (
            f"alpha={self.alpha}, delta={self.delta}, gamma={self.gamma}, "
            f"fixed_point_iterations={self.fixed_point_iterations}, sor_iterations={self.sor_iterations}, "
            f"omega={self.omega}"
        )


def _opencv() -> ModuleType:
    return import_extra("cv2", "variational refinement needs OpenCV", "flow")


def _check(flow: Tensor, image1: Tensor, image2: Tensor) -> None:
    wanted = "a floating-point tensor of shape (N, 2, H, W) with at least 1 pixel"
    check_tensor("flow", flow, wanted, lambda flow: flow.dim() == 4 and flow.shape[1] == 2 and 0 not in flow.shape[2:])
    check_devices(flow=flow, image1=image1, image2=image2)
    if not flow.isfinite().all():
        raise ValueError("flow must be finite, got NaN or infinity")
    expected = (len(flow), 3, *flow.shape[2:])
    for name, image in (("image1", image1), ("image2", image2)):
        wanted = f"floating-point RGB of shape {expected}, as flow of shape {tuple(flow.shape)}"
        check_tensor(name, image, wanted, lambda image: tuple(image.shape) == expected)
        if len(image) and not ((image >= 0) & (image <= 1)).all():
            raise ValueError(f"{name} must lie in 0..1, got values from {image.min():.4g} to {image.max():.4g}")
