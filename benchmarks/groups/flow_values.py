"""What refining values does to optical flow: docs/refine.md is made of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from benchmarks.harness.plan import Group, Measurement, Settings
from segaware import refine
from segaware.data import VOC
from segaware.data.flow import FlowSample, FlyingChairs, Middlebury, generate_pair
from segaware.metrics import flow_error_sums, mean_flow_errors, paired_bootstrap
from segaware.metrics.motion_boundary import known_flow
from segaware.nn import BilateralFilter2d, GuidedFilter, load_embedding, upsample

DISTANCES = (1, 3, 5, 10)
EMBEDDINGS = ("fast", "vgg", "color")
NOTHING = "nothing"
_QUARTER = 4
_PAIRS = {"quick": 16, "full": 100}  # of a set, if it has as many
_SIZE = (192, 256)

Source = Callable[[FlowSample, Tensor], Tensor]


def plan(settings: Settings) -> list[Measurement]:
    """Return one step per set of pairs."""
    if settings.data_root is None:
        raise ValueError("--data-root must be the folder of middlebury, flyingchairs and voc, got none")
    root, most = settings.data_root, _PAIRS["full" if settings.full else "quick"]
    pairs: dict[str, Callable[[], Any]] = {
        "generated": lambda: _Generated(settings.seed, most, VOC(root, "val")),
        "FlyingChairs": lambda: FlyingChairs(root, "all"),
        "Middlebury": lambda: Middlebury(root),
    }
    return [Measurement(name, functools.partial(_measure, name, read, most)) for name, read in pairs.items()]


class _Generated:
    """Pairs whose objects are cut out of photographs."""

    def __init__(self, seed: int, length: int, photographs: VOC) -> None:
        self.seed, self.length, self.photographs = seed, length, photographs

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FlowSample:
        seed = np.random.SeedSequence([self.seed, range(self.length)[index]])
        return generate_pair(seed, _SIZE, self.photographs)


def _measure(name: str, read: Callable[[], Any], most: int) -> list[dict[str, Any]]:
    """Return a row per flow and method, with the errors of all pixels and near motion boundaries."""
    data = read()
    sums: dict[tuple[str, str], list[Tensor]] = {}
    for index in range(min(len(data), most)):
        pair = data[index]
        truth = _filled(pair)
        methods = _methods(pair.image1)
        for source, flow in SOURCES.items():
            given = flow(pair, truth)
            for method, refined in methods.items():
                errors = flow_error_sums(refined(given), pair.flow, pair.valid, DISTANCES)
                sums.setdefault((source, method), []).append(errors[[0, 3, 4, 5, 6]])
    return [_row(name, *key, torch.stack(found), torch.stack(sums[key[0], NOTHING])) for key, found in sums.items()]


def _row(name: str, source: str, method: str, sums: Tensor, control: Tensor) -> dict[str, Any]:
    intervals = [
        paired_bootstrap(sums[:, column], control[:, column], mean_flow_errors)._asdict()
        for column in range(sums.shape[1])
    ]
    errors = mean_flow_errors(sums.sum(0)).tolist()
    return {"set": name, "pairs": len(sums), "flow": source, "method": method, "errors": errors, "changes": intervals}


def _methods(image: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what is compared, by name; every embedding is computed once for the image."""
    methods: dict[str, Callable[[Tensor], Tensor]] = {NOTHING: lambda flow: flow}
    for name in EMBEDDINGS:
        embedding: Any = name
        if name != "color":
            with torch.inference_mode():
                embedding = load_embedding(name)(image[None])[0]
        hardness = 1.76 if name == "color" else 1.0
        mean = BilateralFilter2d(9, iterations=4, hardness=hardness)
        methods[f"mean, {name}"] = functools.partial(refine, image, method=mean, kind="values", embedding=embedding)
        methods[f"median, {name}"] = functools.partial(refine, image, kind="values", embedding=embedding)
    guided = GuidedFilter()
    methods["guided filter"] = lambda flow: guided(flow[None], image[None])[0]
    return methods


def _filled(pair: FlowSample) -> Tensor:
    """Return the true flow; where it is not known, as in a few pixels of Middlebury, that of the nearest pixel."""
    unknown = ~known_flow(pair.flow, pair.valid).numpy()
    rows, columns = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return pair.flow[:, rows, columns]


def _quarter(pair: FlowSample, truth: Tensor) -> Tensor:
    size = (truth.shape[-2], truth.shape[-1])
    return upsample(truth[None, :, ::_QUARTER, ::_QUARTER].contiguous(), _QUARTER, size)[0]


def _gray(image: Tensor) -> np.ndarray:
    return cv2.cvtColor((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)


def _dis(pair: FlowSample, truth: Tensor) -> Tensor:
    first, second = _gray(pair.image1), _gray(pair.image2)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return _from_opencv(estimator.calc(first, second, np.zeros((*first.shape, 2), np.float32)))


def _farneback(pair: FlowSample, truth: Tensor) -> Tensor:
    first, second = _gray(pair.image1), _gray(pair.image2)
    flow = np.zeros((*first.shape, 2), np.float32)
    return _from_opencv(cv2.calcOpticalFlowFarneback(first, second, flow, 0.5, 5, 15, 3, 5, 1.2, 0))


def _from_opencv(flow: np.ndarray) -> Tensor:
    return torch.from_numpy(flow).permute(2, 0, 1).contiguous()


SOURCES: dict[str, Source] = {
    "a quarter of the truth's size, upsampled bilinearly": _quarter,
    "DIS": _dis,
    "Farneback": _farneback,
    "the truth": lambda pair, truth: truth,
}

GROUP = Group(
    "Refining flow",
    "What `segaware.refine` does to flow from elsewhere, beside doing nothing.",
    plan,
    runs="named",
    packages=("numpy", "numba", "opencv-python-headless", "scipy"),
    rows="rows",
    facts={"distances": list(DISTANCES), "size": list(_SIZE)},
)
