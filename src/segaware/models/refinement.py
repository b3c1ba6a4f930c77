"""What sharpens class scores: bilateral filter and conditional random field, behind a network or on their own."""

from __future__ import annotations

from typing import get_args

from torch import Tensor, nn

from segaware.choices import CRF
from segaware.nn import (
    BilateralFilter2d,
    DenseCRF,
    SegAwareCRF,
    SharedDistances,
    certainty_gate,
    edge_filter,
    upsample,
)
from segaware.nn.hub import Configured
from segaware.nn.resampling import sampled_size
from segaware.ops.arguments import MOST_CLASSES, as_integer, check_devices, check_image, check_integer, check_rgb
from segaware.ops.distance.reference import Metric


class ScoreRefinement(Configured):
    """Sharpen coarse class scores under an image's embedding.

    Args:
        num_classes: Number of classes.
        filter_kernel_size: Window of the bilateral filter; 0 for none.
        filter_dilation: Step between its taps, in pixels of its stride.
        filter_iterations: How often it is applied.
        filter_hardness: Its start hardness.
        filter_stride: The stride to the image at which filter and segmentation-aware CRF are applied. The scores are
            upsampled to it.
        crf: "segaware" adds a `SegAwareCRF`, "none" does not.
        crf_hardness: Its start hardness.
        crf_iterations: Number of its mean-field iterations.
        crf_compat: Start value of the weight of its messages.
        dense_crf: A CRF on the colours of the image, applied to the scores at its size. It learns nothing and is left
            out of training.
        crf_metric: Distance between embeddings in the `SegAwareCRF`; "sqeuclidean" is the authors' release's.
        crf_first: Apply the `SegAwareCRF` before the filter, as the release does, not after it.
        filter_probabilities: Filter the softmax of the scores, as `segaware.refine` does, and go on with its logarithm.
            It is taken before the scores are upsampled.
        edge_iterations: How often `edge_filter` is applied to the probabilities at the size of the image, before
            `dense_crf`, and left out of training like it; 0 for not at all.
        image_filter: Another filter of probabilities (N, C, H, W) under images (N, 3, H, W), such as `GuidedFilter`,
            likewise.
        gated: Take of the filters as much as `certainty_gate` says, as `segaware.refine` does.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        filter_kernel_size: int = 0,
        filter_dilation: int = 1,
        filter_iterations: int = 1,
        filter_hardness: float = 1.0,
        filter_stride: int = 2,
        crf: CRF = "none",
        crf_hardness: float = 1.0,
        crf_iterations: int = 2,
        crf_compat: float = 1.0,
        dense_crf: DenseCRF | None = None,
        crf_metric: Metric = "l1",
        crf_first: bool = False,
        filter_probabilities: bool = False,
        edge_iterations: int = 0,
        image_filter: nn.Module | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        if crf not in get_args(CRF):
            raise ValueError(f"crf must be one of {get_args(CRF)}, got {crf!r}")
        self.num_classes = check_integer("num_classes", num_classes, 1, MOST_CLASSES)
        stride = as_integer(filter_stride)
        if stride is None:
            raise ValueError(f"filter_stride must be an int, got {filter_stride!r}")
        self.stride = stride
        self.filter = (
            BilateralFilter2d(filter_kernel_size, filter_dilation, filter_iterations, filter_hardness)
            if filter_kernel_size
            else None
        )
        self.crf = (
            SegAwareCRF(
                num_classes, iterations=crf_iterations, hardness=crf_hardness, metric=crf_metric, compat=crf_compat
            )
            if crf == "segaware"
            else None
        )
        self.dense_crf = dense_crf
        self.crf_first = crf_first
        self.filter_probabilities = filter_probabilities
        self.edge_filter = edge_filter(edge_iterations) if edge_iterations else None
        self.image_filter = image_filter
        self.gated = gated

    @property
    def needs_embedding(self) -> bool:
        """Whether filter or CRF compare embeddings."""
        return self.filter is not None or self.crf is not None

    def forward_scores(
        self, scores: Tensor, stride: int, shared: SharedDistances | None, size: tuple[int, int]
    ) -> tuple[Tensor, int]:
        """Apply filter and segmentation-aware CRF.

        Args:
            scores: Class scores (N, C, h, w); score (i, j) is that of image pixel (stride * i, stride * j).
            stride: Their stride to the image.
            shared: Distances of the image's embedding; None if none are needed.
            size: Height and width of the image.

        Returns:
            The scores and their new stride; as they came if there is nothing to apply.

        Raises:
            ValueError: If the stride to apply them at neither divides that of the scores nor is a multiple of it, or
                `scores` does not fit.
            TypeError: If `scores` is no tensor.
        """
        scores, stride, probabilities = self._filtered(scores, stride, shared, size)
        return (_log(scores) if probabilities else scores), stride

    def _filtered(
        self, scores: Tensor, stride: int, shared: SharedDistances | None, size: tuple[int, int]
    ) -> tuple[Tensor, int, bool]:
        """Do the work of `forward_scores`, and say whether what it returns are probabilities."""
        check_image("scores", scores)
        stride = check_integer("stride", stride, 1)
        order = (self.crf, self.filter) if self.crf_first else (self.filter, self.crf)
        layers = [layer for layer in order if layer is not None]
        if not layers:
            return scores, stride, False
        if stride % self.stride and self.stride % stride:
            raise ValueError(
                f"filter_stride must be a divisor or multiple of the stride of the scores, {stride}, got {self.stride}"
            )
        assert shared is not None
        probabilities = self.filter_probabilities and layers[0] is self.filter
        if probabilities:
            scores = scores.softmax(1)
        step = max(self.stride // stride, 1)
        scores = upsample(scores[..., ::step, ::step], max(stride // self.stride, 1), sampled_size(size, self.stride))
        scores = scores.contiguous()
        for layer in layers:
            wanted = self.filter_probabilities and layer is self.filter
            if wanted != probabilities:
                scores = scores.softmax(1) if wanted else _log(scores)
                probabilities = wanted
            scores = layer(scores, distance=shared(layer, self.stride))
        return scores, self.stride, probabilities

    def forward(self, scores: Tensor, stride: int, shared: SharedDistances | None, image: Tensor) -> Tensor:
        """Return scores at the size of the image (N, 3, H, W): those of `forward_scores`, upsampled and refined."""
        size = (image.shape[-2], image.shape[-1])
        before = upsample(scores.softmax(1), stride, size) if self.gated else None
        scores, stride, probabilities = self._filtered(scores, stride, shared, size)
        scores = upsample(scores, stride, size)
        for layer in (self.edge_filter, self.image_filter):
            if layer is not None:
                scores = layer(scores if probabilities else scores.softmax(1), image)
                probabilities = True
        if before is not None:
            filtered = scores if probabilities else scores.softmax(1)
            scores, probabilities = before.lerp(filtered, certainty_gate(before)), True
        if probabilities:
            scores = _log(scores)
        return scores if self.dense_crf is None else self.dense_crf(scores, image)


def _log(probabilities: Tensor) -> Tensor:
    """Return logits of probabilities, which rounding and linear fits may take to 0 and below."""
    return probabilities.clamp(min=1e-6).log()


class Sharpener(nn.Module):
    """Sharpen given scores: an embedding network and a `ScoreRefinement`, for networks that are not ours.

    Args:
        refinement: How scores are sharpened.
        embedding: The network that embeds pixels; None if the refinement needs none.

    Raises:
        ValueError: If an embedding is missing or would be unused.

    Example:
        >>> from segaware.models import ScoreRefinement, Sharpener
        >>> sharpen = Sharpener(ScoreRefinement(21, filter_kernel_size=9), EmbeddingNet(0.25, dim=8))
        >>> sharpen(torch.rand(1, 3, 50, 70), torch.randn(1, 21, 7, 9), stride=8).shape
        torch.Size([1, 21, 50, 70])
    """

    def __init__(self, refinement: ScoreRefinement, embedding: nn.Module | None = None) -> None:
        super().__init__()
        if refinement.needs_embedding != (embedding is not None):
            wanted = "needed" if refinement.needs_embedding else "not used"
            given = "none" if embedding is None else "one"
            raise ValueError(f"embedding is {wanted} with this refinement, but {given} was given")
        self.refinement = refinement
        self.embedding = embedding

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that training treats in their own way; see `segaware.nn.parameter_groups`."""
        embedding = [] if self.embedding is None else list(self.embedding.parameters())
        return {"embedding": embedding, "hardness": list(self.refinement.parameters())}

    def forward_scores(
        self, image: Tensor, scores: Tensor, stride: int, embedding: Tensor | None = None
    ) -> tuple[Tensor, int]:
        """Return the sharpened scores where they are computed, and their stride to the image."""
        shared = self._shared(image, embedding)
        return self.refinement.forward_scores(scores, stride, shared, (image.shape[-2], image.shape[-1]))

    def _shared(self, image: Tensor, embedding: Tensor | None) -> SharedDistances | None:
        if self.embedding is None:
            return None
        if embedding is None:
            return SharedDistances.of_image(self.embedding, image, self.refinement.stride)
        return SharedDistances(embedding, self.refinement.stride)

    def forward(self, image: Tensor, scores: Tensor, stride: int, embedding: Tensor | None = None) -> Tensor:
        """Sharpen.

        Args:
            image: RGB images in 0..1, (N, 3, H, W), any size.
            scores: Their class scores (logits), (N, C, ceil(H / stride), ceil(W / stride)); score (i, j) is that of
                image pixel (stride * i, stride * j).
            stride: Stride of the scores to the image.
            embedding: The embedding of the image, if it is known, at the pixels where refinement takes place:
                `[:, :, ::s, ::s]` of one per pixel, s = `refinement.stride`.

        Returns:
            Class scores at the size of the image, (N, C, H, W).
        """
        check_rgb("image", image)
        check_image("scores", scores)
        check_devices(image=image, scores=scores, embedding=embedding)
        return self.refinement(scores, stride, self._shared(image, embedding), image)
