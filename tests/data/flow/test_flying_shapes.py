from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from segaware.data import VOC, Sample
from segaware.data.flow import flying_shapes
from segaware.data.flow.flying_shapes import (
    FlyingRegions,
    FlyingShapes,
    _find_cut_outs,
    _resize_cut_out,
    _shape,
    generate_pair,
)
from segaware.data.flow.sample import FlowSample
from segaware.data.reading import DataError

RED, BLUE, GRAY = (200, 30, 30), (30, 30, 200), (120, 120, 120)


def labelled_photograph() -> tuple[np.ndarray, np.ndarray]:
    """A red and a blue rectangle, labelled, with unlabelled outlines, and a speck too small to be cut out."""
    image, label = np.full((100, 150, 3), GRAY, np.uint8), np.zeros((100, 150), np.uint8)
    for top, left, height, width, color, index in [(20, 10, 40, 50, RED, 8), (30, 90, 60, 40, BLUE, 15)]:
        window = np.s_[top : top + height, left : left + width]
        label[top - 2 : top + height + 2, left - 2 : left + width + 2] = 255
        image[window], label[window] = color, index
    label[5:10, 70:75] = 12
    return image, label


class Photographs:
    """The labelled photograph, with or without its labels."""

    def __init__(self, labels: bool) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        assert index == 0
        image, label = labelled_photograph()
        return image, label if self.labels else None


@pytest.fixture
def voc(tmp_path) -> Path:
    """VOC with one photograph in train and none of val's."""
    image, label = labelled_photograph()
    folder = tmp_path / "voc"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(image).save(folder / "JPEGImages" / "one.jpg", quality=95)
    Image.fromarray(label).save(folder / "SegmentationClass" / "one.png")
    (folder / "ImageSets/Segmentation/train.txt").write_text("one\n")
    (folder / "ImageSets/Segmentation/val.txt").write_text("two\n")
    return tmp_path


def same(one: FlowSample, two: FlowSample) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))


@pytest.mark.parametrize("photographs", [None, Photographs(labels=True)])
def test_an_item_depends_on_seed_and_index_alone(photographs):
    size = (64, 80)
    first, longer = FlyingShapes(3, size, photographs=photographs), FlyingShapes(9, size, photographs=photographs)
    other = FlyingShapes(3, size, seed=1, photographs=photographs)
    for index in (2, 0, -1):
        assert same(first[index], longer[index % 3])
    samples = [*first, *other]
    assert len(samples) == 6
    for i, one in enumerate(samples):
        assert not any(torch.allclose(one.image1, two.image1) for two in samples[:i])
        assert not any(torch.allclose(one.flow, two.flow) for two in samples[:i])


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample an image (3, H, W) where the flow points to."""
    height, width = flow.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([2 * (x + flow[0]) / (width - 1) - 1, 2 * (y + flow[1]) / (height - 1) - 1], dim=-1)
    return F.grid_sample(image[None], grid[None], align_corners=True)[0]


def test_second_image_warped_by_the_flow_is_the_first():
    errors, wrong_by_a_pixel, hidden = [], [], []
    for seed in range(8):
        sample = generate_pair(seed, (160, 200))
        jump = (F.max_pool2d(sample.flow, 5, 1, 2) + F.max_pool2d(-sample.flow, 5, 1, 2)).amax(0) > 2
        seen = ~jump & (F.max_pool2d(sample.occluded[None].float(), 5, 1, 2)[0] == 0)
        errors.append((warp(sample.image2, sample.flow) - sample.image1).abs().mean(0)[seen])
        hidden.append((warp(sample.image2, sample.flow) - sample.image1).abs().mean(0)[sample.occluded])
        wrong_by_a_pixel.append((warp(sample.image2, sample.flow + 1) - sample.image1).abs().mean(0)[seen])
    mean = torch.cat(errors).mean()
    assert mean < 0.002
    assert torch.cat(wrong_by_a_pixel).mean() > 5 * mean
    assert torch.cat(hidden).mean() > 0.1


def same_labelled(one: Sample, two: Sample) -> bool:
    return torch.equal(one.image, two.image) and torch.equal(one.label, two.label)


@pytest.mark.parametrize("photographs", [None, Photographs(labels=True)])
def test_regions_are_those_of_one_image_of_every_pair(photographs):
    size = (160, 200)
    pairs, longer, other = (FlyingShapes(n, size, seed, photographs) for n, seed in ((4, 0), (9, 0), (4, 1)))
    regions = FlyingRegions(pairs)
    assert len(regions) == 4 and [sample.name for sample in regions] == [pair.name for pair in pairs]
    for index, (sample, pair) in enumerate(zip(regions, pairs, strict=True)):
        assert torch.equal(sample.image, (pair.image1, pair.image2)[index % 2])
        assert sample.label.dtype == torch.int64 and sample.label.shape == size
        assert same_labelled(sample, FlyingRegions(longer)[index]) and same_labelled(sample, regions[index - 4])
        assert not torch.equal(sample.label, FlyingRegions(other)[index].label)


def test_regions_move_as_one_and_no_two_alike(monkeypatch):
    affine = flying_shapes._affine
    # whole pixels, so that what is seen of an object in both images is the same pixels of its texture
    monkeypatch.setattr(flying_shapes, "_affine", lambda linear, shift: affine(np.eye(2), np.rint(shift)))
    pairs = FlyingShapes(4, seed=3)
    for index, (sample, pair) in enumerate(zip(FlyingRegions(pairs), pairs, strict=True)):
        y, x = (~pair.occluded).nonzero().T
        u, v = pair.flow[:, y, x].long()
        motion = 1000 * u + v
        for off in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]:
            label = sample.label.roll(off, (0, 1))
            label = label[y + v, x + u] if index % 2 else label[y, x]
            labels, motions, both = (len(some.unique()) for some in (label, motion, 100 * motion + label))
            assert labels > 4 and (labels == motions == both) == (off == (0, 0))


def test_regions_have_numbers_below_those_of_ground_and_void():
    assert len(FlyingRegions(FlyingShapes(2, (1800, 1900)))) == 2
    with pytest.raises(ValueError, match=r"size must be .* 253 objects, got \(1900, 1900\)"):
        FlyingRegions(FlyingShapes(2, (1900, 1900)))


def lengths(size: tuple[int, int], count: int) -> Tensor:
    return torch.stack([generate_pair(seed, size).flow.norm(dim=0) for seed in range(count)])


def test_displacements_are_those_of_flying_chairs():
    length = lengths((160, 208), 30)
    assert 6 < length.mean() < 15
    quantiles = np.quantile(length, [0.1, 0.5, 0.75, 0.9, 0.99])
    assert (quantiles > [0.5, 2.5, 6, 12, 45]).all() and (quantiles < [2.5, 8, 20, 40, 120]).all()
    assert length.max() > 70


def test_displacements_do_not_shrink_with_the_image():
    small, large = lengths((64, 80), 20), lengths((192, 240), 20)
    assert np.median(small) > 0.7 * np.median(large)  # a third of the side


def test_content():
    samples = [generate_pair(seed, (96, 128)) for seed in range(20)]
    assert 0.03 < np.mean([sample.occluded.float().mean() for sample in samples]) < 0.25
    for sample in samples:
        assert sample.valid.all() and sample.flow.isfinite().all()
        for image in sample[:2]:
            assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1 and image.std() > 0.02


def test_shapes_have_thin_parts():
    alphas = [np.array(_shape(np.random.default_rng(seed), 40)) > 127 for seed in range(40)]
    shares = [alpha.mean() for alpha in alphas]  # of the box; an ellipse without limbs fills pi / 4
    assert min(shares) < 0.35 and max(shares) > 0.65
    assert all(max(alpha.shape) < 2 * 1.8 * 40 + 6 for alpha in alphas)


def test_cut_outs_are_regions_of_one_object_in_its_own_colours():
    image, label = labelled_photograph()
    cut_outs = _find_cut_outs(Image.fromarray(image), label)
    assert [photograph.size for photograph, _ in cut_outs] == [(50, 40), (40, 60)]
    for (photograph, mask), color in zip(cut_outs, (RED, BLUE), strict=True):
        texture = _resize_cut_out(np.random.default_rng(0), photograph, mask, radius=15)
        assert texture.shape[1] * texture.shape[2] == pytest.approx(30 * 30, rel=0.25)
        opaque = texture[3] > 0.5
        assert opaque.float().mean() > 0.7 and not texture[3, 0].any() and not texture[3, :, -1].any()
        assert torch.allclose(texture[:3, opaque], torch.tensor(color)[:, None] / 255, atol=0.01)
    assert _find_cut_outs(Image.fromarray(image), None) == []


def test_about_half_of_the_objects_are_cut_out_where_the_source_has_masks(monkeypatch):
    calls = {"_shape": 0, "_resize_cut_out": 0}

    def counted(name):
        function = getattr(flying_shapes, name)

        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        return call

    for name in calls:
        monkeypatch.setattr(flying_shapes, name, counted(name))
    for seed in range(10):
        generate_pair(seed, (192, 256), Photographs(labels=True))
    assert 0.3 < calls["_resize_cut_out"] / sum(calls.values()) < 0.7
    assert 10 * 6 / 4 <= sum(calls.values()) <= 10 * 14 / 4 + 5
    calls["_resize_cut_out"] = 0
    generate_pair(0, (192, 256), Photographs(labels=False))
    assert calls["_resize_cut_out"] == 0


def test_objects_move_with_the_background(monkeypatch):
    still = flying_shapes._Spread(0, 1, 0)
    monkeypatch.setattr(flying_shapes, "_OBJECT", flying_shapes._Motion(still, still, still))
    flow = generate_pair(0, (96, 128)).flow.double()
    assert flow.norm(dim=0).mean() > 0.5
    for dim in (1, 2):  # one affine map: its slope is the same everywhere
        slope = flow.diff(dim=dim)
        assert torch.allclose(slope, slope[:, :1, :1], atol=1e-4)


def test_voc_photographs(voc):
    photographs = VOC(voc, "train")
    assert len(photographs) == 1
    image, label = photographs.read(0)
    assert np.array_equal(label, labelled_photograph()[1])
    assert image.dtype == np.uint8 and np.abs(image.astype(int) - labelled_photograph()[0]).mean() < 3
    batch = next(iter(DataLoader(FlyingShapes(2, (64, 80), photographs=photographs), batch_size=2)))
    assert batch.flow.shape == (2, 2, 64, 80) and list(batch.name) == ["000000", "000001"]
    with pytest.raises(DataError, match=r"two\.jpg"):
        VOC(voc, "val")


def test_transform_and_end():
    pairs = FlyingShapes(2, (16, 24), transform=lambda sample: sample._replace(name="n" + sample.name))
    assert [sample.name for sample in pairs] == ["n000000", "n000001"]
    with pytest.raises(IndexError):
        pairs[2]


def test_tiny():
    assert generate_pair(0, (1, 1)).flow.shape == (2, 1, 1)


@pytest.mark.parametrize(
    "arguments",
    [{"length": 0}, {"length": 1, "size": (0, 4)}, {"length": 1, "seed": -1}, {"length": 1, "photographs": []}],
)
def test_refuses(arguments):
    with pytest.raises(ValueError, match=r"(length|size|seed|photographs) must"):
        FlyingShapes(**arguments)
