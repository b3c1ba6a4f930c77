"""Small networks to convert."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segaware import EmbeddingNet


class Strided(nn.Module):
    """Strides 1, 2 and 4, groups, dilation, a layer that is used twice, and a decoder."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.reentrant = reentrant  # of a checkpoint, None is no checkpoint
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 2, 2, 2))
        self.twice = nn.Conv2d(8, 8, (3, 5), padding="same")
        self.again = self.twice
        self.point = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.down(self.stem(image).relu())
        x = self.block(x) if self.reentrant is None else checkpoint(self.block, x, use_reentrant=self.reentrant)
        x = nn.functional.interpolate(x, image.shape[-2:], mode="bilinear")
        return {"out": self.point(self.again(self.twice(x).relu()))}


@pytest.fixture
def network() -> Strided:
    torch.manual_seed(0)
    return Strided()


@pytest.fixture
def embedding() -> EmbeddingNet:
    torch.manual_seed(1)
    return EmbeddingNet(0.125, dim=4)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 21, 26, generator=torch.Generator().manual_seed(2))
