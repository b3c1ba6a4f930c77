"""What rows of a table share, kept on disk: features of a trunk, or the scores that filters and CRFs refine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segaware.atomic import replaced
from segaware.choices import Precision
from segaware.data import RandomCrop, Sample, ScoredSample
from segaware.models import DeepLab, DeepLabLargeFOV, Sharpener
from segaware.nn import SharedDistances
from segaware.provenance import weights_digest
from segaware.recipes.segmentation import AnySegmentationRecipe

# How the names of what follows the trunk of a DeepLab-LargeFOV begin.
_HEAD: tuple[str, ...] = ("dropout", "fc", "refinement", "embedding")
_AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class FeatureHead(nn.Module):
    """What follows the trunk of a DeepLab-LargeFOV whose features are known, as a `Sharpener` follows scores.

    Args:
        network: The network, of which its trunk is no part of this module.
    """

    def __init__(self, network: DeepLabLargeFOV) -> None:
        super().__init__()
        for name, module in network.named_children():
            if name.startswith(_HEAD):
                self.add_module(name, module)
        self.refinement = network.refinement
        self._score, self._embedding_stride = network.forward_head, network.embedding_stride
        self.parameter_groups = network.parameter_groups

    def _scores(self, features: Tensor, embedding: Tensor | None) -> tuple[Tensor, SharedDistances | None]:
        shared = None if embedding is None else SharedDistances(embedding, self._embedding_stride)
        return self._score(features, shared), shared

    def forward_scores(
        self, image: Tensor, features: Tensor, stride: int, embedding: Tensor | None = None
    ) -> tuple[Tensor, int]:
        """Return the refined scores where they are computed, and their stride to the image."""
        scores, shared = self._scores(features, embedding)
        return self.refinement.forward_scores(scores, stride, shared, (image.shape[-2], image.shape[-1]))

    def forward(self, image: Tensor, features: Tensor, stride: int, embedding: Tensor | None = None) -> Tensor:
        """Return class scores at the size of the image, (N, C, H, W)."""
        scores, shared = self._scores(features, embedding)
        return self.refinement(scores, stride, shared, image)


class Cache:
    """Features or scores of a network, as its recipe trains on them, and embeddings, computed once per image.

    A network is known by its weights: networks with the same trunk or embedding share what is kept, and a network that
    was trained again does not find what was kept before. A file takes about 0.1 MB with the scores of seven classes,
    2 MB with VGG's features in float16, and 6 MB with an embedding at half the resolution, in float16.

    Args:
        folder: Where to keep it, with a folder for every trunk and every embedding.
        recipe: The recipe of the network. Embeddings are kept if it does not train them.
        network: The network, with its weights.
    """

    def __init__(self, folder: Path, recipe: AnySegmentationRecipe, network: DeepLab) -> None:
        precision: Precision = recipe.evaluation.precision
        self.network = network.eval()
        self.dtype = _AUTOCAST[precision]
        self.of_features = recipe.train_on == "cached_features"
        if self.of_features:
            others = _HEAD
            self.stride, needs_embedding = network.embedding_stride, network.embedding is not None
        else:
            others = ("refinement.", "embedding.") if network.segaware_layers == "none" else ("refinement.",)
            self.stride, needs_embedding = network.refinement.stride, network.refinement.needs_embedding
        trunk = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(others)}
        kind = "features" if self.of_features else "scores"
        self.scores = folder / f"{recipe.data.name}-{kind}-{weights_digest(trunk)}-{precision}"
        logging.getLogger("segaware").info("%s are kept in %s", kind, self.scores)
        self.embeddings: Path | None = None
        is_fixed = self.of_features or recipe.train is None or "embedding" in recipe.train.frozen
        # What is told the labels needs them beside the image, which goes on without them.
        if recipe.embedding is not None and needs_embedding and (is_fixed or recipe.embedding.type == "labels"):
            digest = f"{recipe.embedding.type}-{weights_digest(network.get_submodule('embedding').state_dict())}"
            self.embeddings = folder / f"{recipe.data.name}-embeddings-{digest}-stride{self.stride}-{precision}"

    def __call__(self, sample: Sample) -> ScoredSample:
        """Return a sample with its scores, and with its embedding if that is kept."""
        image = sample.image[None]
        file = f"{sample.name}-{image.shape[-2]}x{image.shape[-1]}.npy"
        scores = self._kept(self.scores / file, lambda: self._compute(self._moved(image))).float()
        embedding = torch.empty(0)
        if self.embeddings is not None:
            embedding = self._kept(self.embeddings / file, lambda: self._embed(image).half()).float()
        colors = sample.image[:3]  # labels may follow, which only the embedding is told
        return ScoredSample(colors, sample.label, sample.name, scores, embedding)

    def _compute(self, image: Tensor) -> Tensor:
        if self.of_features:
            assert isinstance(self.network, DeepLabLargeFOV)
            return self.network.forward_features(image).half()
        return self.network.forward_unrefined(image).float()

    def _embed(self, image: Tensor) -> Tensor:
        shared = SharedDistances.of_image(self.network.get_submodule("embedding"), self._moved(image), self.stride)
        step = self.stride // shared.stride
        return shared.embedding[:, :, ::step, ::step]

    def _moved(self, image: Tensor) -> Tensor:
        return image.to(next(self.network.parameters()).device)

    @torch.no_grad()
    def _kept(self, path: Path, compute: Callable[[], Tensor]) -> Tensor:
        if path.is_file():
            return torch.from_numpy(np.load(path, allow_pickle=False))
        with self.autocast():
            tensor = compute()[0].cpu().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.save(file, tensor.numpy())
        return tensor

    def autocast(self) -> torch.autocast:
        """Return the context of the recipe's precision."""
        device = next(self.network.parameters()).device.type
        return torch.autocast(device, self.dtype or torch.bfloat16, enabled=self.dtype is not None)


def cached_part(recipe: AnySegmentationRecipe, network: DeepLab) -> FeatureHead | Sharpener:
    """Return what of a network follows what is kept, its embedding included."""
    if recipe.train_on == "cached_features":
        assert isinstance(network, DeepLabLargeFOV)
        return FeatureHead(network)
    return Sharpener(network.refinement, network.embedding if network.refinement.needs_embedding else None)


class CachedScores(Dataset[ScoredSample]):
    """A data set with the scores of a network; in training, windows of it at random, half of them mirrored.

    Args:
        samples: The data set; the same image each time.
        cache: Where its scores come from.
        crop: Height and width of the windows; None takes whole images.
        flip: Probability of mirroring windows.
    """

    def __init__(
        self, samples: Dataset[Sample], cache: Cache, crop: tuple[int, int] | None = None, flip: float = 0.0
    ) -> None:
        self.samples = samples
        self.cache = cache
        self.crop = None if crop is None else RandomCrop(*crop)
        self.flip = flip

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> ScoredSample:
        """Return an image, or a window of it."""
        sample = self.samples[index]
        return self.cache(sample) if self.crop is None else self._window(self.cache(self.crop.pad(sample)), self.crop)

    def _window(self, scored: ScoredSample, crop: RandomCrop) -> ScoredSample:
        """Cut all parts along the grid of the scores."""
        strides = {"image": 1, "label": 1, "scores": self.cache.network.output_stride, "embedding": self.cache.stride}
        step = strides["scores"]
        sides = (crop.height, crop.width)
        starts = [
            step * int(torch.randint((length - side) // step + 1, ()))
            for length, side in zip(scored.label.shape, sides, strict=True)
        ]
        mirrored = bool(torch.rand(()) < self.flip)
        parts: dict[str, Any] = {}
        for name, stride in strides.items():
            part: Tensor = getattr(scored, name)
            if part.numel():
                rows, columns = (
                    slice(start // stride, (start + side - 1) // stride + 1)
                    for start, side in zip(starts, sides, strict=True)
                )
                part = part[..., rows, columns]
                parts[name] = part.flip(-1) if mirrored else part
        return scored._replace(**parts)


def with_cache(
    folder: Path,
    recipe: AnySegmentationRecipe,
    network: DeepLab,
    training: Dataset[Sample],
    validation: Dataset[Sample],
) -> tuple[Dataset[ScoredSample], Dataset[ScoredSample]]:
    """Return windows for training and whole images for validation, with what is kept below a folder."""
    windows = CachedScores(training, Cache(folder / "train", recipe, network), recipe.data.crop, recipe.data.flip)
    return windows, CachedScores(validation, Cache(folder / "val", recipe, network))


def cached_predictor(folder: Path, recipe: AnySegmentationRecipe, network: nn.Module) -> Callable[[Sample], Tensor]:
    """Return what predicts the classes (1, H, W) of a batch of one validation image from scores kept below a folder."""
    assert isinstance(network, DeepLab)
    cache, finish = Cache(folder / "val", recipe, network), cached_part(recipe, network)
    device = next(network.parameters()).device

    def predict(batch: Sample) -> Tensor:
        image, _, _, scores, embedding = cache(Sample(batch.image[0], batch.label[0], batch.name[0]))
        image, scores, embedding = (tensor[None].to(device) for tensor in (image, scores, embedding))
        with cache.autocast():
            logits = finish(image, scores, network.output_stride, embedding if embedding.numel() else None)
        return logits.argmax(1).cpu()

    return predict
