"""Small networks from trained ones."""

import pytest
import torch

from segaware.nn import EmbeddingNet, FastEmbeddingNet, prune_embedding


def _images():
    torch.manual_seed(0)
    coarse = torch.rand(4, 3, 12, 12)
    return torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic").clamp(0, 1)


def test_a_network_of_the_same_width_is_the_teacher_at_half_the_size():
    torch.manual_seed(0)
    teacher, images = EmbeddingNet(width=0.0625, dim=6).eval(), _images()
    student = FastEmbeddingNet(width=0.0625, dim=6)
    unexplained = prune_embedding(teacher, student, images)
    assert list(unexplained)[:3] == ["conv1_1", "conv1_2", "heads.0"]
    assert len(unexplained) == 10 and max(unexplained.values()) < 0.05
    with torch.no_grad():
        wanted = teacher(
            torch.stack([image * teacher.normalize.std + teacher.normalize.mean for image in student.halved(images)])
        )
        learned = student(images, stride=2)[:, 3:]
    first, second = ((x[..., 5:] - x[..., :-5]).abs().sum(1).flatten() for x in (wanted, learned))
    assert torch.corrcoef(torch.stack([first, second]))[0, 1] > 0.9  # of distances, in mixtures of the channels


def test_few_channels_do_what_many_did():
    torch.manual_seed(0)
    teacher, images = EmbeddingNet(width=0.25, dim=8).eval(), _images()
    pruned, untrained = FastEmbeddingNet(0.125, 4), FastEmbeddingNet(0.125, 4)
    prune_embedding(teacher, pruned, images)
    with torch.no_grad():
        wanted = (teacher(images, 2)[..., 6:] - teacher(images, 2)[..., :-6]).abs().sum(1).flatten()
        correlation = []
        for student in (pruned, untrained):
            learned = student(images, 2)[:, 3:]
            distance = (learned[..., 6:] - learned[..., :-6]).abs().sum(1).flatten()
            correlation.append(torch.corrcoef(torch.stack([wanted, distance]))[0, 1].item())
    assert correlation[0] > 0.6 and correlation[0] > correlation[1] + 0.1


def test_a_student_larger_than_its_teacher():
    with pytest.raises(
        ValueError, match=r"student must have at most the channels of its teacher, .* got \[16, 32, 64\]"
    ):
        prune_embedding(EmbeddingNet(0.125, 4), FastEmbeddingNet(0.25, 4), torch.rand(1, 3, 32, 32))
