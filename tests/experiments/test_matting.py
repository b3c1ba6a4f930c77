"""Closed-form matting as a row of a table."""

import pytest
import torch

from segaware.experiments.tasks.segmentation.matting import ClosedFormMatting


@pytest.fixture(scope="module")
def photograph() -> tuple[torch.Tensor, torch.Tensor]:
    """An image of a light disc on dark ground, with noise, and the disc."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    disc = ((rows - 32) ** 2 + (columns - 40) ** 2 < 20**2).float()
    noise = 0.02 * torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    return (0.2 + 0.6 * disc + noise).clamp(0, 1), disc


def test_an_object_gets_the_border_of_its_colours(photograph: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, disc = photograph
    blurred = torch.nn.functional.avg_pool2d(disc[None], 13, 1, 6, count_include_pad=False)[0].roll(3, 1)
    assert ((blurred > 0.5) != (disc > 0.5)).sum() > 100
    ground, alpha = ClosedFormMatting()(torch.stack([1 - blurred, blurred])[None], image)[0]
    assert ((alpha > 0.5) != (disc > 0.5)).sum() < 10
    torch.testing.assert_close(ground, 1 - alpha)


def test_each_of_more_classes_is_matted_and_what_nowhere_is_sure_stays(
    photograph: tuple[torch.Tensor, torch.Tensor],
) -> None:
    image, disc = photograph
    unsure = torch.full_like(disc, 0.2)
    probabilities = torch.stack([0.8 * (1 - disc), 0.8 * disc, unsure])[None]
    torch.testing.assert_close(ClosedFormMatting()(probabilities, image), probabilities)
    certain = torch.stack([1 - disc, disc, 0 * disc])[None]
    mattes = ClosedFormMatting()(certain, image)[0]
    torch.testing.assert_close(mattes[2], certain[0, 2])
    for matte, truth in zip(mattes[:2], certain[0, :2], strict=True):
        assert ((matte > 0.5) != (truth > 0.5)).sum() < 10
