"""The page of converted networks says what the file in results/bench says."""

import json
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def test_committed_page_is_made_from_the_committed_results(generate: ModuleType) -> None:
    assert (ROOT / "docs/compatibility.md").read_text() == generate.compatibility_page(generate.BENCH), (
        "run `make docs`"
    )


def test_page(generate: ModuleType, tmp_path: Path) -> None:
    network = {
        "library": "timm",
        "name": "a_net",
        "converted": 3,
        "left": {"1x1 window": 2, "Conv2dSame, not a plain Conv2d": 1},
        "difference": 2.34e-14,
        "changes": True,
        "trains": True,
        "compile": None,
        "export": False,
    }
    measured = {"command": "python x.py", "commit": "abc", "torch": "2.13", "machine": "a machine", "timm": "1.2"}
    (tmp_path / "compatibility.json").write_text(json.dumps({"measured": measured, "networks": [network]}))
    left = "2: 1x1 window; 1: Conv2dSame, not a plain Conv2d"
    row = f"| a_net | timm 1.2 | 3 | {left} | 2e-14 | yes | nor does the original | no |"
    assert row in generate.compatibility_page(tmp_path).splitlines()
