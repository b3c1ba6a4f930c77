"""Draw what each public operator and layer does on the photograph that comes with segaware.

Run as `make docs`. The pictures in docs/figures/operators/ are shown in the reference, each with its operator.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import segaware
from docs.figure_parts import (
    CROP,
    SIDE,
    WINDOW,
    Panels,
    at_point,
    cat,
    crop,
    distances,
    embedding,
    gray,
    learned_colors,
    marked,
    network,
    photo,
    rgb,
    rough_label,
    rough_scores,
    tile,
)
from segaware.atomic import replaced
from segaware.data.flow import generate_pair
from segaware.nn import ColorEmbedding, GuidedFilter, PairLoss, certainty_gate, edge_filter, resample, upsample
from segaware.ops import PermutohedralLattice, correlation, mean_field, segaware_median2d
from segaware.viz import flow_colors, side_by_side

FOLDER = Path(__file__).parent / "figures/operators"
COLORS = 128  # of a picture, which keeps it below 60 KB


def draw_embedding_distance() -> Panels:
    """Draw distances in one window, and those to one neighbour everywhere."""
    d = distances(embedding())
    window = at_point(d).view(WINDOW, WINDOW).repeat_interleave(11, 0).repeat_interleave(11, 1)
    right = d[0].view(WINDOW, WINDOW, SIDE, SIDE)[WINDOW // 2, WINDOW // 2 + 3]
    return [
        marked(),
        ("embedding (PCA)", learned_colors()),
        ("distances, window of 1", gray(window)),
        ("to 3 pixels right", gray(right)),
    ]


def draw_attention_mask() -> Panels:
    """Draw masks of one window."""
    d = at_point(distances(embedding()))
    return [marked(), *((f"hardness {h}", tile(segaware.attention_mask(d, h))) for h in (0.3, 1.0, 3.0))]


def draw_segaware_conv2d() -> Panels:
    """Draw a horizontal blur, which stops at borders as far as its masks do."""
    kernel_size, reach = (1, 31), 15
    padded = F.pad(crop(photo()), (reach, reach, 0, 0), mode="replicate")
    distance = segaware.embedding_distance(crop(embedding()), kernel_size, padding="same")
    weight = torch.full((3, 1, *kernel_size), 1 / 31)
    panels = [("photograph", rgb(crop(photo())))]
    for hardness in (0.0, 0.5, 2.0):
        mask = segaware.attention_mask(distance, hardness)
        panels.append((f"blur, hardness {hardness:g}", rgb(segaware.segaware_conv2d(padded, weight, mask, groups=3))))
    return panels


def draw_segaware_filter2d() -> Panels:
    """Draw a noisy photograph, averaged and filtered."""
    noisy = crop(photo()) + 0.15 * torch.randn((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    panels = [("noise added", rgb(noisy))]
    for hardness, iterations in ((0.0, 1), (1.0, 1), (1.0, 4)):
        mask = segaware.attention_mask(distances(embedding()), hardness)
        caption = f"hardness {hardness:g}" + (f", {iterations} times" if iterations > 1 else "")
        panels.append((caption, rgb(segaware.segaware_filter2d(noisy, mask, WINDOW, iterations=iterations))))
    return panels


def draw_segaware_median2d() -> Panels:
    """Draw the cat as values that were upsampled from every 15th pixel, and their means and medians."""
    values = F.interpolate(crop(rough_scores().softmax(1)[:, 1:])[..., ::15, ::15], (SIDE, SIDE), mode="bilinear")
    mask = segaware.attention_mask(distances(embedding()), 1.0)
    return [
        ("photograph", rgb(crop(photo()))),
        ("every 15th pixel, bilinear", gray(values[0, 0])),
        ("mean, 2 times", gray(segaware.segaware_filter2d(values, mask, WINDOW, iterations=2)[0, 0])),
        ("median, 2 times", gray(segaware_median2d(values, mask, WINDOW, iterations=2)[0, 0])),
    ]


def upsampled(hardness: float) -> Panels:
    """Return the panels of the cat's probability at stride 15, interpolated and upsampled along the embedding."""
    coarse, points = (crop(maps)[..., ::15, ::15] for maps in (rough_scores().softmax(1)[:, 1:], embedding()))
    panels = [("photograph", rgb(crop(photo()))), ("every 15th pixel", gray(F.interpolate(coarse, (SIDE, SIDE))[0, 0]))]
    for h in (0.0, hardness):
        fine = segaware.ops.segaware_upsample(coarse, crop(embedding()), points, h, 2, *2 * [(1 / 15, 0)])
        panels.append((f"hardness {h:g}", gray(fine[0, 0])))
    return panels


def draw_correlation() -> Panels:
    """Draw where patches of one crop are found in another."""
    down, right, reach = 4, 6, WINDOW // 2
    rows, columns = CROP
    moved = (..., slice(rows.start - down, rows.stop - down), slice(columns.start - right, columns.stop - right))
    patches = F.unfold(photo().mean(1, keepdim=True), 9, padding=4).unflatten(2, photo().shape[2:])
    patches = F.normalize(patches - patches.mean(1, keepdim=True), dim=1)
    first, second = crop(patches), patches[moved]
    c = correlation(first, second, reach)
    best = c[0].argmax(0)
    flow = torch.stack([best % WINDOW - reach, best // WINDOW - reach]).float()
    window = at_point(c).view(WINDOW, WINDOW).repeat_interleave(11, 0).repeat_interleave(11, 1)
    return [
        ("first", marked()[1]),
        ("second", rgb(photo()[moved])),
        ("correlations of 1", gray(window.clamp(min=0))),
        ("largest at", flow_colors(flow, 10.0)),
    ]


def draw_permutohedral_lattice() -> Panels:
    """Draw a noisy photograph, filtered by position, and by position and colour."""
    image = crop(photo())
    noisy = image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    position = torch.stack([rows, columns]).float() / 6
    values = torch.cat([noisy[0], torch.ones(1, SIDE, SIDE)])
    panels = [("noise added", rgb(noisy))]
    for caption, features in (
        ("features: position", position),
        ("position and colour", torch.cat([position, noisy[0] / 0.25])),
    ):
        sums = PermutohedralLattice(features).filter(values)
        panels.append((caption, rgb((sums[:3] / sums[3:])[None])))
    return panels


def draw_mean_field() -> Panels:
    """Draw marginals after some iterations."""
    log_probabilities = crop(rough_scores())[0].log_softmax(0)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    features = torch.cat([torch.stack([rows, columns]) / 40, crop(photo())[0] / 0.07])
    return [("photograph", rgb(crop(photo())))] + [
        (f"{n} iterations", gray(mean_field(log_probabilities, [features], [5.0], n)[1])) for n in (0, 1, 5)
    ]


def draw_segaware_conv() -> Panels:
    """Draw an averaging layer at some hardnesses."""
    layer = segaware.SegAwareConv2d(3, 3, WINDOW, padding="same", bias=False, groups=3, padding_mode="replicate")
    layer.weight.data.fill_(1 / WINDOW**2)
    panels = [("photograph", rgb(crop(photo())))]
    for hardness in (0.0, 0.3, 1.0):
        layer.hardness.data.fill_(hardness)
        panels.append((f"mean, hardness {hardness:g}", rgb(layer(crop(photo()), crop(embedding())))))
    return panels


def draw_bilateral_filter() -> Panels:
    """Draw the probabilities of noisy scores, filtered."""
    panels = [("photograph", rgb(crop(photo()))), ("given", gray(crop(rough_scores())[0].softmax(0)[1]))]
    for n in (1, 8):
        scores = segaware.BilateralFilter2d(9, iterations=n)(rough_scores(), embedding())
        panels.append((f"filtered {n}x", gray(crop(scores)[0].softmax(0)[1])))
    return panels


def draw_guided_filter() -> Panels:
    """Draw the probabilities of noisy scores, filtered along the photograph."""
    given = rough_scores().softmax(1)
    panels = [("photograph", rgb(crop(photo()))), ("given", gray(crop(given)[0, 1]))]
    for radius in (8, 30):
        panels.append((f"radius {radius}", gray(crop(GuidedFilter(radius)(given, photo()))[0, 1])))
    return panels


def draw_edge_filter() -> Panels:
    """Draw a cat's probability that was filtered at stride 2, and what the colours of all pixels make of it."""
    every_second = embedding()[..., ::2, ::2].contiguous()
    half = segaware.BilateralFilter2d(9, iterations=8)(
        rough_scores().softmax(1)[..., ::2, ::2].contiguous(), every_second
    )
    filtered = upsample(half, 2, (photo().shape[-2], photo().shape[-1]))
    panels = [("photograph", rgb(crop(photo()))), ("given", gray(crop(filtered)[0, 1]))]
    for n in (2, 8):
        panels.append((f"{n} iterations", gray(crop(edge_filter(n)(filtered, photo()))[0, 1])))
    return panels


def draw_certainty_gate() -> Panels:
    """Draw how much of a filter pixels take, of a coarse grid and of a mask without any blur."""
    coarse = upsample(rough_scores().softmax(1)[..., ::8, ::8], 8, (photo().shape[-2], photo().shape[-1]))
    sharp = torch.nn.functional.one_hot(rough_label(), 2).permute(0, 3, 1, 2).float()
    panels = [("photograph", rgb(crop(photo())))]
    for name, given in (("coarse", coarse), ("without blur", sharp)):
        panels += [(name, gray(crop(given)[0, 1])), ("taken", gray(crop(certainty_gate(given))[0, 0]))]
    return panels


def draw_segaware_crf() -> Panels:
    """Draw what the CRF over embeddings makes of noisy scores."""
    panels = [("photograph", rgb(crop(photo()))), ("given", cat(rough_scores()))]
    for n in (2, 10):
        crf = segaware.SegAwareCRF(2, iterations=n, compat=3.0)
        panels.append((f"{n} iterations", cat(crf(rough_scores(), embedding()))))
    return panels


def draw_dense_crf_module() -> Panels:
    """Draw what the CRF over colours makes of noisy scores."""
    panels = [("photograph", rgb(crop(photo()))), ("given", cat(rough_scores()))]
    for n in (2, 10):
        panels.append((f"{n} iterations", cat(segaware.DenseCRF(iterations=n)(rough_scores(), photo()))))
    return panels


def draw_dense_crf() -> Panels:
    """Draw the marginals of both filters alone, and of the two."""
    log_probabilities = rough_scores().log_softmax(1)
    panels = [("given", gray(crop(log_probabilities)[0, 1].exp()))]
    for caption, options in (
        ("position alone", {"bilateral_compat": 0.0}),
        ("position and colour", {"gaussian_compat": 0.0}),
        ("both", {}),
    ):
        panels.append((caption, gray(crop(segaware.dense_crf(log_probabilities, photo(), **options))[0, 1])))
    return panels


def draw_embedding_net() -> Panels:
    """Draw an embedding, and how far its pixels are from one of them."""
    e = crop(embedding())
    distance = (e - at_point(e)[None, :, None, None]).abs().sum(1)[0]
    return [marked(), ("embedding (PCA)", learned_colors()), ("distance to 1", gray(distance))]


def draw_color_embedding() -> Panels:
    """Draw masks of colours beside those of learned embeddings."""
    colour, learned = (at_point(distances(e)) for e in (ColorEmbedding()(photo()), embedding()))
    return [
        marked(),
        ("colour", tile(segaware.attention_mask(colour, 1.0))),
        ("learned", tile(segaware.attention_mask(learned, 1.0))),
    ]


def draw_pair_loss() -> Panels:
    """Draw where the loss of an untrained and of the trained network comes from: the size of its gradient."""
    torch.manual_seed(0)
    untrained = segaware.EmbeddingNet(0.25, dim=64)
    untrained.calibrate(photo())
    panels = [("photograph", rgb(crop(photo()))), ("labels", gray(crop(rough_label())[0].float()))]
    for caption, net in (("untrained", untrained), ("trained", network())):
        with torch.enable_grad():
            e = crop(net(photo())[:, net.colors :]).detach().requires_grad_()
            PairLoss()(e, crop(rough_label())).backward()
        size = e.grad[0].norm(dim=0)
        panels.append((f"gradient, {caption}", gray(size.clamp(max=float(size.quantile(0.99))))))
    return panels


def draw_multiscale_end_point_loss() -> Panels:
    """Draw a pair of images, and the true flow that is compared at two strides."""
    sample = generate_pair(1, size=(SIDE, SIDE))
    panels = [("first image", rgb(sample.image1[None])), ("second image", rgb(sample.image2[None]))]
    for stride in (4, 16):
        flow = F.interpolate(sample.flow[None, :, ::stride, ::stride], size=(SIDE, SIDE))[0]
        panels.append((f"truth at stride {stride}", flow_colors(flow, float(sample.flow.norm(dim=0).max()))))
    return panels


def draw_resample() -> Panels:
    """Draw a photograph at smaller scales, each pixel as a square."""
    return [("photograph", rgb(crop(photo())))] + [
        (f"scale {scale}", rgb(F.interpolate(resample(crop(photo()), scale), size=(SIDE, SIDE))))
        for scale in (Fraction(1, 5), Fraction(1, 15))
    ]


def draw_upsample() -> Panels:
    """Draw labels at stride 15, upsampled where they were, and as `F.interpolate` places them."""
    label = crop(rough_label())[:, None].float()
    coarse = label[:, :, ::15, ::15]
    return [
        ("label", gray(label[0, 0])),
        ("every 15th pixel", gray(F.interpolate(coarse, size=(SIDE, SIDE))[0, 0])),
        ("upsample", gray(upsample(coarse, 15, (SIDE, SIDE))[0, 0])),
        ("F.interpolate", gray(F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")[0, 0])),
    ]


def draw_refine() -> Panels:
    """Draw what each method makes of a rough label."""
    panels = [("given", cat(F.one_hot(rough_label(), 2).permute(0, 3, 1, 2)))]
    for method in ("filter", "segaware_crf", "dense_crf"):
        refined = segaware.refine(photo()[0], rough_label()[0].to(torch.uint8), method, kind="labels", strength=1)
        panels.append((method, cat(F.one_hot(refined.long(), 2).permute(2, 0, 1)[None])))
    return panels


FIGURES: dict[str, Callable[[], Panels]] = {
    "BilateralFilter2d": draw_bilateral_filter,
    "ColorEmbedding": draw_color_embedding,
    "DenseCRF": draw_dense_crf_module,
    "EmbeddingNet": draw_embedding_net,
    "GuidedFilter": draw_guided_filter,
    "MultiscaleEndPointLoss": draw_multiscale_end_point_loss,
    "PairLoss": draw_pair_loss,
    "PermutohedralLattice": draw_permutohedral_lattice,
    "SegAwareCRF": draw_segaware_crf,
    "SegAwareConv2d": draw_segaware_conv,
    "SegAwareUpsample": lambda: upsampled(3.0),
    "attention_mask": draw_attention_mask,
    "correlation": draw_correlation,
    "dense_crf": draw_dense_crf,
    "certainty_gate": draw_certainty_gate,
    "edge_filter": draw_edge_filter,
    "embedding_distance": draw_embedding_distance,
    "mean_field": draw_mean_field,
    "refine": draw_refine,
    "resample": draw_resample,
    "segaware_conv2d": draw_segaware_conv2d,
    "segaware_filter2d": draw_segaware_filter2d,
    "segaware_median2d": draw_segaware_median2d,
    "segaware_upsample": lambda: upsampled(1.0),
    "upsample": draw_upsample,
}


@torch.no_grad()
def draw(name: str) -> np.ndarray:
    """Return the picture of an operator or layer, uint8 (H, W, 3)."""
    return side_by_side(FIGURES[name]())


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name in FIGURES:
        with replaced(FOLDER / f"{name}.png") as temporary:
            Image.fromarray(draw(name)).quantize(COLORS, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)


if __name__ == "__main__":
    main()
