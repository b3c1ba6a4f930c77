"""What can be refined: every kind becomes channels whose weighted means are meaningful, and comes back from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX

Kind: TypeAlias = Literal["scores", "probabilities", "labels", "masks", "values"]
"""What is refined: logits; probabilities; labels; masks, each on its own; or values such as depth or flow."""
MaskNumbers: TypeAlias = Literal["boolean", "0 and 1", "0..255", "0..1", "logits"]
"""What masks are made of."""
Open: TypeAlias = Callable[[], np.ndarray]
"""Opens what is refined; called for every part, so that a memory-mapped file is never in memory as a whole."""

LARGEST = 1e20  # of numbers that are given, so that float32 holds their sums
_LEAST = 1e-6  # of the weights, a part that says nothing
_TIE = 1e-5  # classes less far apart are equal: a tile rounds otherwise than the whole image


@dataclass(frozen=True)
class Given:
    """What is refined, and how it becomes channels and comes back from them.

    Attributes:
        kind: Which kind.
        channels: Channels of what is given; of labels, the most classes that a layer sees.
        logits: Whether a CRF takes them, and not a filter, which takes probabilities.
        certainty: Of labels, that a CRF takes: probability of one being right; the other classes share the rest.
        clip: The least of probabilities that become logits.
        ignore_index: The label of pixels whose class is not known.
        numbers: What masks are made of.
    """

    kind: Kind
    channels: int
    logits: bool = False
    certainty: float = 0.7
    clip: float = 1e-5
    ignore_index: int = IGNORE_INDEX
    numbers: MaskNumbers = "0..1"

    @property
    def exclusive(self) -> bool:
        """Whether channels are classes that exclude each other, and not a mask each."""
        return self.kind != "masks" and (self.channels > 1 or self.kind == "labels")

    def classes(self, part: Tensor) -> Tensor | None:
        """Return which labels channels of a part stand for, (K,), ascending; None if it is their number.

        A filter does without those that are not there, whose means are 0.
        """
        if self.kind != "labels" or self.logits:
            return None
        present = part.unique()
        return present[present != self.ignore_index]

    def probabilities(self, part: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return what a filter takes, float32 (1, C, h, w), of a part (C, h, w), or (h, w) of labels of some classes.

        Values are the numerator and denominator of a mean over the pixels that are known.
        """
        if self.kind == "values":
            known = part.isfinite().all(0, keepdim=True)
            return torch.cat([torch.where(known, part, 0), known]).float()[None]
        if self.kind == "labels":  # with zeros, a filter's sum over the classes is its weight on known pixels
            classes = torch.arange(self.channels, device=part.device) if classes is None else classes
            return (part == classes[:, None, None]).float()[None]
        channels = part.float()
        if self.kind == "masks":
            if self.numbers == "0..255":
                channels = channels / 255
            return (channels.sigmoid() if self.numbers == "logits" else channels)[None]
        if self.kind == "scores":
            # not softmax, which torch rounds in another way for every number of threads
            channels = channels.log_softmax(0).exp_() if len(channels) > 1 else channels.sigmoid()
        return channels[None]

    def to_logits(self, part: Tensor) -> Tensor:
        """Return what a CRF takes, likewise."""
        if self.kind == "labels":
            known = part != self.ignore_index
            rest = (1 - self.certainty) / (self.channels - 1)
            channels = torch.full((self.channels, *part.shape), rest, device=part.device)
            channels.scatter_(0, torch.where(known, part, 0).long()[None], self.certainty)
            return channels.masked_fill_(~known, 1 / self.channels).log_()[None]
        channels = part.float()
        return (channels.clamp(self.clip, 1).log_() if self.kind == "probabilities" else channels)[None]

    def decode(self, channels: Tensor, logits: bool) -> Tensor:
        """Return all kinds but labels, given refined channels (1, C, H, W), of probabilities or of logits."""
        channels = channels[0]
        if self.kind == "values":
            known = channels[-1:]
            return torch.where(known > _LEAST, channels[:-1] / known, torch.nan)
        if self.kind == "masks":
            if self.numbers in ("boolean", "0 and 1"):
                return channels > 0.5
            if self.numbers == "0..255":
                return (255 * channels).round_()
            return channels.logit(_LEAST) if self.numbers == "logits" else channels
        if self.kind == "scores" and not logits:
            return channels.clamp(min=_LEAST).log_() if len(channels) > 1 else channels.logit(_LEAST)
        return channels.log_softmax(0).exp_() if self.kind == "probabilities" and logits else channels

    def decode_labels(self, channels: Tensor, known: Tensor, own: Tensor, classes: Tensor | None) -> Tensor:
        """Return the class of the highest channel, or `ignore_index` where nothing is known.

        Of equal classes, a pixel keeps its own, or takes the first if its own is none of them.

        Args:
            channels: Refined probabilities or logits (C, H, W), which are overwritten.
            known: Where anything is known, (H, W).
            own: The labels before, (H, W).
            classes: Those of the channels.
        """
        index = own if classes is None else torch.searchsorted(classes, own)
        tied = channels.sub_(channels.amax(0)).ge_(-_TIE)
        keeps = (own != self.ignore_index) & (tied.gather(0, index.clamp(0, len(tied) - 1)[None])[0] > 0)
        first = tied.argmax(0) if classes is None else classes[tied.argmax(0)]
        return torch.where(known, torch.where(keeps, own, first), self.ignore_index)


def contenders(probabilities: Tensor) -> Tensor:
    """Return the classes of which any can be the most probable in a weighted mean of the pixels, (K,), ascending.

    The others, those with the lowest maxima, are nowhere as probable as the least that the most probable of the K must
    have: a K-th part of what these have together, at the pixel where that is least. So to find the most probable class
    of a filter's output, they can be left out.

    Args:
        probabilities: (C, h, w).

    Example:
        >>> contenders(torch.tensor([[[0.7, 0.2]], [[0.2, 0.7]], [[0.1, 0.1]]])).tolist()
        [0, 1]
    """
    most, classes = probabilities.flatten(1).amax(1).sort(descending=True)
    return classes[: _count(most, _left(probabilities, classes))].sort().values


def _left(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Return the least, of all pixels, that the first 1, 2, ... of some classes have together."""
    return probabilities.flatten(1)[classes].cumsum(0).amin(1)


def _count(most: Tensor, left: Tensor) -> int:
    """Return how many of the classes are `contenders`, given their maxima, descending, and what they have together."""
    ks = torch.arange(1, len(most), device=most.device)
    beaten = (most[1:] < 0.999 * left[:-1] / ks).nonzero()  # what K classes keep from all others, rounding aside
    return int(beaten[0, 0]) + 1 if len(beaten) else len(most)


def count_contenders(opened: Open, given: Given) -> int:
    """Return how many `contenders` there are in scores or probabilities (C, h, w), which are read row by row.

    A part of the image has no more: those of the whole image keep the others from it, too, and are still more probable
    than these together when those are left out whose maxima in the part are no higher than the others'.
    """

    def rows() -> Iterator[Tensor]:
        for row in range(opened().shape[1]):
            yield given.probabilities(torch.from_numpy(np.array(opened()[:, row], np.float32)))[0]

    most, classes = torch.stack([row.amax(1) for row in rows()]).amax(0).sort(descending=True)
    return _count(most, torch.stack([_left(row, classes) for row in rows()]).amin(0))


def most_probable(channels: Tensor) -> Tensor:
    """Return the index of the highest of channels (C, H, W), the first of equal ones: ten times as fast as `argmax`."""
    highest, index = channels[0].clone(), torch.zeros(channels.shape[1:], dtype=torch.int64, device=channels.device)
    for number in range(1, len(channels)):
        index.masked_fill_(channels[number] > highest, number)
        torch.maximum(highest, channels[number], out=highest)
    return index


def to_means(channels: Tensor) -> Tensor:
    """Make means of a filter's sums (C, H, W) over known labels, in place, and return where there is one, (H, W)."""
    part = channels.sum(0)
    channels.div_(part.clamp(min=_LEAST))
    return part > _LEAST


def says_something(logits: Tensor) -> Tensor:
    """Return where a CRF's logits (C, H, W) prefer any class, (H, W)."""
    return logits.amax(0) - logits.amin(0) > _LEAST
