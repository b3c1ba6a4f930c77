"""Exported modules compute what they compute in PyTorch, at sizes that they were not exported with."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import segaware.export
from segaware import convert, export_onnx
from segaware.models import (
    DeepLabLargeFOV,
    FlowNetC,
    FlowNetS,
    ScoreRefinement,
    SegAwareFlowNetS,
    VariationalRefinement,
)
from segaware.nn import (
    BilateralFilter2d,
    ColorEmbedding,
    DenseCRF,
    EmbeddingNet,
    FastEmbeddingNet,
    SegAwareConv2d,
    SegAwareCRF,
)

Size = tuple[int, int]


@dataclass
class Case:
    """A module, the channels of its inputs by name, an example's size, and two others."""

    module: Callable[[], nn.Module]
    channels: dict[str, int]
    example: Size = (20, 26)
    sizes: tuple[Size, Size] = ((17, 23), (31, 36))

    def inputs(self, batch: int, size: Size) -> dict[str, Tensor]:
        return {name: torch.rand(batch, channels, *size) for name, channels in self.channels.items()}


def _embedding() -> EmbeddingNet:
    return EmbeddingNet(0.0625, dim=3)


FEATURES = {"input": 3, "embedding": 4}
IMAGE, PAIR = {"image": 3}, {"image1": 3, "image2": 3}
LARGE = {"example": (70, 90), "sizes": ((65, 99), (100, 127))}
CASES = {
    "convolution": Case(lambda: SegAwareConv2d(3, 4, (3, 2), stride=2, padding=1, hardness=0.5), FEATURES),
    "convolution, distance": Case(
        lambda: SegAwareConv2d(3, 4, 3, padding=1, hardness=0.5), {"input": 3, "distance": 9}
    ),
    "filter": Case(lambda: BilateralFilter2d((3, 2), dilation=2, iterations=2), FEATURES),
    "CRF": Case(
        lambda: SegAwareCRF(3, (3, 1), 2, spatial_kernel_size=(1, 3), iterations=1), {"logits": 3, "embedding": 4}
    ),
    "embedding": Case(_embedding, IMAGE),
    "embedding and colours": Case(lambda: EmbeddingNet(0.0625, dim=3, color=True), IMAGE),
    "fast embedding": Case(lambda: FastEmbeddingNet(0.125, dim=3), IMAGE),
    "DeepLab": Case(
        lambda: DeepLabLargeFOV(
            3, 0.0625, batch_norm=True, segaware_layers="fc6", hardness=0.1, embedding=_embedding()
        ),
        IMAGE,
    ),
    "SegAwareFlowNetS": Case(
        lambda: SegAwareFlowNetS(0.0625, segaware_prediction=False, filter_kernel_size=3, embedding=_embedding()),
        PAIR,
        **LARGE,
    ),
    "FlowNetC": Case(lambda: FlowNetC(0.0625, max_displacement=2), PAIR, **LARGE),
}


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_and_exported_program_compute_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = []

    def export(*args: Any, export: Any = torch.export.export, **kwargs: Any) -> Any:
        programs.append(export(*args, **kwargs))
        return programs[-1]

    monkeypatch.setattr(torch.export, "export", export)
    case, file = CASES[name], tmp_path / "module.onnx"
    module = case.module().eval()
    reported = export_onnx(module, file, case.inputs(1, case.example))
    assert reported is not None and reported < 1e-4

    model = onnx.load(file)
    assert [(x.domain, x.version) for x in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""} and len(model.functions) == 0
    assert [x.name for x in model.graph.input] == list(case.channels)
    assert str(Path(__file__).parents[1]).encode() not in file.read_bytes()  # lines of source code are left out

    session = onnxruntime.InferenceSession(file)
    exported = programs[0].module()
    for batch, size in zip((1, 3), case.sizes, strict=True):
        inputs = case.inputs(batch, size)
        with torch.no_grad():
            expected = module(**inputs)
            torch.testing.assert_close(exported(**inputs), expected, atol=1e-5, rtol=1e-5)
        (output,) = session.run(None, {key: x.numpy() for key, x in inputs.items()})
        np.testing.assert_allclose(output, expected, atol=1e-4, rtol=0)


@pytest.fixture
def conv() -> nn.Module:
    return nn.Conv2d(3, 2, 3).eval()


def test_one_size(conv: nn.Module, tmp_path: Path) -> None:
    assert export_onnx(conv, tmp_path / "conv.onnx", torch.rand(1, 3, 8, 9), dynamic=False, verify=False) is None
    session = onnxruntime.InferenceSession(tmp_path / "conv.onnx")
    assert session.get_inputs()[0].shape == [1, 3, 8, 9]


def test_a_file_that_differs_is_not_written(conv: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "conv.onnx"
    file.write_bytes(b"old")
    with pytest.raises(ArithmeticError, match=r"conv\.onnx is not written: onnxruntime differs .* by .*e-0\d, more"):
        export_onnx(conv, file, torch.rand(1, 3, 8, 9), tolerance=1e-12)
    assert file.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["conv.onnx"]


class Layers(nn.Module):
    """Two layers that onnxruntime and PyTorch round differently in half precision."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 4, 3, 1, 1))
        self.layers = convert(layers, ColorEmbedding(1.0), hardness=0.3) if kind == "converted" else layers

    def forward(self, image: Tensor) -> Tensor:
        return 20 * self.layers(image)


@pytest.mark.parametrize("kind", ["plain", "converted"])
def test_half_precision(kind: str, tmp_path: Path) -> None:
    module = Layers(kind).half().eval()
    image = torch.rand(1, 3, 17, 20, dtype=torch.float16)
    difference = export_onnx(module, tmp_path / "half.ONNX", image)
    assert difference is not None and 0 < difference < 0.2
    with pytest.raises(ArithmeticError, match="more than"):
        export_onnx(module, tmp_path / "strict.onnx", image, tolerance=1e-9)
    assert not (tmp_path / "strict.onnx").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_dtype_that_onnxruntime_does_not_run(dtype: torch.dtype, conv: nn.Module, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 17, 20, dtype=dtype)
    with pytest.raises(ValueError, match=f"cannot be verified in {dtype}, because onnxruntime .* verify=False"):
        export_onnx(conv.to(dtype), tmp_path / "net.onnx", image)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_file_that_gives_other_numbers_that_are_none(
    wrong: float, conv: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = segaware.export._program
    monkeypatch.setattr(segaware.export, "_program", lambda module, *rest: program(nn.Conv2d(3, 2, 3).eval(), *rest))
    nn.init.constant_(conv.weight, wrong)
    with pytest.raises(ArithmeticError, match="differs from the module by inf"):
        export_onnx(conv, tmp_path / "net.onnx", torch.rand(1, 3, 8, 9))


def test_a_size_that_the_module_fixes_is_told(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(-1, 3, 8, 9)

    with pytest.raises(ValueError, match=r"Fixed cannot be exported, because it fixes a size .*: pass dynamic=False"):
        export_onnx(Fixed().eval(), tmp_path / "fixed.onnx", torch.rand(1, 3, 8, 9))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(
    conv: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"ONNX export needs {package}: pip install 'segaware\[export\]'"):
        export_onnx(conv, tmp_path / "conv.onnx", torch.rand(1, 3, 8, 9))


def test_bad_arguments_are_told_before_anything_is_done(
    conv: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segaware.export, "_program", lambda *_: pytest.fail("work was done"))
    image, file = torch.rand(1, 3, 8, 9), tmp_path / "conv.onnx"
    for bad, message in (
        (torch.rand(3, 8, 9), r"inputs: input must be .*\(N, C, H, W\), got torch\.float32 of \(3, 8, 9\)"),
        (image.int(), r"inputs: input must be a floating-point .* got torch\.int32"),
        ((image, image), r"inputs do not fit Conv2d\.forward: too many"),
        ({"image": image}, r"inputs do not fit Conv2d\.forward: .*'input'"),
        ({"input": 3.0}, r"inputs: input must be .*, got 3\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            export_onnx(conv, file, bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"path must end in \.onnx, got .*conv\.pt"):
        export_onnx(conv, tmp_path / "conv.pt", image)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none"):
        export_onnx(conv, tmp_path / "none/conv.onnx", image)
    with pytest.raises(ValueError, match="training mode: call its eval"):
        export_onnx(conv.train(), file, image)
    network = DeepLabLargeFOV(3, 0.0625, refinement=ScoreRefinement(3, dense_crf=DenseCRF())).eval()
    with pytest.raises(ValueError, match=r"refinement\.dense_crf is a DenseCRF, which no operators of ONNX compute"):
        export_onnx(network, file, image)
    flow = FlowNetS(0.0625, variational=VariationalRefinement()).eval()
    with pytest.raises(ValueError, match="variational is a VariationalRefinement"):
        export_onnx(flow, file, (image, image))
    assert list(tmp_path.iterdir()) == []


def test_operators_of_another_domain_are_refused(
    conv: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = segaware.export._program(conv, {"input": torch.rand(1, 3, 8, 9)}, dynamic=False)
    next(iter(program.model.graph)).domain = "com.microsoft"
    monkeypatch.setattr(segaware.export, "_program", lambda *_: program)
    with pytest.raises(ValueError, match=r"Conv2d cannot be written in ONNX's own operators: it needs {'com\.micro"):
        export_onnx(conv, tmp_path / "conv.onnx", torch.rand(1, 3, 8, 9))
    assert list(tmp_path.iterdir()) == []


def test_a_converted_network(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 2, 3, padding=1))
    converted = convert(network, nn.Conv2d(3, 2, 1), hardness=0.3).eval()
    path = tmp_path / "converted.onnx"
    difference = export_onnx(converted, path, torch.rand(1, 3, 21, 26))  # compared at a larger size, too
    assert difference is not None and difference < 1e-5
    image = torch.rand(2, 3, 32, 17)
    (output,) = onnxruntime.InferenceSession(path).run(None, {"input": image.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(output), converted(image))
