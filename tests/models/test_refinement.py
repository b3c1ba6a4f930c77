"""Score refinement: what is applied, at which resolution, in which order."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from segaware.models import ScoreRefinement, Sharpener
from segaware.nn import (
    BilateralFilter2d,
    ColorEmbedding,
    DenseCRF,
    EmbeddingNet,
    GuidedFilter,
    SegAwareCRF,
    upsample,
)
from segaware.refining import refine


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 33, 41)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(2, 4, 5, 6)


def test_nothing_to_apply_is_upsampling(image: torch.Tensor, scores: torch.Tensor) -> None:
    sharpen = Sharpener(ScoreRefinement(4), None)
    # At sizes 8n + 1 the corners of the scores are the corners of the image.
    expected = F.interpolate(scores, (33, 41), mode="bilinear", align_corners=True)
    torch.testing.assert_close(sharpen(image, scores, 8), expected)
    assert sharpen.forward_scores(image, scores, 8) == (scores, 8)


FILTER: dict[str, Any] = {"filter_kernel_size": 3, "filter_iterations": 2, "filter_hardness": 0.7}


def test_filter_then_crf_on_the_embedding_sampled_at_the_stride(image: torch.Tensor, scores: torch.Tensor) -> None:
    embedding = ColorEmbedding()
    sharpen = Sharpener(ScoreRefinement(4, filter_stride=4, crf="segaware", crf_hardness=0.3, **FILTER), embedding)
    smooth, crf = BilateralFilter2d(3, iterations=2, hardness=0.7), SegAwareCRF(4, hardness=0.3)
    small = embedding(image)[:, :, ::4, ::4]
    expected = crf(smooth(upsample(scores, 2, (9, 11)), small), small)
    refined, stride = sharpen.forward_scores(image, scores, 8)
    assert stride == 4
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(sharpen(image, scores, 8), upsample(expected, 4, (33, 41)))


def test_an_embedding_is_asked_for_the_stride_and_another_module_for_the_whole(
    image: torch.Tensor, scores: torch.Tensor
) -> None:
    embedding, given = ColorEmbedding(), []
    embedding.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1:]))
    for network in (embedding, torch.nn.Sequential(embedding)):
        Sharpener(ScoreRefinement(4, filter_stride=4, **FILTER), network)(image, scores, 8)
    assert given == [(4,), ()]


def test_crf_first_and_its_metric(image: torch.Tensor, scores: torch.Tensor) -> None:
    embedding = ColorEmbedding(1.0)
    options = {"crf": "segaware", "crf_hardness": 0.3, "crf_metric": "sqeuclidean", "crf_first": True}
    sharpen = Sharpener(ScoreRefinement(4, filter_stride=1, **FILTER, **options), embedding)
    smooth, crf = BilateralFilter2d(3, iterations=2, hardness=0.7), SegAwareCRF(4, hardness=0.3, metric="sqeuclidean")
    expected = smooth(crf(upsample(scores, 8, (33, 41)), embedding(image)), embedding(image))
    torch.testing.assert_close(sharpen.forward_scores(image, scores, 8)[0], expected)


def test_dense_crf_refines_the_full_size_and_learns_nothing(image: torch.Tensor, scores: torch.Tensor) -> None:
    sharpen = Sharpener(ScoreRefinement(4, dense_crf=DenseCRF()), None)
    plain = Sharpener(ScoreRefinement(4), None)(image, scores, 8)
    assert not list(sharpen.parameters())
    assert (sharpen(image, scores, 8).softmax(1) - plain.softmax(1)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "embedding", "message"),
    [
        ({"crf": "fast"}, None, "crf must be one of .*, got 'fast'"),
        ({"filter_kernel_size": 3}, None, "embedding is needed with this refinement, but none was given"),
        ({"dense_crf": DenseCRF()}, EmbeddingNet(0.0625, 2), "embedding is not used with this refinement"),
    ],
)
def test_options_that_do_not_fit(options: dict, embedding: torch.nn.Module | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sharpener(ScoreRefinement(4, **options), embedding)


def test_stride_must_divide_that_of_the_scores(image: torch.Tensor, scores: torch.Tensor) -> None:
    sharpen = Sharpener(ScoreRefinement(4, filter_kernel_size=3, filter_stride=3), ColorEmbedding())
    with pytest.raises(
        ValueError, match="filter_stride must be a divisor or multiple of the stride of the scores, 8, got 3"
    ):
        sharpen(image, scores, 8)


@pytest.mark.parametrize("stride", [1, 2])
def test_scores_of_every_pixel_are_sampled_where_the_filter_works(image: torch.Tensor, stride: int) -> None:
    scores, embedding = torch.randn(2, 4, 33, 41), ColorEmbedding()
    sharpen = Sharpener(ScoreRefinement(4, filter_stride=stride, **FILTER), embedding)
    smooth = BilateralFilter2d(3, iterations=2, hardness=0.7)
    expected = smooth(scores[..., ::stride, ::stride].contiguous(), embedding(image)[..., ::stride, ::stride])
    refined, at = sharpen.forward_scores(image, scores, 1)
    assert at == stride
    torch.testing.assert_close(refined, expected)
    with pytest.raises(ValueError, match="input must have size"):
        sharpen(image, scores[..., 1:, 1:], 1)


def test_probabilities_are_filtered_as_refine_does(image: torch.Tensor) -> None:
    logits = 3 * torch.randn(1, 2, 33, 41)
    sharpen = Sharpener(ScoreRefinement(2, filter_stride=1, filter_probabilities=True, **FILTER), ColorEmbedding())
    pixels, probabilities = image[0].permute(1, 2, 0).numpy(), logits[0].softmax(0).numpy()
    smooth = BilateralFilter2d(3, iterations=2, hardness=0.7)
    expected = refine(pixels, probabilities, smooth, kind="probabilities", embedding=ColorEmbedding(), stride=1)
    refined = sharpen(image[:1], logits, 1)[0]
    torch.testing.assert_close(refined.softmax(0), torch.as_tensor(expected), atol=1e-5, rtol=0)


def test_edges_are_filtered_at_full_size(image: torch.Tensor, scores: torch.Tensor) -> None:
    sharpen = Sharpener(ScoreRefinement(4, edge_iterations=3), None)
    plain = Sharpener(ScoreRefinement(4), None)(image, scores, 8)
    expected = BilateralFilter2d(5, iterations=3, hardness=17.0)(plain.softmax(1), image).clamp(min=1e-6)
    torch.testing.assert_close(sharpen(image, scores, 8).exp(), expected)
    assert not any(p.requires_grad for p in sharpen.parameters())


def test_gated_is_what_refine_takes(image: torch.Tensor) -> None:
    logits = 9 * torch.randn(1, 3, 5, 6)
    sharpen = Sharpener(
        ScoreRefinement(3, filter_probabilities=True, edge_iterations=2, gated=True, **FILTER), ColorEmbedding()
    )
    options = {"kernel_size": 3, "iterations": 2, "hardness": 0.7}
    expected = refine(image[0], logits[0], embedding=ColorEmbedding(), align="strided", **options)
    torch.testing.assert_close(sharpen(image[:1], logits, 8)[0].exp(), expected.exp(), atol=1e-5, rtol=0)
    whole = refine(image[0], logits[0], embedding=ColorEmbedding(), align="strided", strength=1, **options)
    assert (whole - expected).abs().max() > 0.1


def test_image_filter_refines_probabilities_at_full_size(image: torch.Tensor, scores: torch.Tensor) -> None:
    sharpen = Sharpener(ScoreRefinement(4, image_filter=GuidedFilter(3, 1e-2)), None)
    plain = Sharpener(ScoreRefinement(4), None)(image, scores, 8)
    expected = GuidedFilter(3, 1e-2)(plain.softmax(1), image).clamp(min=1e-6)
    torch.testing.assert_close(sharpen(image, scores, 8).exp(), expected)
    assert sharpen.forward_scores(image, scores, 8) == (scores, 8)  # training leaves it out
