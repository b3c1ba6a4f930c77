"""Which backend runs, and that it runs where processes fork, caches cannot be written or OpenMP cannot be called."""

import asyncio
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from segaware import embedding_distance, segaware_conv2d, segaware_filter2d, use_backend
from segaware.ops import _backends, mean_field, segaware_median2d, segaware_upsample
from segaware.ops._parallel import jit, kernel, parallel_for

IMAGE, MASK = torch.rand(1, 2, 5, 5), torch.rand(1, 9, 5, 5)
CALLS = {
    "embedding_distance": lambda backend, image=IMAGE, mask=MASK: embedding_distance(image, 3, backend=backend),
    "segaware_conv2d": lambda backend, image=IMAGE, mask=MASK: segaware_conv2d(
        image, image[:, :, :3, :3], mask, padding=1, backend=backend
    ),
    "segaware_upsample": lambda backend, image=IMAGE, mask=MASK: segaware_upsample(
        image[..., :3, :3], image, image[..., :3, :3], 0.5, backend=backend
    ),
    "segaware_filter2d": lambda backend, image=IMAGE, mask=MASK: segaware_filter2d(image, mask, 3, backend=backend),
    "segaware_median2d": lambda backend, image=IMAGE, mask=MASK: segaware_median2d(image, mask, 3, backend=backend),
}


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_backends._problems, "numba", "Numba cannot be imported (no such module)")


def chosen(requested: Any = None, device: str = "cpu") -> str:
    return _backends.choose_backend(requested, torch.device(device))


def test_the_call_goes_before_use_backend_and_that_before_the_device() -> None:
    assert (chosen(), chosen(device="meta")) == ("numba", "reference")
    with use_backend("reference"):
        assert (chosen(), chosen("numba")) == ("reference", "numba")
        with use_backend(None):
            assert chosen() == "numba"
        assert chosen() == "reference"
    assert chosen() == "numba"


def test_use_backend_as_a_statement() -> None:
    before = use_backend("reference")
    assert chosen() == "reference"
    before.__exit__(None, None, None)
    assert chosen() == "numba"


def test_a_thread_begins_without_a_choice_and_keeps_its_own() -> None:
    """Blocks that overlap in time, as only those of threads and tasks can."""
    found, inside, go_on = [], threading.Event(), threading.Event()

    def work() -> None:
        found.append(chosen())
        with use_backend("reference"):
            inside.set()
            go_on.wait(60)
        found.append(chosen())
        use_backend("reference")
        found.append(chosen())

    thread = threading.Thread(target=work)
    with use_backend("reference"):
        thread.start()
        inside.wait(60)
    assert chosen() == "numba"
    with use_backend("numba"):
        go_on.set()
        thread.join()
        assert chosen() == "numba"
    assert found == ["numba", "numba", "reference"] and chosen() == "numba"


def test_tasks_that_take_turns() -> None:
    found = []

    async def work(backend: Any) -> None:
        with use_backend(backend):
            for _ in range(3):
                await asyncio.sleep(0)
                found.append(chosen() == backend)

    async def both() -> None:
        await asyncio.gather(work("reference"), work("numba"))
        found.append(chosen() == "numba")
        with use_backend("reference"):
            found.append(await asyncio.create_task(inherit()) == "reference")

    async def inherit() -> str:
        return chosen()

    asyncio.run(both())
    assert all(found) and len(found) == 8 and chosen() == "numba"


def test_compiled_code_obeys_the_choice_of_its_caller() -> None:
    used = []  # our kernels or not, in each run; how often it is compiled depends on the state of threads too

    def keep(module: torch.fx.GraphModule, inputs: Any) -> Any:
        def run(*inputs: Any) -> Any:
            used.append("segaware" in str(module.graph))
            return module(*inputs)

        return run

    def choose(image: torch.Tensor) -> torch.Tensor:
        with use_backend("reference"):
            return embedding_distance(image, 3)

    call = torch.compile(lambda image: embedding_distance(image, 3), fullgraph=True, backend=keep)
    call(IMAGE)
    with use_backend("reference"):
        call(IMAGE)
        thread = threading.Thread(target=call, args=(IMAGE,))
        thread.start()
        thread.join()
    call(IMAGE)
    assert used == [True, False, True, True]
    torch.compile(choose, fullgraph=True, backend=keep)(IMAGE)
    assert used[4:] == [False] and chosen() == "numba"
    exported = torch.export.export(Wrapped(), (IMAGE,))
    with use_backend("reference"):
        plain = torch.export.export(Wrapped(), (IMAGE,))
    assert "segaware" in str(exported.graph) and "segaware" not in str(plain.graph)


class Wrapped(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return embedding_distance(image, 3)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_gradient_of_a_gradient_is_refused_by_kernels(call: Any) -> None:
    image, mask = IMAGE.clone().requires_grad_(), MASK.clone().requires_grad_()

    def penalty(backend: str) -> torch.Tensor:
        loss = call(backend, image, mask).square().sum()
        return torch.autograd.grad(loss, image, create_graph=True)[0].square().sum()

    penalty("reference").backward()
    torch.testing.assert_close(penalty("numba"), penalty("reference"))  # the first gradient is there as ever
    with pytest.raises(RuntimeError, match=r"differentiable once: .* choose the backend 'reference'"):
        penalty("numba").backward()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_operator_obeys(call: Any, no_numba: None) -> None:
    call(None)  # falls back in silence, for nothing was asked for
    with pytest.raises(RuntimeError, match=r'backend "numba" cannot run: Numba cannot be imported .*"reference" runs'):
        call("numba")
    with pytest.raises(
        ValueError, match=r"backend must be None or one of \('reference', 'numba', 'triton'\), got 'cuda'"
    ):
        call("cuda")


def test_asking_for_what_cannot_run_changes_nothing(no_numba: None) -> None:
    for backend, error in (("numba", RuntimeError), ("fast", ValueError)):
        with pytest.raises(error, match="backend"):
            use_backend(backend)  # type: ignore[arg-type]
        assert chosen() == "reference"


def test_tensors_that_the_kernels_cannot_read() -> None:
    with pytest.raises(RuntimeError, match='backend "numba" cannot run: it runs on CPU tensors, got one on meta'):
        embedding_distance(torch.rand(1, 2, 5, 5, device="meta"), 3, backend="numba")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_tensors_without_values(call: Any) -> None:
    output = call(None, IMAGE.to("meta"), MASK.to("meta"))
    assert output.is_meta and output.shape == call("reference").shape


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_triton_without_a_gpu(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it says what is missing; whether Triton itself is installed or not."""
    monkeypatch.setattr(_backends, "_problems", {})
    problem = "it needs an NVIDIA GPU|Triton cannot be|segaware_median2d has no GPU kernel"
    with pytest.raises(RuntimeError, match=rf'backend "triton" cannot run: ({problem})'):
        call("triton")
    monkeypatch.setattr(_backends, "_problems", {})
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(RuntimeError, match=r"Triton cannot be imported .*; it comes with PyTorch for CUDA, or `pip"):
        use_backend("triton")
    call(None)


def test_triton_s_versions_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def problem(version: str, capability: tuple[int, int]) -> str | None:
        monkeypatch.setattr(_backends, "_problems", {})
        monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__=version))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        return _backends.unavailable_backends()["triton"]

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert problem("3.7.1", (9, 0)) is None and chosen(device="cuda") == "triton"
    assert (
        problem("3.2.0", (9, 0)) == "it needs Triton 3.4 or newer, got 3.2.0" and chosen(device="cuda") == "reference"
    )
    assert problem("3.7.1", (7, 5)) == "it needs a GPU of compute capability 8.0 or more, got 7.5"


def test_rocm_is_not_taken_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backends, "_problems", {})
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.7.1"))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    problem = _backends.unavailable_backends()["triton"]
    assert (
        problem is not None and problem.endswith("is for those of AMD (ROCm)") and chosen(device="cuda") == "reference"
    )


def test_operators_without_triton_kernels() -> None:
    with pytest.raises(RuntimeError, match='"triton" cannot run: the permutohedral lattice has no GPU kernel'):
        mean_field(torch.zeros(2, 4), [torch.zeros(1, 4)], [1.0], 1, backend="triton")


@jit
def _count_task(task: int, thread: int, seen: Any, by_thread: Any) -> None:
    seen[task] += 1
    by_thread[thread, task] += 1


@kernel
def _count(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_count_task, threads, tasks, arguments)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("tasks", [0, 1, 1000])
def test_every_task_runs_once_on_a_thread_of_the_range(threads: int, tasks: int) -> None:
    seen, by_thread = np.zeros(tasks, dtype=int), np.zeros((threads, tasks), dtype=int)
    _count(threads, tasks, (seen, by_thread))
    assert (seen == 1).all() and (by_thread.sum(0) == 1).all()


PREAMBLE = """
import ctypes, os, sys, warnings, torch
warnings.simplefilter("error")
torch.set_num_threads(3)
torch.manual_seed(0)
x, w, m = torch.rand(1, 20, 60, 40), torch.rand(8, 20, 3, 3), torch.rand(1, 9, 60, 40)
def run(backend):
    from segaware import segaware_conv2d
    return segaware_conv2d(x, w, m, padding=1, backend=backend)
def compare():
    torch.testing.assert_close(run("numba"), run("reference"), rtol=1e-4, atol=1e-4)
"""

NO_CACHE = "import numba.core.caching; numba.core.caching.CacheImpl._locator_classes = []\n"
UNOPTIMISED = {"NUMBA_OPT": "0"}  # which compiles in half the time


def run_python(code: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=250,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_no_folder_for_the_cache() -> None:
    run_python(NO_CACHE + "compare()", **UNOPTIMISED)


def test_the_cache_is_where_numba_is_told(tmp_path: Any) -> None:
    run_python("from segaware import embedding_distance; embedding_distance(x, 3)", NUMBA_CACHE_DIR=str(tmp_path))
    assert list(tmp_path.rglob("*.nbi"))


def test_without_an_openmp_runtime_to_call() -> None:
    code = """
import numba
def missing(*arguments, **options):
    raise OSError
ctypes.CDLL = missing
compare()
from segaware.ops import _parallel
print(_parallel.OPENMP)
"""
    assert run_python(code) == "None\n"


def test_forked_workers() -> None:
    """Both a plain fork after the threads have started (where torch's own operators hang) and a data loader's."""
    code = """
expected = run("numba")
if (child := os.fork()) == 0:
    os._exit(0 if run("numba").numpy().tobytes() == expected.numpy().tobytes() else 1)
assert os.waitpid(child, 0)[1] == 0
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return run('numba')
loader = torch.utils.data.DataLoader(Data(), num_workers=2, multiprocessing_context="fork")
print(all(torch.equal(output, expected) for batch in loader for output in batch))
"""
    assert run_python(code) == "True\n"


def test_a_failing_import_is_the_reason() -> None:
    code = """
sys.modules["numba"] = None
from segaware.ops._backends import unavailable_backends
print(unavailable_backends()["numba"])
run(None)
"""
    assert run_python(code).startswith("Numba cannot be imported (import of numba halted; None in sys.modules)")


def test_the_first_call_may_be_compiled_and_eager_calls_load_no_compiler() -> None:
    code = """
run("numba"), run(None)
print("torch._dynamo" in sys.modules)
"""
    assert run_python(code) == "False\n"
    run_python('torch.compile(run, fullgraph=True, backend="eager")(None)')


@pytest.mark.parametrize("features", [{"avx": True}, {}], ids=["AVX", "128 bits"])
def test_processors_with_narrower_vectors(features: dict[str, bool]) -> None:
    """Tiles, panels and transposed blocks of other sizes than this machine's."""
    code = (
        NO_CACHE
        + f"""
import llvmlite.binding
real, llvmlite.binding.get_host_cpu_features = llvmlite.binding.get_host_cpu_features, lambda: {features}
import segaware.ops._tile as tile
llvmlite.binding.get_host_cpu_features = real
print(tile.VECTOR_BYTES)
"""
        + """
from segaware import segaware_conv2d
for channels, filters, groups, dtype in ((20, 37, 1, torch.float32), (9, 9, 9, torch.float32), (6, 4, 2, torch.double)):
    tensors = torch.rand(1, channels, 19, 23), torch.rand(filters, channels // groups, 3, 3), torch.rand(1, 9, 19, 23)
    tensors = [t.to(dtype).requires_grad_() for t in tensors]
    values = []
    for backend in ("numba", "reference"):
        output = segaware_conv2d(*tensors, padding=1, groups=groups, backend=backend)
        values.append([output, *torch.autograd.grad(output.square().sum(), tensors)])
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-2)
"""
    )
    assert run_python(code, **UNOPTIMISED) == f"{32 if features else 16}\n"
