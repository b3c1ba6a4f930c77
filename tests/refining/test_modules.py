"""Modules that are given to `segaware.refine`: computed with as in evaluation, and left as they are."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segaware import BilateralFilter2d, DenseCRF, EmbeddingNet, SegAwareCRF, refine
from segaware.refining import settings

IMAGE, SCORES = torch.rand(3, 24, 32), torch.randn(3, 24, 32)


class Noisy(EmbeddingNet):
    """One of segaware's that does something else in training."""

    def __init__(self) -> None:
        super().__init__(0.125, 4)
        self.drop = nn.Dropout(0.5)

    def embed(self, image: Tensor, stride: int) -> Tensor:
        return self.drop(super().embed(image, stride))


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))


def weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1)), nn.BatchNorm2d(4))


def scripted() -> nn.Module:
    return torch.jit.script(batch_norm())


class Still(BilateralFilter2d):
    """A layer that does something else in training."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        assert not self.training
        return super().forward(*args, **kwargs)


def flags(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture
def nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a module of the caller's was changed")

    settings.named_embedding("pretrained", torch.device("cpu"))  # segaware's own
    for name in ("to", "_apply", "float", "requires_grad_"):
        monkeypatch.setattr(nn.Module, name, refused)


@pytest.mark.usefixtures("nothing_moves")
@pytest.mark.parametrize("method", [BilateralFilter2d(3), SegAwareCRF(3, 3, 1), DenseCRF()])
def test_modules_stay_where_they_are(method: Any) -> None:
    for embedding in (batch_norm(), EmbeddingNet(0.125, 4), "pretrained"):
        refine(IMAGE, SCORES, method, embedding=embedding)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [Noisy, batch_norm, weight_norm, scripted])
def test_embedding_is_in_evaluation_and_stays_in_training(make: Callable[[], nn.Module]) -> None:
    embedding = make()
    next(embedding.children()).eval()  # not all of it is in training
    before, were = state(embedding), flags(embedding)
    refined = refine(IMAGE, SCORES, embedding=embedding)
    assert torch.equal(refine(IMAGE, SCORES, embedding=embedding), refined)
    assert flags(embedding) == were and any(were)
    for name, tensor in embedding.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert torch.equal(refine(IMAGE, SCORES, embedding=embedding.eval()), refined)
    assert all(parameter.requires_grad for parameter in embedding.parameters())


def test_flags_stay_when_something_fails() -> None:
    embedding = nn.Sequential(batch_norm(), nn.Conv2d(5, 5, 1))
    with pytest.raises(RuntimeError, match="channels"):
        refine(IMAGE, SCORES, embedding=embedding)
    assert all(flags(embedding))


def test_layer_is_in_evaluation_and_stays_in_training() -> None:
    layer = Still(3)
    assert torch.equal(refine(IMAGE, SCORES, layer), refine(IMAGE, SCORES, BilateralFilter2d(3)))
    assert layer.training


def test_what_cannot_be_copied_is_said() -> None:
    embedding = batch_norm()
    embedding.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"embedding must be in evaluation, .* call its eval\(\)"):
        refine(IMAGE, SCORES, embedding=embedding)
    refine(IMAGE, SCORES, embedding=embedding.eval())


def test_threads_share_an_embedding() -> None:
    embedding = batch_norm()
    expected = refine(IMAGE, SCORES, embedding=embedding, iterations=1)
    before = state(embedding)
    with ThreadPoolExecutor(4) as threads:
        tasks = [threads.submit(refine, IMAGE, SCORES, embedding=embedding, iterations=1) for _ in range(24)]
        while not all(task.done() for task in tasks):
            assert all(flags(embedding))
    for task in tasks:
        torch.testing.assert_close(task.result(), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in embedding.state_dict().items())


def test_tensors_that_a_module_keeps_can_be_trained_with() -> None:
    class Keeps(nn.Module):
        grid: Tensor | None = None

        def forward(self, image: Tensor) -> Tensor:
            if self.grid is None:
                self.grid = torch.linspace(0, 1, image.shape[-1])
            return image * self.grid

    embedding = Keeps().eval()
    refine(IMAGE, SCORES, embedding=embedding)
    image = IMAGE[None].clone().requires_grad_()
    embedding(image).sum().backward()
    assert image.grad is not None
