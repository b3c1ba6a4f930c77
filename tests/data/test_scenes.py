import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segaware.data import Scenes, generate_scene
from segaware.data.scenes import _add_object

PATCH = 12


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [generate_scene(seed) for seed in range(240)]


def neighbours(array: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pair every pixel with the one two to its right and the one two below."""
    return [(array[:, :-2], array[:, 2:]), (array[:-2], array[2:])]


def test_colour_changes_as_much_inside_an_object_as_across_its_border(scenes):
    across, inside = [], []
    for image, label in scenes[:100]:
        for (p, q), (a, b) in zip(neighbours(image.astype(int)), neighbours(label), strict=True):
            distance = abs(p - q).sum(-1)
            across.append(distance[a != b])
            inside.append(distance[(a == b) & (a > 0)])
    ratio = np.concatenate(across).mean() / np.concatenate(inside).mean()
    assert 0.7 < ratio < 1.3


def leak(scenes: list[tuple[np.ndarray, np.ndarray]], hardness: float) -> float:
    """Return the share of a 9x9 bilateral colour filter's weight that falls on another class."""
    wrong = total = 0.0
    for image, label in scenes:
        for dy, dx in np.ndindex(5, 9):  # the other half of the window is its mirror image
            here, there = np.s_[dy:92, 4:92], np.s_[: 92 - dy, dx : dx + 88]
            weight = np.exp(-hardness * abs(image[here].astype(float) - image[there]).sum(-1) / 255)
            wrong += weight[label[here] != label[there]].sum()
            total += weight.sum()
    return wrong / total


def test_colour_filter_leaks_across_borders(scenes):
    # With all colours independent the filter at hardness 10 would keep less than a tenth of the leak.
    assert leak(scenes[:40], 10) > 0.2 * leak(scenes[:40], 0)


def patches(scenes: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Cut out patches that lie inside one class, the same number of each class."""
    found: dict[int, list[np.ndarray]] = {index: [] for index in range(6)}
    for image, label in scenes:
        for top in range(0, 96 - PATCH, 4):
            for left in range(0, 96 - PATCH, 4):
                window = (slice(top, top + PATCH), slice(left, left + PATCH))
                if label[window].min() == label[window].max():
                    found[int(label[top, left])].append(image[window] / 255)
    count = min(len(group) for group in found.values())
    assert count > 60
    chosen = [group[:: len(group) // count][:count] for group in found.values()]
    return np.concatenate(chosen), np.repeat(np.arange(6), count)


def accuracy(features: np.ndarray, label: np.ndarray, tests: np.ndarray, truth: np.ndarray) -> float:
    """Fit a quadratic discriminant (one Gaussian for each class) and score it on other patches."""
    scores = []
    for index in range(6):
        own = features[label == index]
        precision = np.linalg.inv(np.cov(own.T) + 1e-4 * np.eye(own.shape[1]))
        offset = tests - own.mean(0)
        scores.append(np.linalg.slogdet(precision)[1] - np.einsum("ni,ij,nj->n", offset, precision, offset))
    return float((np.argmax(scores, 0) == truth).mean())


def spectrum(pixels: np.ndarray) -> np.ndarray:
    """Share of the variance in the strongest frequencies, and how strong they are: blind to colour and direction."""
    window = np.hanning(PATCH + 2)[1:-1]
    centred = (pixels - pixels.mean((1, 2), keepdims=True)) * np.sqrt(np.outer(window, window))[..., None]
    power = (abs(np.fft.rfft2(centred, axes=(1, 2))) ** 2).sum(-1).reshape(len(pixels), -1)
    radius = np.hypot(np.fft.fftfreq(PATCH)[:, None], np.fft.rfftfreq(PATCH)).ravel()
    share = power / power.sum(1, keepdims=True)
    strongest = -np.sort(-share, 1)[:, :10].cumsum(1)[:, [0, 1, 2, 4, 9]]
    return np.column_stack([strongest, share @ radius, share[:, radius < 0.1].sum(1)])


def test_texture_tells_the_classes_and_colour_does_not(scenes):
    pixels, label = patches(scenes[:120])
    others, truth = patches(scenes[120:])
    by_texture = accuracy(spectrum(pixels), label, spectrum(others), truth)
    by_colour = accuracy(pixels.mean((1, 2)), label, others.mean((1, 2)), truth)
    assert by_texture > 0.8
    assert by_colour < 0.28  # one in six is chance


def test_content(scenes):
    label = np.stack([label for _, label in scenes])
    share = np.bincount(label.ravel(), minlength=6) / label.size
    assert len(share) == 6 and 0.55 < share[0] < 0.8 and (share[1:] > 0.04).all()
    assert all(len(np.unique(one)) >= 2 for one in label)
    assert np.mean([len(np.unique(one)) for one in label]) > 3.5


def test_labels_are_exact():
    rng = np.random.default_rng(0)
    untouched, colours = -1.0, np.array([[0.0, 0.1, 0.2], [1.0, 0.9, 0.8]])
    for _ in range(60):
        image, label = np.full((50, 70, 3), untouched), np.zeros((50, 70), np.uint8)
        _add_object(rng, image, label, colours)
        inside = label > 0
        assert inside.any() and len(np.unique(label[inside])) == 1
        assert ((image != untouched).all(-1) == inside).all() and ((image != untouched).any(-1) == inside).all()
        before = label.copy()
        _add_object(rng, image, label, colours + 2)  # later objects occlude
        on_top = image.min(-1) >= 2
        assert len(np.unique(label[on_top])) == 1
        assert (label[~on_top] == before[~on_top]).all()


def test_same_seed_same_scene_and_others_differ():
    first, again, other = Scenes(4, (40, 56)), Scenes(9, (40, 56)), Scenes(4, (40, 56), seed=1)
    for index in (3, 0, -1):
        assert torch.equal(first[index].image, first[index % 4].image)
    assert torch.equal(first[2].image, again[2].image) and torch.equal(first[2].label, again[2].label)
    images = [sample.image for dataset in (first, other) for sample in dataset]
    assert len(images) == 8
    for i, one in enumerate(images):
        assert not any(torch.allclose(one, two) for two in images[:i])


def test_number_of_objects_follows_the_area():
    def objects(size):
        return np.mean([(generate_scene(seed, size)[1] > 0).mean() for seed in range(20)])

    assert objects((192, 240)) == pytest.approx(objects((96, 96)), abs=0.12)


def test_items_are_samples_and_batch():
    scenes = Scenes(5, (32, 48), transform=lambda sample: sample._replace(name="n" + sample.name))
    batch = next(iter(DataLoader(scenes, batch_size=5)))
    assert batch.image.shape == (5, 3, 32, 48) and batch.image.dtype == torch.float32
    assert 0 <= batch.image.min() < 0.3 and 0.7 < batch.image.max() <= 1
    assert batch.label.dtype == torch.int64 and batch.name[4] == "n000004"
    assert Scenes.num_classes == len(Scenes.classes) == 6
    with pytest.raises(IndexError):
        scenes[5]


def test_speed():
    start = time.process_time()
    for seed in range(50):
        generate_scene(seed)
    assert (time.process_time() - start) / 50 < 60 / 3000


@pytest.mark.parametrize("arguments", [{"length": 0}, {"length": 1, "size": (0, 4)}, {"length": 1, "seed": -1}])
def test_refuses(arguments):
    with pytest.raises(ValueError, match=r"(length|size|seed) must"):
        Scenes(**arguments)
