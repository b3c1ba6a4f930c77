"""Metrics on a device that has no float64, as Apple's MPS, which is simulated here."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from segaware.metrics import (
    AngularError,
    BoundaryEndPointError,
    BoundaryIoU,
    EndPointError,
    FlAll,
    MeanIoU,
    TrimapIoU,
    boundary_distance,
    class_iou,
    mean_boundary_iou,
    mean_flow_errors,
    paired_bootstrap,
)

CPU, MPS = torch.device("cpu"), torch.device("mps")


class OnMPS(torch.Tensor):
    """A tensor that says it is on an MPS device; it cannot be float64 and has no NumPy array."""


class _NoDouble(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func == torch.Tensor.device.__get__:
            return MPS if isinstance(args[0], OnMPS) else func(*args)
        if name == "_parse_to":  # of Module.to
            return func(*args, **kwargs)
        if name == "numpy" and isinstance(args[0], OnMPS):
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        devices = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.device)]
        args = [CPU if isinstance(value, torch.device) else value for value in args]
        kwargs = {key: CPU if isinstance(value, torch.device) else value for key, value in kwargs.items()}
        target = devices[0] if devices else None
        if name == "cpu":
            target, func, args = CPU, torch.Tensor.detach, args[:1]
        result = func(*args, **kwargs)
        if not isinstance(result, torch.Tensor):
            return result
        flat = [value for arg in args for value in (arg if isinstance(arg, list | tuple) else [arg])]
        inputs = [value for value in flat if isinstance(value, torch.Tensor) and value.ndim]
        there = target == MPS if target else any(isinstance(value, OnMPS) for value in inputs)
        if target is None and there and not all(isinstance(value, OnMPS) for value in inputs):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} found mps:0 and cpu")
        if there and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return result.as_subclass(OnMPS if there else torch.Tensor)


@pytest.fixture
def mps():
    with _NoDouble():
        yield lambda tensor: tensor.to(MPS)


def test_the_simulation_is_one(mps):
    tensor = mps(torch.zeros(2))
    assert tensor.device == MPS and (tensor + 1).device == MPS and tensor.cpu().device.type == "cpu"
    for convert in (torch.Tensor.double, lambda x: x.to(torch.float64), lambda x: x.sum(dtype=torch.float64)):
        with pytest.raises(TypeError, match="float64"):
            convert(tensor)
    with pytest.raises(RuntimeError, match="same device"):
        tensor + torch.zeros(2)


LABELS = torch.randint(0, 3, (2, 1, 9, 9), generator=torch.Generator().manual_seed(0))
FLOWS = torch.randn(2, 1, 2, 9, 9, generator=torch.Generator().manual_seed(1)) * 4


@pytest.mark.parametrize("make", [lambda: MeanIoU(3), lambda: TrimapIoU(3), lambda: BoundaryIoU(3)])
def test_metrics_of_labels(make, mps):
    expected = make()
    expected.update(*LABELS)
    metric = make().to(MPS)
    metric.update(*map(mps, LABELS))
    assert torch.equal(metric.compute().cpu(), expected.compute())
    metric.to(MPS)  # with its last result
    if hasattr(metric, "per_class"):
        assert torch.equal(metric.per_class().cpu(), expected.per_class())
    metric.reset()


@pytest.mark.parametrize("make", [EndPointError, AngularError, FlAll, BoundaryEndPointError])
def test_metrics_of_flow(make, mps):
    valid = torch.ones(1, 9, 9, dtype=torch.bool)
    valid[0, 2] = False
    expected = make()
    expected.update(*FLOWS, valid)
    metric = make().to(MPS)
    for _ in range(2):
        metric.update(*map(mps, FLOWS), mps(valid))
        torch.testing.assert_close(metric.compute().cpu(), expected.compute(), equal_nan=True)
        metric.reset()
    metric.to(MPS)


def test_functions(mps):
    counts = torch.tensor([[[9, 1], [0, 10]], [[4, 0], [1, 5]]])
    for function in (class_iou, mean_boundary_iou, mean_flow_errors):
        assert torch.equal(function(mps(counts)).cpu(), function(counts))
    assert paired_bootstrap(mps(counts), mps(counts)) == paired_bootstrap(counts, counts)
    valid = torch.ones(9, 9, dtype=torch.bool)
    assert torch.equal(boundary_distance(mps(FLOWS[0, 0]), mps(valid)).cpu(), boundary_distance(FLOWS[0, 0], valid))


def test_float64_metrics_still_change_type_only_when_asked():
    assert EndPointError().half().sums.dtype == EndPointError().float().sums.dtype == torch.float64
