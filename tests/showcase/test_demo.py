"""The demo's page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segaware.data import read_image
from segaware.experiments.build import build_network
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import load_table
from segaware.showcase import demo


def test_page_has_table_curve_predictions_and_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def untrained(name: str, recipe: Any, weights: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
        assert weights == tmp_path / "runs" / name / "model.safetensors"
        return build_network(recipe).eval(), {}

    monkeypatch.setattr(demo, "load_network", untrained)
    rows = [{"title": name, "trimap_miou": [0.2, 0.4]} for name in load_table("demo").rows]
    table = {"title": "T", "about": "A", "images": 64, "interval": "95 %", "half_widths": [1, 3], "rows": rows}
    demo.write_page(
        tmp_path / "index.html", table, ["method", "mIoU"], [["DeepLab", "58.5"]], Workspace(tmp_path / "runs")
    )
    page = (tmp_path / "index.html").read_text()
    assert "<td>DeepLab</td>" in page and "58.5" in page
    # One curve, predictions and masks of six scenes, and five pictures of a photograph; all inside the page.
    assert page.count("data:image/png;base64,") == page.count("<img") == 18
    pictures = read_image(tmp_path / "predictions.png")
    first = read_image_of_scene(0)
    assert (pictures[24 : 24 + 192 : 2, 0:192:2] == first).all()  # the first panel: the scene, enlarged twice


def read_image_of_scene(index: int) -> np.ndarray:
    sample = demo.open_data(demo.load_recipe(demo.SEGAWARE), "val", None)[index]
    return (sample.image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
