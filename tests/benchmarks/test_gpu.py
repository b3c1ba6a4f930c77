"""`python -m benchmarks gpu` end to end on tiny sizes, with a CPU in the place of the GPU."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from benchmarks.gpu import card, depthwise, layers, networks, operators
from benchmarks.groups import conversion
from benchmarks.groups.distance import Window
from benchmarks.harness.measure import wall_clock
from benchmarks.harness.plan import Measurement, Settings
from benchmarks.registry import GROUPS, choose_groups
from segaware.ops._backends import use_backend
from segaware.tuning import gpu
from segaware.tuning.search import Layer

Bench = Callable[..., Result]
NETWORK = "DeepLab, 21 classes, 9x9, batch 2, channels_last, autocast to bfloat16"
TINY = (Layer("tiny", 4, 6, 12, 2), Layer("wide", 128, 8, 5, 1))


def plan(settings: Settings) -> list[Measurement]:
    return [
        *operators.ceilings_plan(settings),
        *layers.plan(settings, TINY),
        *depthwise.plan(settings, (depthwise.Depthwise(4, 3, 9),)),
        *operators.plan(settings, (Window(3, 9, 1, faster=50, channels=8),), kernel_size=3, side=9, crf_side=5),
        *networks.plan(settings, width=0.0625, sides=(9,)),
    ]


@pytest.fixture
def cpu_as_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "DEVICE": "cpu",
        "problem": lambda: None,
        "facts": lambda: {"card": "a card", "driver": "1.2"},
        "clock": wall_clock,
        "captured": lambda run: run,
    }.items():
        monkeypatch.setattr(gpu, name, value)
    for name, value in {
        "peak_megabytes": lambda call: call() is None or 5.0,
        "ceilings": partial(card.ceilings, size=1 << 12, side=16, repeats=2),
        "_measured": [],
    }.items():
        monkeypatch.setattr(card, name, value)
    monkeypatch.setattr(Settings, "seconds", 0.0001)
    for module in (depthwise, operators, networks):
        monkeypatch.setattr(module, "_BATCH", 2)
    for module in (depthwise, layers, operators):
        monkeypatch.setattr(module, "_CALLS", 1)
    monkeypatch.setitem(GROUPS, "gpu", replace(GROUPS["gpu"], plan=plan))
    threads = torch.get_num_threads()
    with use_backend("reference"):
        yield
    torch.set_num_threads(threads)


def test_end_to_end(bench: Bench, cpu_as_gpu: None, tmp_path: Path) -> None:
    result = bench("gpu", "--full", "--threads", "1", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "gpu.json").read_text())
    assert {"card", "driver", "commit", "torch", "date", "seed"} <= values["measured"].keys()
    cases = {case["title"]: case for case in values["cases"]}
    # 2 ceilings; 2 layers at 3 batches in 3 precisions, both ways; their memory; a depthwise one; 2 distances,
    # attention and CRF; and networks at one size in 2 precisions, both ways, each with time and memory.
    assert len(cases) == 2 + 2 * 3 * 3 * 2 + 2 + 2 + 2 + 2 + 2 * 2 * 2
    problems = {row["title"]: row["problem"] for case in cases.values() for row in case["rows"] if "problem" in row}
    assert problems.keys() <= {"NATTEN: dot products, softmax and sum"}, problems

    case = cases["wide: 128 to 8 channels, 5x5, dilation 1, batch 8, bfloat16, forward"]
    assert [row["title"] for row in case["rows"]][:6] == [
        "segaware, contiguous",
        "F.conv2d, contiguous",
        "segaware, channels_last",
        "F.conv2d, channels_last",
        "unfold",
        "segaware, channels_last, called from Python",
    ]
    wide = "wide: 128 to 8 channels, 5x5, dilation 1"
    for title, goals in {
        f"{wide}, batch 8, bfloat16, forward": {(5, True), (1.25, False)},
        f"{wide}, batch 8, bfloat16, forward + backward": {(5, True), (1.5, False)},
        f"{wide}, batch 8, TF32, forward": {(5, True), (1.4, False)},
        f"{wide}, batch 1, bfloat16, forward": {(5, True)},
        "depthwise 3x3, 4 channels, 9x9, batch 2, bfloat16, forward": {(1.5, False)},
        "distances, 3x3, dilation 1, 8 channels, 9x9, batch 2, float32": {(2, False), (4, False), (5, True)},
        "SegAwareCRF, 21 classes, 5x5, batch 2, distances of 64 channels included": {(1, False)},
        f"{NETWORK}, inference": {(1.3, False)},
        f"{NETWORK}, training step": {(1.6, False)},
    }.items():
        rows = [row for row in cases[title]["rows"] if "goals" in row]
        assert {(goal["limit"], goal["faster"]) for row in rows for goal in row["goals"]} == goals, title
    assert case["floor_ms"] == pytest.approx(case["rows"][-1]["value"]["median"])
    assert cases["ceilings of the card: arithmetic"]["unit"] == "TFLOP/s"


def test_converted_networks_beside_the_original_and_in_graphs(
    cpu_as_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "contender", lambda *_: lambda: torch.ones(1, 1, 3, 3))
    time, memory = conversion._measure(Settings(), "timm resnet50", "cuda", 16)
    graphs = [f"{variant}, one CUDA graph" for variant in (conversion.ORIGINAL, conversion.GIVEN)]
    assert [row["title"] for row in time["rows"]] == [*conversion.VARIANTS, *graphs]
    goals = {row["title"]: [(g["to"], g["limit"]) for g in row["goals"]] for row in time["rows"] if row["goals"]}
    assert goals == {conversion.GIVEN: [(conversion.ORIGINAL, 1.4)], graphs[1]: [(graphs[0], 1.4)]}
    assert len(memory["rows"]) == len(conversion.VARIANTS)


def test_least_work() -> None:
    layer = Layer("", 4, 6, 5, 2)
    # Along an axis of 5 pixels, taps 2 pixels away are inside for 3 of them: 3 + 5 + 3 of 15.
    products = 2 * 7 * 11**2 * 4 * 6
    read, output = 7 * 25 * 4 + 9 * 4 * 6 + 7 * 25 * 9, 7 * 25 * 6
    assert layers.work(layer, 7, "bfloat16", backward=False) == (products, 2 * (read + output))
    assert layers.work(layer, 7, "TF32", backward=True) == (3 * products, 4 * (3 * read + 2 * output))


def test_floor() -> None:
    ceilings = card.Ceilings(100.0, {"bfloat16": 40.0, "TF32": 20.0, "float32": 10.0})
    assert ceilings.seconds("TF32", operations=60.0, moved=100.0) == 3  # arithmetic takes longer
    assert ceilings.seconds("bfloat16", operations=60.0, moved=200.0) == 2  # memory does


def test_short_form() -> None:
    titles = [m.title for m in layers.plan(Settings(), TINY)]
    # In TF32 the batch that goals are for.
    assert len(titles) == 3 * 2 * 2 + 2 and not any("batch 32" in t for t in titles)
    assert {t.split(", ")[3] for t in titles if "TF32" in t} == {"batch 8"}
    assert len(networks.plan(Settings())) == 2


def test_precision_is_restored() -> None:
    switches: list[Any] = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [switch.allow_tf32 for switch in switches]
    with gpu.computing_in("TF32"):
        assert all(switch.allow_tf32 for switch in switches)
    with gpu.computing_in("bfloat16"):
        assert not any(switch.allow_tf32 for switch in switches)
    assert [switch.allow_tf32 for switch in switches] == before


def test_only_when_named() -> None:
    assert "gpu" not in choose_groups([], full=True)
