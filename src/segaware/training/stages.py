"""The training stages of tasks that score classes, and what all stages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from segaware import ranks
from segaware.choices import GivenScores, LossAt
from segaware.data import COARSE_STRIDE, IGNORE_INDEX, PredictedSample, Sample, ScoredSample, coarse_scores
from segaware.metrics import MeanIoU
from segaware.nn import clamp_hardness
from segaware.training.optimization import Optimization


class Stage(LightningModule):
    """What all stages share: the optimizer, and an error that names the samples when a loss is not finite."""

    sample_type: Callable[..., Any] = Sample  # of its batches

    def __init__(self, network: nn.Module, optimization: Optimization) -> None:
        super().__init__()
        self.network = network
        self.optimization = optimization
        optimization.freeze(network)
        self._keep_frozen()

    def train(self, mode: bool = True) -> Stage:
        """Set the training mode, in which what is frozen stays in evaluation mode."""
        super().train(mode)
        self._keep_frozen()
        return self

    def _keep_frozen(self) -> None:
        for module in self.optimization.frozen_modules(self.network):
            module.eval()

    def loss(self, sample: Sample) -> Tensor:
        """Return the loss of a batch, a scalar."""
        raise NotImplementedError

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Return the loss of a batch, and log it.

        Args:
            batch: A batch of samples.
            batch_idx: Its index in the epoch, which Lightning passes.

        Raises:
            FloatingPointError: If the loss is not finite.
        """
        batch = self.sample_type(*batch)
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.global_step}, in the batch of {', '.join(batch.name)}; "
                "a lower learning rate or gradient_clip may help"
            )
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.name), sync_dist=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep every hardness at 0 or above."""
        clamp_hardness(self.network)

    def configure_optimizers(self) -> Any:
        """Return optimizer and schedule for the steps the trainer will take."""
        return self.optimization.configure(self.network, int(self.trainer.estimated_stepping_batches))


def _cross_entropy(scores: Tensor, label: Tensor) -> Tensor:
    """Return the mean over the labelled pixels of all processes, whose losses are averaged; 0 if there are none."""
    total = ranks.world_size() * F.cross_entropy(scores.float(), label, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / ranks.total((label != IGNORE_INDEX).sum()).clamp(min=1)


class SegmentationStage(Stage):
    """Train a network that gives class scores, end to end, with cross entropy.

    Args:
        network: The network.
        num_classes: Number of classes.
        optimization: How it is optimised.
        loss_at: "image" compares scores upsampled to the image with all labels; "scores" compares them where the
            network computes them, with the labels sampled at those pixels, as DeepLab does.
    """

    def __init__(
        self, network: nn.Module, num_classes: int, optimization: Optimization, loss_at: LossAt = "image"
    ) -> None:
        super().__init__(network, optimization)
        self.miou = MeanIoU(num_classes, IGNORE_INDEX)
        self.loss_at = loss_at

    def inputs(self, sample: Sample) -> tuple[Any, ...]:
        """Return the network's inputs."""
        return (sample.image,)

    def loss(self, sample: Sample) -> Tensor:
        """Mean cross entropy over the labelled pixels; 0 if there are none."""
        if self.loss_at == "image":
            scores, label = self.network(*self.inputs(sample)), sample.label
        else:
            scores, stride = self.network.forward_scores(*self.inputs(sample))  # type: ignore[operator]
            label = sample.label[:, ::stride, ::stride]
        return _cross_entropy(scores, label)

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Count predictions towards the mean IoU."""
        batch = self.sample_type(*batch)
        self.miou(self.network(*self.inputs(batch)).argmax(1), batch.label)
        self.log("val/miou", self.miou, prog_bar=True, batch_size=len(batch.image))


class MultiscaleStage(SegmentationStage):
    """Train a `DeepLabV2`: the sum of the losses of each scale's scores, the fused ones and the refined ones.

    Each is compared with the labels where it is computed, as DeepLabV2 and the authors' release do.
    """

    def loss(self, sample: Sample) -> Tensor:
        """Sum the mean cross entropies over the labelled pixels; 0 if there are none."""
        scales: list[tuple[Tensor, int]] = self.network.forward_scales(*self.inputs(sample))  # type: ignore[operator]
        losses = [_cross_entropy(scores, sample.label[:, ::stride, ::stride]) for scores, stride in scales]
        return torch.stack(losses).sum()


class SharpeningStage(SegmentationStage):
    """Train a `Sharpener` to give back the labels that `coarse_scores` has blurred, or that real networks predict.

    Args:
        network: The sharpener.
        num_classes: Number of classes.
        optimization: How it is optimised.
        loss_at: As in `SegmentationStage`.
        scores: "blurred" makes scores from labels: no segmenting network is needed. "predicted" takes those of
            `PredictedSample`s.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        optimization: Optimization,
        loss_at: LossAt = "image",
        scores: GivenScores = "blurred",
    ) -> None:
        super().__init__(network, num_classes, optimization, loss_at)
        if scores == "predicted":
            self.sample_type = PredictedSample

    def inputs(self, sample: Sample | PredictedSample) -> tuple[Any, ...]:
        """Return the images, their scores, and the stride of these."""
        if isinstance(sample, PredictedSample):
            return sample.image, sample.scores, 1
        return sample.image, coarse_scores(sample.label, self.miou.num_classes), COARSE_STRIDE


class RefinementStage(SegmentationStage):
    """Train a `Sharpener` on scores of a network that is not trained itself.

    Args:
        network: The sharpener.
        num_classes: Number of classes.
        optimization: How it is optimised.
        loss_at: As in `SegmentationStage`.
        stride: Stride of the scores to the image.
    """

    sample_type = ScoredSample

    def __init__(
        self, network: nn.Module, num_classes: int, optimization: Optimization, loss_at: LossAt, stride: int
    ) -> None:
        super().__init__(network, num_classes, optimization, loss_at)
        self.stride = stride

    def inputs(self, sample: ScoredSample) -> tuple[Any, ...]:  # type: ignore[override]
        """Return images, scores, their stride, and embeddings if they are known."""
        return sample.image, sample.scores, self.stride, sample.embedding if sample.embedding.numel() else None
