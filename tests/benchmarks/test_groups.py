"""`python -m benchmarks` end to end on tiny sizes, and the arithmetic of what it reports."""

import importlib.util
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from benchmarks.groups import (
    conversion,
    crf,
    curves,
    distance,
    filtering,
    layers,
    network,
    overhead,
    recipes,
    refining,
)
from benchmarks.harness.fresh import measure_fresh
from benchmarks.harness.measure import Goal, Samples, interleave, summarize
from benchmarks.harness.plan import Contender, Group, Measurement, Settings, forward_backward
from benchmarks.harness.tables import case_rows
from benchmarks.registry import GROUPS, choose_groups
from segaware.tuning.search import Layer

Bench = Callable[..., Result]
Fails = Callable[..., str]
TINY = {
    "layers": partial(layers.plan, layers=(Layer("tiny", 4, 6, 12, 2),), limits={"tiny": (1.25, 1.5)}),
    "distance": partial(distance.plan, windows=(distance.Window(3, 16, 1, faster=50, reading=2, channels=8),)),
    "filter": partial(filtering.plan, side=24, kernel_size=5, channels=3, dim=8),
    "crf": partial(crf.plan, height=24, width=30, classes=3, dim=4),
    "refine": partial(refining.plan, height=40, width=48, classes=5),
    "overhead": partial(overhead.plan, side=8, channels=2, calls=2),
    "network": lambda settings: network.plan(settings, width=0.0625, side=33)[:1],
    "recipes": partial(
        recipes.plan,
        names=["demo/baseline", "demo/segaware"],
        overrides=["data.crop=[16, 16]", "data.batch_size=2"],
    ),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Settings, "seconds", 0.002)
    for name, plan in TINY.items():
        monkeypatch.setitem(GROUPS, name, replace(GROUPS[name], plan=plan))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _case(cases: list[dict[str, Any]], part: str) -> dict[str, dict[str, Any]]:
    (case,) = [case for case in cases if part in case["title"]]
    return {row["title"]: row for row in case["rows"]}


def test_end_to_end(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf, "measure_fresh", in_this_process)
    result = bench(*TINY, "--threads", "1", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    groups = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in TINY}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.json" for name in TINY)
    measured = groups["layers"]["measured"]
    assert measured["form"] == "quick" and measured["seed"] == 0 and measured["machine"].endswith(" 1 threads")
    assert {"command", "commit", "date", "os", "python", "torch", "numpy", "numba", "kornia"} <= measured.keys()

    rows = [row for group in groups.values() for case in group["cases"] for row in case["rows"]]
    problems = {row["title"]: row["problem"] for row in rows if "problem" in row}
    missing = {} if importlib.util.find_spec("kornia") else {"kornia": "kornia: not installed"}
    if not importlib.util.find_spec("pydensecrf"):
        missing["pydensecrf, 10 iterations"] = "pydensecrf: not installed"
    found = {title: text for title, text in problems.items() if "numba" not in title and "inputs" not in title}
    assert found == missing
    for row in rows:
        if "problem" not in row:
            assert row["value"]["low"] <= row["value"]["median"] <= row["value"]["high"] and row["value"]["low"] > 0
            assert row["title"] in result.stdout.replace("\n", " ") or " " in row["title"]

    for title in ("batch 1, forward", "batch 1, forward + backward"):
        assert (
            _case([c for c in groups["layers"]["cases"] if c["title"].endswith(title)], title)["unfold"]["rounds"] > 2
        )
    rows = _case(groups["distance"]["cases"], "3x3")
    assert [len(rows[title]["goals"]) for title in ("segaware", "segaware, embedding from memory")] == [1, 1]


def in_this_process(
    task: Callable[..., Contender], settings: Settings, seconds: float | None, **arguments: Any
) -> dict[str, Any] | str:
    function = task(settings, **arguments)
    if isinstance(function, str):
        return function
    function()
    more = 2.0 * (arguments.get("kind") == "all layers, given embedding")
    return {"first": 0.1, "rounds": [0.2], "peak": 5.0 + more, "increase": 3.0}


def test_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "measure_fresh", in_this_process)
    plan = network.plan(Settings(), width=0.0625, inference_side=9, training_side=9)
    peak, increase = plan[1].run()
    assert [row["title"] for row in peak["rows"]] == ["all layers, given embedding", "plain"]
    assert peak["rows"][0]["ratio"]["median"] == 1.4 and not peak["rows"][0]["goals"][0]["met"]
    assert peak["baseline"] == "plain" and {row["value"]["median"] for row in increase["rows"]} == {3.0}
    assert plan[2].run()[0]["rows"][0]["goals"][0]["met"]
    monkeypatch.setattr(network, "measure_fresh", lambda *_, **__: "killed")
    assert {row["problem"] for row in plan[1].run()[0]["rows"]} == {"killed"}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_fresh_process() -> None:
    values = measure_fresh(network.inference, Settings(), 0.001, kind="plain", width=0.0625, side=9)
    assert not isinstance(values, str), values
    assert values["first"] > 0 and len(values["rounds"]) >= 3
    assert 100 < values["peak"] < 2000 and 0 < values["increase"] < values["peak"]


def test_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "measure_fresh", in_this_process)
    plan = curves.plan(Settings(), {"side": (8,), "window": (5,), "dim": (2, 200_000)}, side=12, dim=4)
    cases = [case for measurement in plan[:3] for case in measurement.run()]
    assert [(c["sweep"], c["x"], c["unit"]) for c in cases[:3]] == [
        ("side", 8, "ms"),
        ("side", 8, "MB"),
        ("window", 5, "ms"),
    ]
    assert [row["title"] for row in cases[0]["rows"]] == ["segaware", "unfold", "F.conv2d, no mask"]
    assert {row["value"]["median"] for row in cases[0]["rows"]} == {200.0}
    assert {row["value"]["median"] for row in cases[1]["rows"]} == {3.0}
    monkeypatch.setattr(curves, "measure_fresh", lambda *_, **__: "elsewhere")
    assert [row["problem"] for row in plan[3].run()[0]["rows"]] == ["elsewhere", "not run: needs 28 GB"]


def test_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 2, 3, padding=1)]
    monkeypatch.setattr(conversion, "MODELS", {"tiny": lambda: torch.nn.Sequential(*layers)})
    monkeypatch.setattr(conversion, "measure_fresh", in_this_process)
    (measurement,) = conversion.plan(Settings(), "cpu", size=16)
    time, memory = measurement.run()
    assert time["title"] == "tiny, 16x16, float32, forward" and time["baseline"] == "original"
    assert [row["title"] for row in time["rows"]] == list(conversion.VARIANTS)
    assert not [row for row in time["rows"] if "problem" in row]  # such as that unfold computes something else
    assert {row["value"]["median"] for row in memory["rows"]} == {5.0}


def test_every_group_measures_something(tmp_path: Path) -> None:
    for name, group in GROUPS.items():
        titles = [measurement.title for measurement in group.plan(Settings(data_root=tmp_path))]
        assert len(titles) == len(set(titles)) > 0, name


def test_batch_4_only_in_the_long_form() -> None:
    titles = [m.title for m in layers.plan(Settings(full=True))]
    assert len(titles) == 20 and sum("batch 4" in title for title in titles) == 10
    assert titles[:10] == [m.title for m in layers.plan(Settings())]
    assert "curves" not in choose_groups([], full=False) and "curves" in choose_groups([], full=True)


def test_baseline_ratios_and_goals() -> None:
    results: dict[str, Samples | str] = {
        "ours": Samples(0.5, [0.002, 0.006, 0.004]),
        "ours too": Samples(0.5, [0.005, 0.005, 0.005]),
        "slow plain": Samples(0.1, [0.006, 0.006, 0.006]),
        "plain": Samples(0.1, [0.001, 0.002, 0.004]),
        "unfold": Samples(0.1, [0.010, 0.060]),
        "absent": "absent: not installed",
    }
    goals = [
        Goal(("ours", "ours too"), ("plain", "slow plain"), 2),
        Goal(("ours", "ours too"), ("unfold",), 8, faster=True),
        Goal(("ours",), ("absent",), 1),
    ]
    case = summarize("case", "ms", results, ("slow plain", "plain", "absent"), goals)
    assert case["baseline"] == "plain"
    ours, too, _, plain, unfold, absent = case["rows"]
    assert ours["value"] == pytest.approx({"median": 4.0, "low": 2.4, "high": 5.6})
    assert ours["first"] == 500 and ours["rounds"] == 3
    assert ours["ratio"] == pytest.approx({"median": 2.0, "low": 1.2, "high": 2.8})  # 2, 3, 1
    assert plain["ratio"]["median"] == 1 and unfold["ratio"]["median"] == pytest.approx(20)  # 10, 30
    assert absent == {"title": "absent", "problem": "absent: not installed"}
    assert [goal["met"] for goal in ours["goals"]] == [True, False, None] and too["goals"] == []
    assert ours["goals"][1]["ratio"]["median"] == pytest.approx(7.5)  # 5, 10
    assert case_rows(case)[0] == [
        "ours",
        "4 ms [2.4, 5.6]",
        "2 [1.2, 2.8]",
        "500 ms",
        "<= 2: met; 7.5x as fast as unfold, >= 8: MISSED; no absent to compare with",
    ]
    assert case_rows(case)[3][2] == "baseline" and case_rows(case)[5][1] == "absent: not installed"


def test_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, called = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def takes(seconds: float) -> Callable[[], None]:
        def call() -> None:
            now[0] += seconds
            called.append(seconds)

        return call

    durations = {"quick": 1e-4, "short": 0.06, "middle": 0.4, "slow": 2.0}
    results = interleave({title: takes(s) for title, s in durations.items()}, seconds=1.0, seed=0)
    rounds = {title: result.rounds for title, result in results.items() if isinstance(result, Samples)}
    assert {title: len(values) for title, values in rounds.items()} == {
        "quick": 100, "short": 17, "middle": 7, "slow": 3
    }  # fmt: skip
    assert all(rounds[title] == pytest.approx([s] * len(rounds[title])) for title, s in durations.items())
    in_turn = [called[i : i + 4] for i in (4, 8, 12)]
    assert all(sorted(turn) == sorted(durations.values()) for turn in in_turn)
    assert len({tuple(turn) for turn in in_turn}) > 1  # each round in its own order


def test_whatever_a_contender_fails_with_is_its_row() -> None:
    def unlike() -> torch.Tensor:
        return torch.tensor([[9.0, 9.0, 9.0], [9.0, 2.0, 9.0], [9.0, 9.0, 9.0]])

    contenders = {
        "ours": lambda: torch.ones(3, 3),
        "huge": lambda: torch.empty(10**15),
        "broken": lambda: torch.ones(2) @ torch.ones(3),
        "unlike": unlike,
        "like": lambda: torch.ones(3, 3) + 1e-6,
    }
    results = interleave(contenders, 0.001, 0, same={"unlike": 1, "like": 0})
    assert results["huge"] == "out of memory" and str(results["broken"]).startswith("RuntimeError: ")
    assert results["unlike"] == "ValueError: its output differs by 1, relative to the largest value"
    assert all(isinstance(results[title], Samples) for title in ("ours", "like"))


def test_peers_that_are_not_there(tmp_path: Path) -> None:
    assert Settings(tmp_path).peer("unfold", "distance") == f"{tmp_path / 'unfold.py'}: no such file"
    (tmp_path / "kornia_filter.py").write_text("import no_such_library")
    assert Settings(tmp_path).peer("kornia_filter", "bilateral_filter") == "no_such_library: not installed"
    (case,) = filtering.plan(Settings(tmp_path), side=12, kernel_size=3, channels=2, dim=2)[1].run()
    assert case["rows"][1] == {"title": "kornia", "problem": "no_such_library: not installed"}
    assert case["baseline"] is None and case["rows"][0]["ratio"] is None


def test_forward_backward_differentiates_what_wants_it() -> None:
    x, w = torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([5.0, 7.0])
    run = forward_backward(lambda x, w: x * w, x, w)
    assert not isinstance(run, str)
    assert [gradient.tolist() for gradient in run()] == [[5.0, 7.0]]


def failing(settings: Settings) -> Contender:
    return "no such thing"


def test_failure_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failing, "__module__", "no_such_module")
    assert measure_fresh(failing, Settings(), None) == "ModuleNotFoundError: No module named 'no_such_module'"


def test_interrupted(bench: Bench, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    def plan(settings: Settings) -> list[Measurement]:
        return [Measurement("first", list), Measurement("second", stopped)]

    monkeypatch.setitem(GROUPS, "layers", Group("", "", plan))
    (tmp_path / "layers.json").write_text("old")
    line = fails("layers", "--out", tmp_path, status=130)
    assert line == "interrupted; the files of groups that were not finished are as before"
    assert [path.name for path in tmp_path.iterdir()] == ["layers.json"]
    assert (tmp_path / "layers.json").read_text() == "old"


def test_bad_arguments(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    ours = ("--out", out)
    assert fails("layer", *ours).startswith("unknown group 'layer': there are layers, distance, ")
    assert fails("--threads", "0", *ours) == "threads must be at least 1, got 0"
    missing = fails("--peers", tmp_path / "nowhere", "--out", out)
    assert missing.startswith(f"no folder {tmp_path / 'nowhere'} of peers")
    if not torch.cuda.is_available():
        for group in ("gpu", "conversion_cuda"):
            assert re.search("cannot run: (it needs an NVIDIA GPU|Triton cannot be imported)", fails(group, *ours))
    monkeypatch.setitem(GROUPS, "onnx", replace(GROUPS["onnx"], needs=("numpy", "no-such-package")))
    assert fails("onnx", *ours) == "group onnx cannot run: no-such-package: not installed"
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file" in fails("--out", tmp_path / "file" / "out")
    assert not out.exists()


@pytest.mark.parametrize(("name", "folder"), [("flow_values", "middlebury"), ("shards_run", "voc")])
def test_what_wants_a_folder_of_data(name: str, folder: str) -> None:
    with pytest.raises(ValueError, match=f"--data-root must be the folder of {folder}"):
        GROUPS[name].plan(Settings())
