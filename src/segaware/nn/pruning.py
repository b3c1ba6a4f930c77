"""A small embedding network from a trained one: fewer channels, whose weights least squares finds layer by layer."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.embedding_net import SCALES, EmbeddingNet
from segaware.nn.fast_embedding_net import FastEmbeddingNet
from segaware.nn.resampling import upsample

_PIXELS = 24_000  # of the images, that a layer is fitted to
_RIDGE = 1e-3  # of the mean square of what a layer sees
_LAYERS = [name for names, _ in SCALES for name in names]
_LAST = [names[-1] for names, _ in SCALES]


@torch.no_grad()
def prune_embedding(teacher: EmbeddingNet, student: FastEmbeddingNet, images: Tensor) -> dict[str, float]:
    """Give an untrained network weights with which its layers do what those of a trained one do at half the size.

    Layer after layer, the channels that the next layer and the embedding use most are kept, and ridge regression finds
    the weights that give their values from the channels that the student has (channel pruning with reconstruction, He
    et al. 2017). The learned channels are random orthogonal mixtures of the teacher's principal ones, scaled so that L1
    distances are the teacher's on average.

    Args:
        teacher: A trained network.
        student: The network whose weights are overwritten; at most as wide as the teacher, and with at most as many
            learned channels.
        images: RGB (N, 3, H, W) in 0..1, some dozens of photographs.

    Returns:
        The part of the variance of what each layer should give that it does not, 0..1, by name.

    Raises:
        ValueError: If the student is larger than the teacher.

    Example:
        >>> from segaware.nn import prune_embedding
        >>> student = FastEmbeddingNet(width=0.125, dim=4)
        >>> unexplained = prune_embedding(EmbeddingNet(width=0.25, dim=8), student, torch.rand(2, 3, 64, 64))
        >>> len(unexplained)
        10
    """
    learned = student.dim - student.colors
    if any(a > b for a, b in zip(student.widths, teacher.widths, strict=True)) or learned > teacher.fuse.out_channels:
        raise ValueError(
            f"student must have at most the channels of its teacher, {teacher.widths} and {teacher.fuse.out_channels} "
            f"learned ones, got {student.widths} and {learned}"
        )
    generator = torch.Generator().manual_seed(0)
    theirs = ours = student.halved(images)
    maps = _to_embedding(teacher)
    unexplained: dict[str, float] = {}
    heads, features = [], []
    for name, following in pairwise([*_LAYERS, ""]):
        if name in ("conv2_1", "conv3_1"):
            theirs, ours = (F.max_pool2d(x, 3, stride=2, padding=1) for x in (theirs, ours))
        wanted, layer = teacher.conv(name)(theirs), student.conv(name)
        theirs = F.relu(wanted)
        kept = _use(theirs, teacher, name, following, maps).topk(layer.out_channels).indices.sort().values
        fitted, unexplained[name] = _fit(ours, wanted[:, kept], 3, generator)
        _set(layer, fitted)
        ours = F.relu(layer(ours))
        if name in _LAST:
            scale = _LAST.index(name)
            fitted, unexplained[f"heads.{scale}"] = _fit(ours, _mapped(theirs, maps[scale]), 1, generator)
            heads.append(fitted)
            features.append(ours)
    size = (features[0].shape[-2], features[0].shape[-1])
    whole = sum(
        upsample(_mapped(x, fitted[:-1].T) + fitted[-1][:, None, None], 2**scale, size)
        for scale, (x, fitted) in enumerate(zip(features, heads, strict=True))
    )
    assert isinstance(whole, Tensor)
    mixture = _principal(whole, learned, generator)
    for head, fitted in zip(student.heads, heads, strict=True):
        _set(head, fitted @ mixture.T)
    return unexplained


def _to_embedding(teacher: EmbeddingNet) -> list[Tensor]:
    """Return the linear maps from the features of each scale to the embedding, (E, C)."""
    weights = teacher.fuse.weight[:, :, 0, 0].chunk(len(SCALES), dim=1)
    heads = [teacher.conv(f"head{s}").weight[:, :, 0, 0] for s in range(1, len(SCALES) + 1)]
    return [w @ head / rms for w, head, rms in zip(weights, heads, teacher.feature_rms, strict=True)]


def _use(x: Tensor, teacher: EmbeddingNet, name: str, following: str, maps: list[Tensor]) -> Tensor:
    """Return how much the channels of a layer matter to what comes next, (C,)."""
    size = x.square().mean((0, 2, 3)).sqrt()
    uses = []
    if following:
        uses.append(teacher.conv(following).weight.square().sum((0, 2, 3)).sqrt() * size)
    if name in _LAST:
        uses.append(2 * maps[_LAST.index(name)].norm(dim=0) * size)
    return torch.stack([use / use.mean().clamp(min=1e-12) for use in uses]).sum(0)


def _fit(x: Tensor, wanted: Tensor, kernel_size: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Return weights of a convolution (C k k + 1, O), its bias last, that gives what is wanted, and what it leaves."""
    columns = F.unfold(x, kernel_size, padding=kernel_size // 2).transpose(1, 2).flatten(0, 1)
    chosen = torch.randperm(len(columns), generator=generator)[:_PIXELS]
    columns = F.pad(columns[chosen], (0, 1), value=1.0).double()
    values = wanted.permute(0, 2, 3, 1).flatten(0, 2)[chosen].double()
    gram = columns.T @ columns
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    fitted = torch.linalg.solve(gram, columns.T @ values)
    left = (columns @ fitted - values).square().mean() / values.var().clamp(min=1e-12)
    return fitted.float(), float(left)


def _mapped(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight[:, :, None, None])


def _principal(embedding: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return a map to fewer channels, (count, E), with the L1 distances of the embedding on average."""
    values = embedding.permute(0, 2, 3, 1).flatten(0, 2)
    values = (values - values.mean(0)).double()
    directions = torch.linalg.eigh(values.T @ values).eigenvectors[:, -count:]
    # Channels that all see what differs tell more by L1 distances than few that hold most of it.
    mixed = directions @ torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=torch.float64)).Q
    half = len(values) // 2

    def distance(x: Tensor) -> Tensor:
        return (x[:half] - x[-half:]).abs().sum(1).mean()

    return (mixed * (distance(values) / distance(values @ mixed).clamp(min=1e-12))).T.float()


def _set(layer: nn.Module, fitted: Tensor) -> None:
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    layer.weight.copy_(fitted[:-1].T.reshape(layer.weight.shape))
    layer.bias.copy_(fitted[-1])
