"""Normalised images become RGB in 0..1 again."""

import pytest
import torch

from segaware import Denormalize


def test_it_undoes_normalisation() -> None:
    image = torch.rand(2, 3, 4, 5)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (image - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(Denormalize()(normalised), image)
    grey = Denormalize(mean=[0.5], std=[0.25])
    torch.testing.assert_close(grey((image[:, :1] - 0.5) / 0.25), image[:, :1])
    assert not grey.state_dict()  # weights of a plain network still fit


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.0,)), ((0.5, 0.5), (0.2,)), ((0.5,), (-1.0,))])
def test_bad_numbers(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"mean and std must have as many numbers, .* got \(0\.5"):
        Denormalize(mean, std)
