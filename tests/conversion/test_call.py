"""A call's embedding reaches layers wherever and whenever they run."""

import copy
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import SemanticSegmenterOutput

from segaware import EmbeddingNet, convert
from segaware.conversion import SegAwareModel, call
from segaware.nn import ColorEmbedding

from .conftest import Strided


def gradients(reentrant: bool | None, frozen: bool = False) -> dict[str, Tensor]:
    """Of two calls with images of other sizes, and one backward pass."""
    torch.manual_seed(0)
    embedding = EmbeddingNet(0.125, dim=4).requires_grad_(not frozen)
    converted = convert(Strided(reentrant), embedding, hardness=0.3)
    first, second = torch.rand(2, 3, 17, 19), torch.rand(1, 3, 30, 21)
    loss = converted(first)["out"].square().sum() + 0.3 * converted(second)["out"].square().sum()
    loss.backward()
    return {name: p.grad for name, p in converted.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("reentrant", "frozen"), [(False, False), (False, True), (True, True)])
def test_checkpoints(reentrant: bool, frozen: bool) -> None:
    expected, actual = gradients(None, frozen), gradients(reentrant, frozen)
    assert expected.keys() == actual.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient)


def test_a_reentrant_checkpoint_cannot_train_the_embedding() -> None:
    with pytest.raises(RuntimeError, match=r"block\.0 is in a checkpoint with use_reentrant=True, which cannot train"):
        gradients(reentrant=True)


def test_two_backward_passes(embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(Strided(reentrant=False), embedding, hardness=0.3)
    output = converted(image)["out"]
    parameters = list(converted.parameters())
    first = torch.autograd.grad(output.sum(), parameters, retain_graph=True)
    second = torch.autograd.grad(output.sum(), parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@dataclass
class Result:
    x: Tensor


@dataclass
class Registered(Result):
    pass


torch.export.register_dataclass(Registered)


@pytest.mark.parametrize("kind", ["tuple", "ordered", "nested", "registered", "transformers", "unknown"])
def test_outputs_of_many_kinds(kind: str, embedding: EmbeddingNet, image: Tensor) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, image: Tensor) -> Any:
            x = checkpoint(self.conv, image, use_reentrant=False)
            return {
                "tuple": (x, 1),
                "ordered": OrderedDict(x=x),
                "nested": {"x": [x]},
                "registered": Registered(x),
                "transformers": SemanticSegmenterOutput(logits=x),
                "unknown": Result(x),
            }[kind]

    output = convert(Network(), embedding, hardness=0.3)(image)
    if kind == "unknown":
        with pytest.raises(RuntimeError, match=r"conv is in a checkpoint .* return its tensors in tuples"):
            output.x.sum().backward()
    else:
        (x,) = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        x.sum().backward()
        assert all(p.grad is not None for p in embedding.parameters())


def test_outputs_may_change_in_place(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding, hardness=0.3)
    weight = converted.network.stem.weight
    (expected,) = torch.autograd.grad(converted(image)["out"].mul(2).relu().sum(), weight)
    (actual,) = torch.autograd.grad(converted(image)["out"].mul_(2).relu_().sum(), weight)
    torch.testing.assert_close(actual, expected)
    # Autograd still sees that a result which the backward pass needs is gone.
    output = convert(nn.Sequential(nn.Conv2d(3, 3, 3), nn.Sigmoid()), embedding)(image)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.mul_(2).sum().backward()


def test_a_checkpoint_around_everything(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding, hardness=0.3)
    parameters = list(converted.parameters())
    expected, actual = (
        torch.autograd.grad(output["out"].square().sum(), parameters)
        for output in (converted(image), checkpoint(converted, image, use_reentrant=False))
    )
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_is_kept(embedding: EmbeddingNet, image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[weakref.ref[call.Call]] = []
    original = call.Call.__init__

    def remembered(self: call.Call, embedding: Tensor) -> None:
        calls.append(weakref.ref(self))
        original(self, embedding)

    monkeypatch.setattr(call.Call, "__init__", remembered)
    converted = convert(Strided(reentrant=False), embedding, hardness=0.3)
    outputs = [converted(image)["out"]]
    outputs[0].sum().backward(retain_graph=True)
    assert calls[0]() is not None  # the graph is still there
    outputs[0].sum().backward()
    with torch.no_grad():
        outputs.append(converted(image)["out"])
    converted(image)  # without a backward pass
    gc.collect()
    assert [reference() for reference in calls] == [None] * 3
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        outputs[0].sum().backward()


@pytest.mark.parametrize("kind", ["plain", "checkpoint inside", "reentrant", "checkpoint around", "frozen"])
def test_calls_without_a_backward_pass_are_forgotten(kind: str, image: Tensor) -> None:
    embedded: list[weakref.ref[Tensor]] = []
    scale = torch.ones(1, requires_grad=kind not in ("reentrant", "frozen"))

    def embedding(image: Tensor) -> Tensor:
        result = image * scale
        embedded.append(weakref.ref(result))
        return result

    converted = convert(Strided({"checkpoint inside": False, "reentrant": True}.get(kind)), embedding, hardness=0.3)
    for _ in range(100):
        if kind == "checkpoint around":
            checkpoint(converted, image, use_reentrant=False)
        else:
            converted(image)
    gc.collect()
    assert len(embedded) == 100
    assert not [reference for reference in embedded if reference() is not None]


@pytest.mark.parametrize("hooks", [lambda: saved_tensors_hooks(lambda x: x, lambda x: x), save_on_cpu])
def test_saved_tensor_hooks_around_a_network(
    hooks: Callable[[], AbstractContextManager[object]], network: Strided, embedding: EmbeddingNet, image: Tensor
) -> None:
    converted = convert(network, embedding, hardness=0.3)
    parameters = list(converted.parameters())
    expected = torch.autograd.grad(converted(image)["out"].square().sum(), parameters)
    with hooks():
        actual = torch.autograd.grad(converted(image)["out"].square().sum(), parameters)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_part_without_gradients(embedding: EmbeddingNet, image: Tensor) -> None:
    """Distances that were computed in it do not cut the embedding off from layers outside."""

    class HalfFrozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

        def forward(self, image: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.first(image)
            return self.second(x)

    converted = convert(HalfFrozen(), embedding, hardness=0.3)
    converted(image).sum().backward()
    assert all(p.grad is not None for p in embedding.parameters())


def test_threads(embedding: EmbeddingNet) -> None:
    """Half of them train."""
    converted = convert(Strided(reentrant=False), embedding, hardness=0.3)
    images = [torch.rand(1, 3, 12 + i, 20) for i in range(6)]

    def run(i: int) -> Tensor:
        if i % 2:
            return torch.autograd.grad(converted(images[i])["out"].sum(), converted.network.block[0].weight)[0]
        with torch.inference_mode():
            return converted(images[i])["out"].clone()

    expected = [run(i) for i in range(6)]
    actual: dict[int, Tensor] = {}

    def repeat(i: int) -> None:
        for _ in range(4):
            actual[i] = run(i)

    threads = [threading.Thread(target=repeat, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(actual[i], expected[i]) for i in range(6))


def test_one_in_another(image: Tensor) -> None:
    inner = convert(nn.Conv2d(3, 3, 3, padding=1), ColorEmbedding(5.0), hardness=0.2)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

        def forward(self, image: Tensor) -> Tensor:
            x = checkpoint(self.before, image, use_reentrant=False)
            return checkpoint(self.after, inner(x), use_reentrant=False)

    outer = convert(Outer(), ColorEmbedding(), hardness=0.3)
    plain = copy.deepcopy(outer)
    plain.network.forward = lambda image: plain.network.after(inner(plain.network.before(image)))
    for model in (outer, plain):
        model(image).square().sum().backward()
    for a, b in zip(outer.parameters(), plain.parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b.grad)


def test_compile(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding, hardness=0.3)
    compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
    for size in ((21, 26), (32, 19)):
        image = torch.rand(2, 3, *size)
        expected, actual = (
            [m(image)["out"], *torch.autograd.grad(m(image)["out"].square().sum(), list(converted.parameters()))]
            for m in (converted, compiled)
        )
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def run_in_a_fresh_process(code: str) -> list[str]:
    start = """
import threading, torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from segaware import convert
from segaware.nn import ColorEmbedding
"""
    run = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, env=os.environ)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_the_first_call_may_be_compiled() -> None:
    """That of the process, and that of a thread: nothing has set the thread's variable before."""
    assert run_in_a_fresh_process("""
converted = convert(nn.Conv2d(3, 4, 3, padding=1), ColorEmbedding(), hardness=0.3)
compiled = torch.compile(converted, backend="eager", fullgraph=True)
image, outputs = torch.rand(1, 3, 12, 14), []
for _ in range(2):
    threads = [threading.Thread(target=lambda: outputs.append(compiled(image))) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    outputs.append(compiled(image))
print(len(outputs), all(torch.equal(output, converted(image)) for output in outputs))
""") == ["6", "True"]


def test_compiled_for_sizes_as_often_as_the_plain_network() -> None:
    """Strides, rounding that no stride gives, and a decoder: no size is asked for."""
    counts = run_in_a_fresh_process("""
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.pooled, self.coarse = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 5, 3, 1)
        self.last = nn.Conv2d(4, 2, 3, 1, 1)

    def forward(self, image):
        x = self.pooled(nn.functional.max_pool2d(self.down(self.stem(image).relu()), 2))
        return self.last(nn.functional.interpolate(self.coarse(x), image.shape[-2:], mode="bilinear"))

network = Network()
converted = convert(network, ColorEmbedding(), hardness=0.3)
for model in (network, converted):
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.no_grad():
        for size in [(2, 32, 32), (2, 40, 48), (3, 56, 33), (2, 61, 62), (4, 63, 65)]:
            image = torch.rand(size[0], 3, *size[1:])
            torch.testing.assert_close(compiled(image), model(image))
    print(counter.frame_count)
""")
    assert int(counts[1]) <= int(counts[0]) < 5


def test_compiled_part(network: Strided, embedding: EmbeddingNet) -> None:
    """It sees the image of each call, not that of the call it was compiled in."""
    converted = convert(network, embedding, hardness=0.3)
    images = torch.rand(3, 1, 3, 21, 26)
    expected = [converted(image)["out"] for image in images]
    converted.network.block.compile(backend="eager")
    for image, output in zip(images, expected, strict=True):
        torch.testing.assert_close(converted(image)["out"], output)


@pytest.mark.parametrize("fullgraph", [True, False])
def test_compile_with_checkpoints(fullgraph: bool, image: Tensor) -> None:
    """With an embedding of one layer: a checkpoint does not see what it is made of."""
    converted = convert(Strided(reentrant=False), nn.Conv2d(3, 4, 3, padding=1), hardness=0.3)
    parameters = list(converted.parameters())
    expected = torch.autograd.grad(converted(image)["out"].square().sum(), parameters)
    with torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=fullgraph):
        compiled = torch.compile(converted, fullgraph=fullgraph, backend="aot_eager")
        actual = torch.autograd.grad(compiled(image)["out"].square().sum(), parameters)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_export(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    dynamic = {"image": dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)}
    for embed in (ColorEmbedding(), embedding):
        converted = convert(network, embed, hardness=0.3).eval()
        exported = torch.export.export(converted, (image,), dynamic_shapes=dynamic).module()
        for size in ((21, 26), (16, 16), (33, 47)):
            other = torch.rand(2, 3, *size)
            torch.testing.assert_close(exported(other)["out"], converted(other)["out"])


def test_distributed(tmp_path: Path) -> None:
    code = """
import sys, torch, torch.distributed as dist
from segaware import EmbeddingNet, convert
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Conv2d(4, 2, 3, 1, 1))
converted = convert(network, EmbeddingNet(0.125, dim=2), hardness=0.3)
for unused in (False, True):
    parallel = torch.nn.parallel.DistributedDataParallel(converted, find_unused_parameters=unused)
    converted.zero_grad()
    parallel(torch.rand(2, 3, 16, 16)).square().sum().backward()
    print(all(p.grad is not None for p in converted.parameters()))
dist.destroy_process_group()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "rendezvous")]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert run.stdout.split() == ["True", "True"], run.stderr


def test_inference_mode(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted: SegAwareModel = convert(network, embedding, hardness=0.3).eval()
    with torch.inference_mode():
        output = converted(image)["out"]
    torch.testing.assert_close(output.clone(), converted(image)["out"])
