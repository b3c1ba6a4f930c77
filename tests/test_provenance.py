"""Where a number comes from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import segaware
from segaware import provenance as module
from segaware.provenance import provenance, write_json


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit that seems to hold segaware."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "provenance.py").write_text("first")
    _git(folder, "init")
    _git(folder, "add", "provenance.py")
    _git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "-m", "first")
    monkeypatch.setattr(module, "__file__", str(folder / "provenance.py"))
    return folder


def _git(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def test_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/segaware", "train", "demo/baseline", "title=two words"])
    values = provenance()
    assert values["command"] == "segaware train demo/baseline 'title=two words'"
    assert (values["segaware"], values["torch"]) == (segaware.__version__, torch.__version__)
    assert f"{os.cpu_count()} cores, {torch.get_num_threads()} threads" in values["machine"]


def test_paths_are_those_seen_from_the_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    arguments = ["--data-root", str(tmp_path / "data"), f"start.vgg={tmp_path / 'here/vgg'}", "--out", "results"]
    monkeypatch.setattr(sys, "argv", ["segaware", "train", *arguments])
    relative = Path("../data"), Path("vgg")
    assert provenance()["command"] == f"segaware train --data-root {relative[0]} start.vgg={relative[1]} --out results"


def test_commit_of_a_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("SEGAWARE_COMMIT", "told")
    assert provenance()["commit"] == "told"


def test_commit(repository: Path) -> None:
    commit = _git(repository, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert provenance()["commit"] == commit
    (repository / "provenance.py").write_text("second")
    assert provenance()["commit"] == f"{commit} with uncommitted changes"


def test_package_installed_below_someone_s_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = repository / ".venv" / "segaware"
    installed.mkdir(parents=True)
    (installed / "provenance.py").touch()
    monkeypatch.setattr(module, "__file__", str(installed / "provenance.py"))
    assert provenance()["commit"] is None


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    assert provenance()["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert provenance()["commit"] is None


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "values.json"
    write_json(path, {"miou": 0.5, "rows": [1, None]})
    assert json.loads(path.read_text()) == {"miou": 0.5, "rows": [1, None]}
    with pytest.raises(TypeError):
        write_json(path, {"miou": torch.ones(2)})
    assert json.loads(path.read_text())["miou"] == 0.5
    assert list(path.parent.iterdir()) == [path]


def test_json_has_no_nan(tmp_path: Path) -> None:
    values = {"miou": float("nan"), "rows": [1.5, (float("inf"), {"low": -float("inf")})], "seed": 3, "name": None}
    write_json(tmp_path / "a.json", values)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert read == {"miou": None, "rows": [1.5, [None, {"low": None}]], "seed": 3, "name": None}
