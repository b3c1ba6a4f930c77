"""Tables of images that have no border, no class or no motion to score: null in files, a dash for people, no error."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from segaware.experiments.tasks.flow.scores import FlowScores
from segaware.experiments.tasks.flow.tables import draw_errors, flow_cells, other_cells
from segaware.experiments.tasks.segmentation.scores import SegmentationScores, segmentation_row
from segaware.experiments.tasks.segmentation.tables import draw_trimap, scores_cells, table_cells
from segaware.metrics import Interval
from segaware.provenance import write_json
from segaware.strict_json import finite


def _scores(borders: bool) -> SegmentationScores:
    """Two images; without borders, no pixel is within any band."""
    confusion = torch.tensor([[[5, 1], [0, 4]]] * 2)
    return SegmentationScores(
        names=("a", "b"),
        sizes=torch.tensor([[2, 5]] * 2),
        milliseconds=1.0,
        confusion=confusion,
        trimap=confusion[:, None] * int(borders),
        boundary=torch.ones(2, 2, 2, dtype=torch.int64) * int(borders),
        half_widths=(1,),
    )


def _table(row: dict[str, Any]) -> dict[str, Any]:
    rows = [row | {"recipe": f"t/{name}", "title": name} for name in ("new", "control")]
    return {"title": "Tiny", "control": "t/control", "half_widths": [1], "rows": rows}


def _read(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(path.read_text(), parse_constant=refuse)


def test_segmentation(tmp_path: Path) -> None:
    scores = _scores(borders=False)
    assert math.isnan(scores.trimap_miou[0]) and math.isnan(scores.boundary_iou)
    table = finite(_table(segmentation_row([scores], [scores])))
    assert table["rows"][0]["trimap_miou_difference"] == [{"difference": None, "low": None, "high": None}]
    write_json(tmp_path / "a.json", table)
    assert _read(tmp_path / "a.json") == table
    assert table_cells(table, [1])[0] == ["method", "mIoU", "ms"]  # no row has the others
    draw_trimap(table, tmp_path / "a.png")
    values, _, cells = scores_cells(scores)
    write_json(tmp_path / "b.json", values)
    assert _read(tmp_path / "b.json")["boundary_iou"] is None
    assert cells[1:3] == ["-", "-"]


def test_interval_without_ends() -> None:
    """Where some draws of a small set see nothing of a class, there is a difference and no interval."""
    table = finite(_table(segmentation_row([_scores(True)], [_scores(True)])))
    for row in table["rows"]:
        row["miou_difference"] = {"difference": 0.1, "low": None, "high": None}
    headers, rows = table_cells(table, [1])
    assert rows[0][headers.index("mIoU")].endswith("(+10.0 [-, -])")
    assert table_cells(table, [1], intervals=False)[1][0][1].endswith("(+10.0)")


def test_flow(tmp_path: Path) -> None:
    nothing = Interval(math.nan, math.nan, math.nan)._asdict()
    row = {
        "published": None,
        "published_angle": None,
        "errors": [1.0, 2.0, 0.5, math.nan, 1.0],
        "differences": [{"difference": 0.0, "low": 0.0, "high": 0.0}] * 3 + [nothing, nothing],
        "also": {"sintel": {"end_point_error": math.nan, "angular_error": math.nan, "pairs": {"a": math.nan}}},
        "milliseconds": 1.0,
        "peak_mb": None,
    }
    table = finite(_table(row) | {"distances": [3], "published": [], "figure": ["t/new", "t/control"]})
    write_json(tmp_path / "a.json", table)
    assert _read(tmp_path / "a.json") == table
    headers, rows = flow_cells(table)
    assert rows[0][headers.index("3 px")] == "-" and rows[0][headers.index("> 3 px")] == "1.00"
    assert other_cells(table)[1][0] == ["new", "- / -"]
    draw_errors(table, tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"garbage", "cut", "other"])
def test_damaged_scores(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "scores.npz"
    _scores(True).save(path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    kind = FlowScores if content == "other" else SegmentationScores
    with pytest.raises(ValueError, match=r"scores.npz: cannot be read as (Flow|Segmentation)Scores of a table"):
        kind.load(path)
