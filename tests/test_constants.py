import numpy as np
import pytest
import torch

from segaware.constants import UNKNOWN_FLOW, UNKNOWN_FLOW_THRESHOLD
from segaware.data import write_png
from segaware.data.flow import FlyingChairs, FlyingThings3D, Middlebury, Sintel, write_flo, write_pfm
from segaware.data.flow import known_flow as known_in_file
from segaware.metrics import EndPointError, boundary_distance, flow_error_sums, motion_boundaries
from segaware.metrics.motion_boundary import known_flow
from segaware.viz import flow_colors

# Middlebury's own code calls a flow unknown if a component is above the threshold, so exactly 1e9 is known.
ABOVE = float(np.nextafter(np.float32(UNKNOWN_FLOW_THRESHOLD), np.float32(np.inf)))
FLOW = np.zeros((1, 4, 2), np.float32)
FLOW[0, :3, 0] = UNKNOWN_FLOW_THRESHOLD, ABOVE, UNKNOWN_FLOW
FLOW[0, 3, 1] = -UNKNOWN_FLOW_THRESHOLD
KNOWN = [[True, False, False, True]]


def _write(root, images, flow):
    for name in (*images, flow):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    for name in images:
        write_png(root / name, np.zeros((1, 4, 3), np.uint8))
    if flow.endswith(".pfm"):
        write_pfm(root / flow, np.dstack([FLOW, np.zeros((1, 4, 1), np.float32)]))
    else:
        write_flo(root / flow, FLOW)


@pytest.mark.parametrize(
    ("images", "flow", "open_data"),
    [
        (
            ["middlebury/other-data/Venus/frame10.png", "middlebury/other-data/Venus/frame11.png"],
            "middlebury/other-gt-flow/Venus/flow10.flo",
            Middlebury,
        ),
        (
            [f"sintel/training/{name}.png" for name in ("clean/a/frame_0001", "clean/a/frame_0002")]
            + [f"sintel/training/{kind}/a/frame_0001.png" for kind in ("invalid", "occlusions")],
            "sintel/training/flow/a/frame_0001.flo",
            lambda root: Sintel(root, "clean"),
        ),
        (
            ["flyingchairs/00001_img1.png", "flyingchairs/00001_img2.png"],
            "flyingchairs/00001_flow.flo",
            lambda root: FlyingChairs(root, "all"),
        ),
        (
            [f"flyingthings3d/frames_cleanpass/TRAIN/A/0000/left/{number}.png" for number in ("0006", "0007")],
            "flyingthings3d/optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm",
            lambda root: FlyingThings3D(root, "train", "clean"),
        ),
    ],
)
def test_flow_of_exactly_the_threshold_is_read_as_known(tmp_path, images, flow, open_data):
    _write(tmp_path, images, flow)
    (sample,) = open_data(tmp_path)
    assert sample.valid.tolist() == KNOWN
    assert sample.flow[0].tolist() == [[UNKNOWN_FLOW_THRESHOLD, 0, 0, 0]]


def test_flow_of_exactly_the_threshold_is_scored_and_drawn_as_known():
    flow, valid = torch.from_numpy(FLOW).permute(2, 0, 1), torch.ones(1, 4, dtype=torch.bool)
    assert known_in_file(FLOW).tolist() == known_flow(flow, valid).tolist() == KNOWN
    assert (flow_colors(flow) > 0).any(-1).tolist() == KNOWN
    assert flow_error_sums(flow, flow, valid)[0].tolist() == [0, 2]
    metric = EndPointError()
    metric.update(flow + torch.tensor([64.0, 0.0]).view(2, 1, 1), flow, valid)
    assert metric.compute() == 64
    step = torch.zeros(2, 1, 3)
    step[0, 0, 2] = UNKNOWN_FLOW_THRESHOLD
    assert motion_boundaries(step, valid[:, :3]).tolist() == [[False, True, True]]
    assert boundary_distance(step, valid[:, :3]).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_no_precision_makes_infinite_flow_known(dtype):
    flow = torch.full((2, 1, 1), torch.inf, dtype=dtype)
    assert not known_flow(flow, torch.ones(1, 1, dtype=torch.bool)).any()
    assert not flow_colors(flow).any()
    assert not known_in_file(np.full((1, 1, 2), np.inf, np.float16)).any()
