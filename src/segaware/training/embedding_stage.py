"""The training of embeddings: with their own loss, as a teacher has them, and through the filter that they serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segaware import ranks
from segaware.constants import GROUND_INDEX, IGNORE_INDEX
from segaware.data import PredictedSample, Sample
from segaware.nn import BilateralFilter2d, Embedding, MaskLoss, OffsetPairLoss, PairLoss
from segaware.nn.bundled import BundledEmbedding
from segaware.training.degraded import DegradedMasks, border_weight, degraded_masks
from segaware.training.optimization import Optimization
from segaware.training.stages import Stage


@dataclass(frozen=True)
class Teaching:
    """A trained embedding network whose distances another one learns.

    Attributes:
        network: The teacher.
        loss: Compares distances at stride 2, where both are computed.
        weight: Factor on that loss.
        images: How many images of a batch the teacher embeds, a multiple of the processes; the more, the slower.
    """

    network: Embedding
    loss: MaskLoss
    weight: float
    images: int


@dataclass(frozen=True)
class Sharpening:
    """Spoiled masks that a filter over the embedding must put right.

    Attributes:
        filter: The filter; its hardness is not trained, so that hardness 1 comes to fit all embeddings.
        weight: Factor on the loss.
        masks: How many masks of each image.
        crop: Side of the square of every image that is filtered, in pixels of the filter.
    """

    filter: BilateralFilter2d
    weight: float
    masks: int
    crop: int


class EmbeddingStage(Stage):
    """Train an embedding network: pairs of its labels, and if wanted a teacher's distances and masks to sharpen.

    The pair loss and the teacher see what was learned, without the colours that stand beside it, whose scales follow
    from the masks alone. A network may have scales with a loss of their own, as the paper's has (Sec. 3.1, 4.1).

    Args:
        network: The network.
        loss: The loss of pairs.
        optimization: How the network is optimised.
        weight: Factor on the loss of pairs.
        teaching: What it learns from another network.
        sharpening: What it learns from masks.
    """

    network: BundledEmbedding

    @staticmethod
    def sample_type(*fields: Any) -> Sample | PredictedSample:
        """Return a batch, with scores if a mixture has them."""
        return Sample(*fields) if len(fields) == len(Sample._fields) else PredictedSample(*fields)

    def __init__(
        self,
        network: BundledEmbedding,
        loss: PairLoss | OffsetPairLoss,
        optimization: Optimization,
        weight: float = 1.0,
        teaching: Teaching | None = None,
        sharpening: Sharpening | None = None,
    ) -> None:
        super().__init__(network, optimization)
        self.pair_loss, self.weight = loss, weight
        self.teaching, self.sharpening = teaching, sharpening  # no submodules: neither is trained or in a checkpoint

    def loss(self, sample: Sample | PredictedSample) -> Tensor:
        """Return the weighted sum of the losses of a batch, a scalar."""
        embedding, scales = self.network.forward_scales(sample.image)
        learned = embedding[:, self.network.colors :]
        pairs = self._pairs(learned, sample.label)
        for i, scale in enumerate(scales):
            pairs = pairs + self._pairs(scale, sample.label[:, :: 2**i, :: 2**i])
        parts = {"pairs": self.weight * pairs}
        if self.teaching is not None:
            parts["teacher"] = self.teaching.weight * _taught(self.teaching, learned, sample.image)
        if self.sharpening is not None:
            parts["masks"] = self.sharpening.weight * _sharpened(self.sharpening, embedding, sample)
        if len(parts) > 1:
            for name, part in parts.items():
                self.log(f"train/{name}", part.detach(), batch_size=len(sample.name), sync_dist=True)
        return torch.stack(list(parts.values())).sum()

    def _pairs(self, embedding: Tensor, label: Tensor) -> Tensor:
        """Return the loss of pairs, its means over the pairs of all processes, whose losses are averaged."""
        near, far, near_pairs, far_pairs = self.pair_loss.sums(embedding, label)
        count = ranks.world_size()
        return self.pair_loss.mean(count * near, count * far, ranks.total(near_pairs), ranks.total(far_pairs))

    def validation_step(self, batch: Sample | PredictedSample, batch_idx: int) -> None:
        """Log the mean loss of near and of far pairs of the learned channels."""
        batch = self.sample_type(*batch)
        learned = self.network(batch.image)[:, self.network.colors :]
        near, far, near_pairs, far_pairs = self.pair_loss.sums(learned, batch.label)
        for name, value, count in (("near", near, near_pairs), ("far", far, far_pairs)):
            mean = value.sum() / count.sum().clamp(min=1)
            self.log(f"val/{name}", mean, prog_bar=True, batch_size=len(batch.image), sync_dist=True)


def _taught(teaching: Teaching, learned: Tensor, image: Tensor) -> Tensor:
    """Return how far the distances of the first images are from what the teacher has learned, at stride 2."""
    images = teaching.images // ranks.world_size()
    with torch.no_grad():
        wanted = teaching.network.to(image.device)(image[:images], stride=2)[:, teaching.network.colors :]
    return teaching.loss(learned[:images, :, ::2, ::2], wanted)


def _sharpened(sharpening: Sharpening, embedding: Tensor, sample: Sample | PredictedSample) -> Tensor:
    """Return the cross entropy of spoiled masks after the filter, which weighs pixels near borders up.

    The filter runs at stride 1 or 2, as `segaware.refine` does, on a square of every image.
    """
    stride = 1 + int(torch.randint(3, ()) == 0)
    sides = [min(sharpening.crop * stride, length) for length in sample.label.shape[-2:]]
    full = sample.label.shape[-2:]
    top, left = (int(torch.randint(length - side + 1, ())) for length, side in zip(full, sides, strict=True))
    rows, columns = (slice(start, start + side, stride) for start, side in ((top, sides[0]), (left, sides[1])))
    label = sample.label[:, rows, columns]
    masks = degraded_masks(label, sharpening.masks)
    if isinstance(sample, PredictedSample):
        masks = _with_predicted(masks, label, sample.scores[..., rows, columns])
    filtered = sharpening.filter(masks.probability, embedding[..., rows, columns].contiguous())
    weight = border_weight(masks.target) * masks.known
    # A filtered probability may be 0 or 1 to rounding.
    loss = F.binary_cross_entropy(filtered.clamp(1e-3, 1 - 1e-3), masks.target, weight, reduction="sum")
    return ranks.world_size() * loss / ranks.total(weight.sum()).clamp(min=1)


def _with_predicted(masks: DegradedMasks, label: Tensor, logit: Tensor) -> DegradedMasks:
    """Return masks with one more: where a network saw an object, logits (N, 1, H, W), NaN where none was asked."""
    target = ((label != GROUND_INDEX) & (label != IGNORE_INDEX))[:, None].float()
    known = masks.known & logit.isfinite()
    return DegradedMasks(
        torch.cat([masks.probability, logit.nan_to_num().sigmoid()], dim=1),
        torch.cat([masks.target, target], dim=1),
        torch.cat([masks.known.expand_as(masks.target), known], dim=1),
    )


def masks_filter(kernel_size: int, iterations: int) -> BilateralFilter2d:
    """Return a filter of hardness 1 that is not trained."""
    layer = BilateralFilter2d(kernel_size, iterations=iterations)
    layer.requires_grad_(False)
    return layer
