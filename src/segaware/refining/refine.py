"""`segaware.refine`: sharpen what a model gives for an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.ops.window import IntPair
from segaware.refining.grid import Align, Box
from segaware.refining.kinds import Kind
from segaware.refining.layers import Method, RefiningLayer
from segaware.refining.memory import parse_memory
from segaware.refining.refinement import Arrays
from segaware.refining.settings import Array, EmbeddingSource, Network, Settings, to_embeddings, to_images, to_numpy
from segaware.refining.strength import Strength


def refine(
    image: Array,
    scores: Array,
    method: Method | RefiningLayer = "filter",
    kind: Kind = "scores",
    embedding: EmbeddingSource = "pretrained",
    *,
    strength: Strength = "auto",
    kernel_size: IntPair | None = None,
    iterations: int | None = None,
    hardness: float | None = None,
    stride: int | None = None,
    num_classes: int | None = None,
    ignore_index: int = IGNORE_INDEX,
    certainty: float = 0.7,
    clip: float = 1e-5,
    align: Align | None = None,
    region: Box | None = None,
    max_memory: str | int | None = None,
    classify: bool = False,
    return_mask: bool = False,
) -> Any:
    """Sharpen any model's scores, labels, depth or flow so that they follow the borders in the image.

    Scores may be of any size, and lie where `align` and `region` say. They are interpolated to where the layer runs:
    the pixels of the image, or every second one if scores are coarse, at least two pixels apart or with borders blurred
    over eight; what it returns is upsampled
    (`segaware.nn.upsample`). After the method "filter" at a stride, windows of 5x5 pixels of the image are filtered
    twice over its colours (`segaware.nn.edge_filter`), which moves borders onto the pixel. Values are filtered by
    weighted medians and not means, at all pixels, and then over colours in windows of 9x9.

    Args:
        image: RGB: NumPy (H, W, 3) or (N, H, W, 3), or torch (3, H, W) or (N, 3, H, W); uint8, or floats in 0..1.
        scores: What is sharpened, NumPy or torch: (C, h, w) or (N, C, h, w) with as many dimensions as the image.
            Without C for labels, and if wanted for masks and values.
        method: "filter", the segmentation-aware bilateral filter (Eq. 4); "segaware_crf", the CRF over embeddings;
            "dense_crf", the fully connected CRF over colours, as pydensecrf's, which needs no embedding; with options
            that were best without training in docs/results.md. Or a `BilateralFilter2d`, `SegAwareCRF` or `DenseCRF`.
        kind: What `scores` are: "scores", logits, of which a filter takes the softmax and gives log-probabilities;
            "probabilities", which sum to 1 over C; "labels", integers, those of a panoptic map too; "masks", C of them
            that may overlap, each on its own: bool, uint8 of 0 and 1 or of 0..255, floats in 0..1, or else logits; or
            "values" such as depth or flow, NaN where unknown. Masks and values are for the filter alone, and a layer
            that takes medians for values alone.
        embedding: What tells pixels apart: the name of a network that comes with segaware, "fast" or "vgg", or
            "pretrained" for the default one; "color"; a module or function from images (N, 3, H, W) in 0..1 to
            embeddings (N, E, H, W), of which an `Embedding` is asked for the layer's stride; or the embeddings
            themselves, (E, H, W) or (N, E, H, W).
        strength: How much of what the method makes is taken, in 0..1: 0 for what was given, interpolated; 1 for all.
            "auto" for all of it where what was given is unsure or near such a pixel, and nothing where it is sure, so
            that masks as sharp as the image stay as they are: to sharpen rough ones with hard borders, give 1. Of
            values, of the dense CRF and of a layer that is given as `method`, "auto" takes all.
        kernel_size: Window of the filter (by default 9), or of the segmentation-aware CRF (13, at dilation 9).
        iterations: How often to filter (8, or 4 if scores are not coarse, see above, or are values), or mean-field
            iterations of a CRF (10).
        hardness: How strictly the filter or the segmentation-aware CRF keeps to one region (Eq. 3's lambda): 1, or 1.76
            for the filter on colours.
        stride: The stride to the image at which filter or segmentation-aware CRF run.
        num_classes: Number of classes of labels; None for what is found: for a filter any integers, for a CRF one more
            than the largest.
        ignore_index: The label of pixels whose class is not known, which take one from around.
        certainty: How sure a CRF takes labels to be: the probability of the given class, as pydensecrf's `gt_prob`; the
            other classes share the rest.
        clip: What a CRF raises lower probabilities to before it takes their logarithm, as pydensecrf's
            `unary_from_softmax`: one that is nearly 0 could not be outvoted by any number of neighbours.
        align: How scores lie in the image: "centers", each in the centre of its cell, as with `align_corners=False`;
            "corners", from the first pixel to the last, as with `align_corners=True`; "strided", (i, j) on pixel
            (s * i, s * j), as strided layers with padding give ceil(H / s) x ceil(W / s) of them. None for "strided"
            where there is such an s, as in scores of the image's size, else "centers".
        region: The box (left, top, right, bottom) that scores cover, in pixels from the image's upper left corner. It
            may reach beyond the image, as a letterbox or a padded square does; of a crop it is a part of it, and the
            scores at its edges go on outside.
        max_memory: The most memory that the process may take, such as "4GB" or a number of bytes. A large image is
            refined in tiles, with the same result. Memory of modules that are no `Embedding`, which embed the whole
            image at once, is not counted. None for no limit.
        classify: Return the most probable class of every pixel, for scores and probabilities. Classes that cannot be it
            are left out before the filter.
        return_mask: Also return the masks, to look at: exp(-hardness * d) for every tap of the window.

    Returns:
        The same kind, as NumPy or torch, with the dtype of `scores`, at the size of the image; with `classify` labels
        (H, W) or (N, H, W), int64. With `return_mask` also the attention
        masks (K, h, w) or (N, K, h, w) at the stride of the layer. Of the dense CRF's scores, log-marginals.

    Raises:
        ValueError: If an argument does not fit; the message names it.
        MemoryError: If `max_memory` is too little; the message says what is needed. The dense CRF looks at all pixels
            at once and needs the most.

    Example:
        >>> image, scores = torch.rand(3, 50, 70), torch.randn(21, 7, 9)  # at stride 8
        >>> refine(image, scores).shape
        torch.Size([21, 50, 70])
        >>> refine(image, torch.randn(21, 20, 20), region=(0, 0, 70, 70)).shape  # of the image padded to a square
        torch.Size([21, 50, 70])
        >>> refine(image, scores, classify=True).shape
        torch.Size([50, 70])
        >>> import numpy as np
        >>> labels = np.zeros((50, 70), np.uint8)
        >>> refine(image.permute(1, 2, 0).numpy(), labels, "dense_crf", kind="labels").shape
        (50, 70)
    """
    settings = Settings(
        method=method,
        kind=kind,
        kernel_size=kernel_size,
        iterations=iterations,
        hardness=hardness,
        stride=stride,
        num_classes=num_classes,
        certainty=certainty,
        clip=clip,
        strength=strength,
        ignore_index=ignore_index,
        align=align,
        region=region,
    )
    limit = None if max_memory is None else parse_memory(max_memory)
    images, batch = to_images(image), to_numpy("scores", scores)
    batched = images.ndim == 4
    if not batched:
        images, batch = images[None], batch[None]
    without_channels = kind in ("values", "masks") and batch.ndim == 3
    if without_channels:
        batch = batch[:, None]
    if batch.ndim != (3 if kind == "labels" else 4) or len(batch) != len(images):
        raise ValueError(
            f"scores must be of shape {'(h, w)' if kind == 'labels' else '(C, h, w)'} for one image, with N in front "
            f"for a batch of N, got {tuple(scores.shape)} for an image of {tuple(image.shape)}"
            + ("; a single mask or matte is of kind 'masks'" if kind != "labels" and batch.ndim == 3 else "")
        )
    device = scores.device if isinstance(scores, Tensor) else torch.device("cpu")
    outputs, masks = [], []
    for rgb, part, each in zip(images, batch, to_embeddings(embedding, len(images), batched, device), strict=True):
        output, mask = _refine(settings, rgb, part, each, device, limit, classify, return_mask)
        outputs.append(output[0] if without_channels else output)
        masks.append(mask)
    output, mask = (np.stack(x) if batched else x[0] for x in (outputs, masks))
    if not isinstance(scores, Tensor):
        return (output, mask) if return_mask else output
    refined = torch.from_numpy(output).to(device, torch.int64 if classify else scores.dtype)
    return (refined, torch.from_numpy(mask).to(device)) if return_mask else refined


def _refine(
    settings: Settings,
    image: np.ndarray,
    scores: np.ndarray,
    embedding: Network | np.ndarray,
    device: torch.device,
    limit: int | None,
    classify: bool,
    return_mask: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Refine one image, in memory; return it and its masks, which are empty if they are not wanted."""
    refinement = settings.prepare(image, lambda: scores, embedding, device, classify)
    if return_mask and not refinement.mask_shape[0]:
        raise ValueError("return_mask must be False with the dense CRF, which has no masks")
    output = np.empty(refinement.output_shape, np.int64 if classify else scores.dtype)
    embedded = np.empty(refinement.embedding_shape, np.float32)
    mask = np.empty(refinement.mask_shape if return_mask else 0, np.float32)
    refinement.plan(limit, held=output.nbytes + embedded.nbytes + mask.nbytes)
    arrays = Arrays(image, lambda: scores, lambda: embedded, lambda: output, mask if return_mask else None)
    for piece in range(refinement.pieces):
        refinement.run(piece, arrays)
    return output, mask
