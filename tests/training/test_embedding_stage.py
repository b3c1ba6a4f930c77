"""What embeddings learn from: pairs, a teacher and masks."""

import pytest
import torch

from segaware.data import PredictedSample, Sample
from segaware.nn import ColorEmbedding, EmbeddingNet, FastEmbeddingNet, MaskLoss, OffsetPairLoss
from segaware.training import EmbeddingStage, Sharpening, Teaching, masks_filter
from segaware.training.embedding_stage import _sharpened
from segaware.training.optimization import OPTIMIZERS, SCHEDULES, Optimization


def _optimization():
    def optimizer(parameters, **options):
        return OPTIMIZERS["adamw"](parameters, **options)

    def schedule(*arguments):
        return SCHEDULES["polynomial"](*arguments, power=0.9)

    return Optimization(optimizer, schedule, 1e-3, 0.0, {})


def _stage(network, **parts):
    stage = EmbeddingStage(network, OffsetPairLoss(radius=8, count=1), _optimization(), **parts)
    stage.log = lambda *arguments, **options: None  # there is no trainer
    return stage


def _sample():
    torch.manual_seed(0)
    labels = torch.randint(2, (2, 8, 10)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return Sample(torch.rand(2, 3, 32, 40), labels, ["a", "b"])


@pytest.mark.parametrize("network", [FastEmbeddingNet(0.125, 4), EmbeddingNet(0.125, 4, color=True)])
def test_colors_learn_from_masks_alone(network):
    teaching = Teaching(FastEmbeddingNet(0.0625, 2), MaskLoss(radius=8, count=1), 1.0, images=1)
    for parts, learns in (({"teaching": teaching}, False), ({"sharpening": _sharpening()}, True)):
        network.zero_grad()
        _stage(network, **parts).loss(_sample()).backward()
        assert (network.color.scale.grad is not None and bool(network.color.scale.grad.any())) == learns
        learned = [p.grad for name, p in network.named_parameters() if name.startswith(("heads.", "fuse."))]
        assert learned and all(grad is not None and grad.any() for grad in learned)


def _sharpening():
    return Sharpening(masks_filter(5, 2), 1.0, masks=2, crop=16)


def test_teacher_and_filter_are_not_trained():
    teacher = FastEmbeddingNet(0.0625, 2)
    network = FastEmbeddingNet(0.125, 4)
    stage = _stage(network, teaching=Teaching(teacher, MaskLoss(8, 1), 1.0, images=2), sharpening=_sharpening())
    stage.loss(_sample()).backward()
    assert {id(p) for p in stage.parameters()} == {id(p) for p in network.parameters()}
    assert all(p.grad is None for p in teacher.parameters())
    assert set(stage.state_dict()) == {f"network.{name}" for name in network.state_dict()}


def test_a_teacher_gives_what_it_has_learned_without_its_colors():
    teacher, network = FastEmbeddingNet(0.0625, 2), FastEmbeddingNet(0.125, 4)

    def loss():
        torch.manual_seed(1)
        return _stage(network, weight=0.0, teaching=Teaching(teacher, MaskLoss(8, 1), 1.0, images=2)).loss(_sample())

    before = loss()
    teacher.color.scale.data *= 5
    assert loss() == before != 0


def test_weights_multiply_the_parts():
    network, sample = FastEmbeddingNet(0.125, 4), _sample()

    def loss(weight, **parts):
        torch.manual_seed(1)
        return _stage(network, weight=weight, **parts).loss(sample).item()

    def taught(weight):
        torch.manual_seed(2)
        return {"teaching": Teaching(FastEmbeddingNet(0.0625, 2), MaskLoss(8, 1), weight, images=1)}

    assert loss(3.0) == pytest.approx(3 * loss(1.0))
    assert loss(0.0, **taught(2.0)) == pytest.approx(2 * loss(0.0, **taught(1.0))) != 0


def test_masks_larger_than_the_image_and_without_labels():
    network = FastEmbeddingNet(0.125, 4)
    sample = _sample()._replace(label=torch.full((2, 32, 40), 255))
    stage = _stage(network, sharpening=Sharpening(masks_filter(5, 1), 1.0, masks=1, crop=512))
    assert stage.loss(sample) == 0


def test_masks_that_a_network_predicted_are_sharpened_too():
    network = ColorEmbedding()  # of a gray image no weight is less than 1: a mean in a window
    label = torch.tensor([[254] * 3 + [1] * 3 + [255]]).expand(1, 6, 7)
    logit = torch.linspace(-3, 3, 7).expand(1, 1, 6, 7)
    blank = Sample(torch.full((1, 3, 6, 7), 0.5), label, ["a"])
    sharpening = Sharpening(masks_filter(3, 1), 1.0, masks=1, crop=6)

    def loss(sample):
        torch.manual_seed(0)
        return _sharpened(sharpening, network(sample.image), sample).item()

    predicted = [loss(PredictedSample(*blank, sign * logit)) for sign in (1, -1)]
    assert predicted[0] < loss(blank) < predicted[1]
    assert loss(PredictedSample(*blank, torch.full_like(logit, torch.nan))) == pytest.approx(loss(blank))
