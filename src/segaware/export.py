"""Networks and layers as ONNX files."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.atomic import check_folder, replaced
from segaware.extras import import_extra
from segaware.models import VariationalRefinement
from segaware.nn import DenseCRF
from segaware.ops import use_backend

OPSET = 18
_MARGIN = (13, 6)  # by which the images are higher and wider that a file is checked with a second time
# They warn that torchvision is not installed, and of nodes that stay as they are.
_TALKATIVE = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer._constant_folding")
_NOT_OPERATIONS = (DenseCRF, VariationalRefinement)  # a lattice of hash tables, and OpenCV


def export_onnx(
    module: nn.Module,
    path: str | Path,
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    dynamic: bool = True,
    verify: bool = True,
    tolerance: float | None = None,
) -> float | None:
    """Write a module as an ONNX file of standard operators, opset 18.

    Operators of segaware are written as their equations in plain PyTorch, which is what `use_backend("reference")`
    computes. The file's inputs have the names of the arguments of `module.forward`.

    Args:
        module: A layer or network, in evaluation mode.
        path: The .onnx file to write. It is complete when it appears under this name; an existing one is replaced.
        inputs: An example of what the module is called with, floating-point tensors (N, C, H, W): one, several in
            order, or by the names of arguments.
        dynamic: Whether the file takes any number of images of any height and width, rather than the example's. A
            network must not have shrunk the example to a single pixel anywhere, so `FlowNetS` wants one of more than 64
            pixels along either side.
        verify: Whether to run the file in onnxruntime and compare it with the module: on the example, and, with
            `dynamic`, on images that are a bit larger, if all inputs have one size.
        tolerance: The largest difference that `verify` lets pass, times the largest value of the output where that is
            more than 1; None for 1e-4, or 16 roundings of the module's coarsest dtype if that is more (1.6 % in
            float16: onnxruntime rounds at other places than PyTorch).

    Returns:
        The largest difference that was found; None without `verify`.

    Raises:
        ModuleNotFoundError: If onnx, onnxscript or, to verify, onnxruntime is not installed.
        ValueError: If an argument does not fit, `module` is in training mode or cannot be written as ONNX, or the file
            would hold operators of another domain than ONNX's own; or if it is to be verified and onnxruntime has no
            such operators for the module's dtype, as for float64 and bfloat16.
        FileNotFoundError: If the folder of `path` does not exist.
        ArithmeticError: If onnxruntime differs by more than the tolerance; nothing is left at `path` then.

    Example:
        >>> import tempfile
        >>> image = torch.rand(1, 3, 40, 48)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     difference = export_onnx(EmbeddingNet(0.125, dim=4).eval(), f"{folder}/embedding.onnx", image)
        >>> difference < 1e-4
        True
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"path must end in .onnx, got {path}")
    check_folder(path)
    named = _named(module, inputs)
    _check_module(module)
    for package in ("onnx", "onnxscript", *(["onnxruntime"] if verify else [])):
        _import(package)

    program = _program(module, named, dynamic)
    domains = {node.domain for node in program.model.graph.all_nodes()} - {""}
    if domains:
        raise ValueError(f"{type(module).__name__} cannot be written in ONNX's own operators: it needs {domains}")
    with replaced(path) as temporary:
        program.save(temporary, external_data=False)
        if not verify:
            return None
        difference, allowed = _difference(module, temporary, named, dynamic, tolerance)
        if not difference <= allowed:
            raise ArithmeticError(
                f"{path} is not written: onnxruntime differs from the module by {difference:.3g}, "
                f"more than {allowed:.3g}"
            )
    return difference


def _import(package: str) -> ModuleType:
    return import_extra(package, f"ONNX export needs {package}", "export")


def _named(module: nn.Module, inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs by the names of the arguments of `forward`."""
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    positional, by_name = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})
    try:
        named = inspect.signature(module.forward).bind(*positional, **by_name).arguments
    except TypeError as error:
        raise ValueError(f"inputs do not fit {type(module).__name__}.forward: {error}") from error
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor) or tensor.dim() != 4 or not tensor.is_floating_point():
            given = f"{tensor.dtype} of {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else repr(tensor)
            raise ValueError(f"inputs: {name} must be a floating-point tensor of shape (N, C, H, W), got {given}")
    return named


def _check_module(module: nn.Module) -> None:
    if module.training:
        raise ValueError("module is in training mode: call its eval() first")
    for name, part in module.named_modules():
        if isinstance(part, _NOT_OPERATIONS):
            raise ValueError(
                f"{name or 'module'} is a {type(part).__name__}, which no operators of ONNX compute: leave it out of "
                "the network, and apply it to what the file gives"
            )


def _program(module: nn.Module, inputs: dict[str, Tensor], dynamic: bool) -> torch.onnx.ONNXProgram:
    from onnxscript import optimizer

    shapes = None
    if dynamic:
        shapes = {name: dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC) for name in inputs}
        # A single image would be taken for the only number of them.
        inputs = {name: torch.cat([x, x]) if len(x) == 1 else x for name, x in inputs.items()}
    with torch.no_grad(), use_backend("reference"), _quiet():
        try:
            exported = torch.export.export(module, (), inputs, dynamic_shapes=shapes)
        except torch._dynamo.exc.UserError as error:
            raise ValueError(
                f"{type(module).__name__} cannot be exported, because it fixes a size or depends on values"
                + (": pass dynamic=False, or a larger example" if dynamic else "")
            ) from error
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            optimize=False,  # takes minutes where a window has many taps; the following is most of it
        )
        assert program is not None
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of source code, with the paths of this machine
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings and logs of the exporters."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _difference(
    module: nn.Module, path: Path, inputs: dict[str, Tensor], dynamic: bool, tolerance: float | None
) -> tuple[float, float]:
    """Return the largest difference of onnxruntime and the module, and the largest that is allowed."""
    dtypes = {x.dtype for x in (*inputs.values(), *module.parameters()) if x.is_floating_point()}
    if tolerance is None:
        tolerance = max(1e-4, *(16 * torch.finfo(dtype).eps for dtype in dtypes))
    onnxruntime = _import("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    except Exception as error:  # it has classes of its own for every kind
        raise ValueError(
            f"{type(module).__name__} cannot be verified in {', '.join(map(str, dtypes))}, because onnxruntime does "
            f"not run the file; verify=False writes it nevertheless ({error})"
        ) from error
    examples = [inputs]
    if dynamic and len({x.shape[2:] for x in inputs.values()}) == 1:
        padding = (0, _MARGIN[1], 0, _MARGIN[0])
        examples.append({name: F.pad(x, padding, mode="replicate") for name, x in inputs.items()})
    difference = largest = 0.0
    for example in examples:
        outputs = session.run(None, {name: x.cpu().numpy() for name, x in example.items()})
        with torch.no_grad():
            expected = module(**example)
        for output, wanted in zip(outputs, torch.utils._pytree.tree_leaves(expected), strict=True):
            given, wanted = torch.from_numpy(output).double(), wanted.cpu().double()
            gap = (given - wanted).abs().masked_fill(given == wanted, 0)  # infinities that are the same
            gap = gap.masked_fill(given.isnan() & wanted.isnan(), 0).nan_to_num(nan=torch.inf, posinf=torch.inf)
            difference = max(difference, gap.max().item())
            largest = max(largest, wanted.nan_to_num(posinf=0, neginf=0).abs().max().item())
    return difference, tolerance * max(1.0, largest)
