"""What a person sees of long work."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from segaware.experiments.table import run_table
from segaware.experiments.workspace import Workspace
from segaware.progress import Overall, progress
from segaware.recipes import files
from segaware.recipes.files import RecipeError

from .tiny_recipes import STEPS, write_table


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    monkeypatch.setattr("sys.stderr", stream())
    assert list(progress(iter("abc"), "reading", "letter", 5, done=2)) == ["a", "b", "c"]
    assert list(progress(["a"], "reading", "letter")) == ["a"]
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    if stream is _Terminal:
        assert "reading" in shown and "2/5" in shown and "\r" in shown
    else:
        assert shown == "reading: 5/5 letters\nreading: 1/1 letters\n"


def test_overall(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("segaware.progress.time.monotonic", lambda: now)
    overall = Overall("training", {"a/control": 100.0, "a/filter": 0.0, "a/crf": 300.0})
    overall.begin("a/control", "the control")
    now = 200.0
    overall.begin("a/filter", "a filter")
    overall.begin("a/crf", "a CRF")
    assert capsys.readouterr().err.splitlines() == [
        "training 1 of 3: a/control - the control",
        "training 2 of 3: a/filter - a filter (about 10 min left for all)",
        "training 3 of 3: a/crf - a CRF (about 10 min left for all)",
    ]


def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line before each training and scoring, of those that are not finished; and nothing else on stderr."""
    write_table(tmp_path / "tiny", ["tiny/control", "tiny/baseline"])
    monkeypatch.setattr(files, "_root", lambda: tmp_path)
    values = run_table("tiny", Workspace(tmp_path / "runs"), costs=False)
    assert [row["steps"] for row in values["rows"]] == [STEPS, STEPS]
    told = [line for line in capsys.readouterr().err.splitlines() if " of 2: " in line]
    assert [line.partition(" (about")[0] for line in told] == [
        "training 1 of 2: tiny/baseline - DeepLab",
        "training 2 of 2: tiny/control - DeepLab, same extra steps",
        "scoring 1 of 2: tiny/control - DeepLab, same extra steps",
        "scoring 2 of 2: tiny/baseline - DeepLab",
    ]
    assert "(about " in told[1]
    run_table("tiny", Workspace(tmp_path / "runs"), costs=False)
    assert capsys.readouterr().err == ""


def test_rows_of_segmentation_and_flow_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = files.load_recipe("harley2017/table3/flownets", data="flying_chairs").model_dump(mode="json")
    write_table(tmp_path / "tiny", ["tiny/baseline", "tiny/flow"], control="tiny/baseline")
    write_table(tmp_path / "other", ["other/baseline"])
    (tmp_path / "tiny/flow.yaml").write_text(yaml.safe_dump(flow))
    monkeypatch.setattr(files, "_root", lambda: tmp_path)
    with pytest.raises(RecipeError, match="like with like; tiny/baseline is of segmentation, tiny/flow of flow"):
        run_table("tiny", Workspace(tmp_path / "runs"))
    with pytest.raises(RecipeError, match="the control of a table is one of its rows; tiny/control is none"):
        run_table("other", Workspace(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
