"""Flow from frame to frame: what is asked of the network, and the three files that are written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from segaware.data.flow.files import read_flo, read_kitti_flow
from segaware.data.flow.frames import Frames
from segaware.experiments.tasks.flow.prediction import predict_flow
from segaware.viz.flow_colors import flow_colors, flow_legend

FLOW = [
    [3.0, -1.5],
    [0.25, 600.0],
    [-512.0, 511.984375],
    [-512.01, 0.0],
]  # (u, v); the second and last do not fit KITTI


class _Known(nn.Module):
    """Estimates `FLOW` in the first row and stillness below, plus the difference of the images' red in u."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append((image1, image2))
        flow = torch.zeros(1, 2, *image1.shape[2:])
        flow[0, :, 0, : len(FLOW)] = torch.tensor(FLOW).T
        flow[:, 0, 1:] += (image2 - image1)[:, 0, 1:] * 255
        return flow


def _frames(*reds: int, size: tuple[int, int] = (170, 200)) -> Frames:
    """Frames in plain red."""
    images = [np.full((*size, 3), (red, 40, 200), np.uint8) for red in reds]
    return Frames(len(images), lambda: ((f"frame{i}", image) for i, image in enumerate(images)))


def _picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_network_sees_images_in_0_1(tmp_path: Path) -> None:
    network = _Known().train()
    paths = [tmp_path / f"flow/flo/frame{i}.flo" for i in range(2)]
    assert list(predict_flow(network, _frames(0, 51, 255), tmp_path / "flow")) == paths
    assert len(network.seen) == 2
    for (image1, image2), reds in zip(network.seen, ((0, 0.2), (0.2, 1)), strict=True):
        assert image1.shape == image2.shape == (1, 3, 170, 200) and image1.dtype == torch.float32
        for image, red in zip((image1, image2), reds, strict=True):
            expected = torch.tensor([red, 40 / 255, 200 / 255])[None, :, None, None].expand_as(image)
            torch.testing.assert_close(image.cpu(), expected)


def test_flo_holds_all_and_kitti_what_fits(tmp_path: Path) -> None:
    list(predict_flow(_Known(), _frames(20, 30), tmp_path))
    flow = read_flo(tmp_path / "flo/frame0.flo")
    assert flow.shape == (170, 200, 2)
    assert flow[0, :4].tolist() == [pytest.approx(pixel) for pixel in FLOW]
    np.testing.assert_allclose(flow[1:], np.broadcast_to((10, 0), (169, 200, 2)), atol=1e-4)
    rounded, valid = read_kitti_flow(tmp_path / "kitti/frame0.png")
    assert valid[0, :4].tolist() == [True, False, True, False] and valid[1:].all()
    assert np.abs(rounded - flow)[valid].max() <= 1 / 128
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == {
        "flo/frame0.flo", "kitti/frame0.png", "pictures/frame0.png"
    }  # fmt: skip


@pytest.mark.parametrize("max_norm", [None, 25.0])
def test_picture_shows_image_flow_and_legend(tmp_path: Path, max_norm: float | None) -> None:
    list(predict_flow(_Known(), _frames(20, 30), tmp_path, max_norm))
    picture = _picture(tmp_path / "pictures/frame0.png")
    top, gap = 24, 8  # of `side_by_side`
    assert picture.shape == (top + 170, 200 + gap + 200 + gap + 160, 3)
    flow = torch.from_numpy(read_flo(tmp_path / "flo/frame0.flo")).permute(2, 0, 1)
    longest = flow.norm(dim=0).max().item()
    image, colors, legend = np.split(picture[top:], [208, 416], axis=1)
    assert (image[:, :200] == (20, 40, 200)).all()
    assert np.array_equal(colors[:, :200], flow_colors(flow, max_norm))
    assert np.array_equal(legend[:160], flow_legend(160, max_norm or longest)) and (legend[160:] == 255).all()


def test_small_image_is_put_beside_the_whole_legend(tmp_path: Path) -> None:
    list(predict_flow(_Known(), _frames(20, 30, size=(5, 180)), tmp_path))
    picture = _picture(tmp_path / "pictures/frame0.png")
    assert picture.shape == (24 + 160, 180 + 8 + 180 + 8 + 160, 3)
    assert (picture[24:29, :180] == (20, 40, 200)).all() and (picture[29:, :376] == 255).all()


def test_stillness_has_a_picture(tmp_path: Path) -> None:
    class Still(_Known):
        def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
            return torch.zeros(1, 2, *image1.shape[2:])

    list(predict_flow(Still(), _frames(20, 20), tmp_path))
    assert (_picture(tmp_path / "pictures/frame0.png")[24:, 208:408] == 255).all()


def test_what_cannot_be_is_told_first(tmp_path: Path) -> None:
    network = _Known()
    for max_norm in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="max_norm must be a positive number of pixels, got"):
            predict_flow(network, _frames(20, 30), tmp_path / "out", max_norm)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="out/flo"):
        predict_flow(network, _frames(20, 30), tmp_path / "out")
    assert not network.seen


def test_flow_that_is_not_finite(tmp_path: Path) -> None:
    class Broken(_Known):
        def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
            return torch.full((1, 2, *image1.shape[2:]), float("nan"))

    with pytest.raises(FloatingPointError, match="frame0: the network's flow is not finite"):
        list(predict_flow(Broken(), _frames(20, 30), tmp_path))
    assert not list(tmp_path.rglob("*.*"))
