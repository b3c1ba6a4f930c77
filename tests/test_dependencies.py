"""What each room imports is what pyproject.toml says it may need: the dependencies, or an extra."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import segaware
from segaware.extras import EXTRAS

tomllib = pytest.importorskip("tomllib")  # since Python 3.11

PACKAGE = Path(segaware.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml"}  # not named as their modules

# The extras that packages need beside the dependencies; "" is the modules beside them, the ground floor.
NEEDED = {
    "": ["train", "export"],  # progress bars; ONNX
    "ops": ["triton"],
    "nn": ["train"],  # the Hub
    "models": ["flow"],
    "cluster": [],
    "refining": ["train"],  # files
    "data": ["train", "flow"],
    "metrics": ["train"],
    "viz": ["train"],
    "recipes": ["train"],
    "training": ["train"],
    "experiments": ["train"],
    "showcase": ["train"],
    "tuning": [],
    "cli": ["train"],
}
ROOMS = ["", *sorted({path.parent.name for path in PACKAGE.glob("*/*.py")})]


@pytest.fixture(scope="module")
def declared() -> dict[str, set[str]]:
    """What the dependencies ("") and each extra bring, themselves alone."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {name: {canonicalize_name(Requirement(line).name) for line in lines} for name, lines in groups.items()}


def test_doctor_knows_all_extras(declared: dict[str, set[str]]) -> None:
    assert EXTRAS.keys() == declared.keys() - {""}


@pytest.mark.parametrize("room", ROOMS)
def test_imports(room: str, declared: dict[str, set[str]]) -> None:
    files = (PACKAGE / room).rglob("*.py") if room else PACKAGE.glob("*.py")
    imports = [(file, module, extra) for file in files for module, extra in imported(ast.parse(file.read_text()))]
    assert imports
    for file, module, extra in imports:
        package = DISTRIBUTIONS.get(module, canonicalize_name(module))
        allowed = [extra] if extra else ["", *NEEDED.get(room, [])]
        assert any(package in declared[name] for name in allowed), f"{file.name} imports {module}, of none of {allowed}"


def imported(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """The top modules that a file imports of other packages, and the extra that `import_extra` names for them."""
    for node in ast.walk(tree):
        modules, extra = [], None
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "import_extra"
            and isinstance(node.args[0], ast.Constant)  # rather than a variable
        ):
            modules, extra = [node.args[0].value], ast.literal_eval(node.args[2])
        for module in modules:
            if (top := module.partition(".")[0]) not in {*sys.stdlib_module_names, "segaware"}:
                yield top, extra
