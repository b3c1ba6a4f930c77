"""Write the generated pages of docs/ and their figures from the JSON and the remarks in results/.

And the tables of docs/everyday.md, docs/export.md, docs/refine.md and docs/separability.md, and the figures of the last
two, whose text is written by hand.

Run as `make docs`. A test compares the pages with the files, so that they cannot say anything else.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.groups.curves import LABELS
from benchmarks.harness.plan import PACKAGES
from benchmarks.harness.tables import HEADERS, case_rows
from benchmarks.registry import GROUPS
from docs.everyday import everyday_page
from docs.markdown import markdown, source, with_made
from docs.scale import scale_page
from docs.values import values_page
from segaware.data import write_png
from segaware.experiments.separability import draw_separability, separability_cells
from segaware.experiments.tasks.flow.tables import draw_displacements, draw_errors, flow_cells, other_cells
from segaware.experiments.tasks.segmentation.tables import draw_trimap, table_cells
from segaware.recipes.names import table_path
from segaware.showcase.photograph import draw_refinements
from segaware.viz.cost_curves import cost_curves

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "results/bench"
SEPARABILITY = ROOT / "results/separability"
EVERYDAY = ROOT / "results/everyday"
SHOWN_HALF_WIDTHS = (1, 3, 5, 10, 20)
LIBRARIES = ("torchvision", "timm", "transformers")
GPU_FACTS = ("triton", "natten", "card", "driver", "cuda", "cudnn")
NO_GPU = (
    "The present Triton kernels have not been measured on a GPU: those of convolution, distances and masks are not "
    "those whose figures stand below as earlier ones, and depthwise convolution had none. They are interpreted "
    "against their references and compiled for compute capability 8.0 and 9.0 in the tests, which look at the machine "
    "code but say nothing about speed; their tiles are untuned guesses. On a machine with an NVIDIA GPU, `make "
    "test-gpu` tests them there, and `make bench-gpu` searches tiles and measures layers beside cuDNN, unfold and the "
    "card's own ceilings, distances beside their memory floor, filters beside NATTEN, SegAwareCRF, whole networks and "
    "converted ones, in less than ten minutes; it writes results/bench/gpu.json and conversion_cuda.json, from which "
    "`make docs` makes sections. The goals, in bfloat16 with 8 images: masked convolution at most 1.25 times plain "
    "convolution forward and 1.5 times with gradients for 3x3 layers of 64 or more channels, and 1.4 times in TF32; "
    "depthwise convolution 1.5 times; every layer at least 5 times as fast and as lean as unfold; distances within 2 "
    "times their memory floor, 4 times with gradients, in float32 too; SegAwareCRF on images of 65x65 in 0.5 ms; "
    "DeepLab with all layers masked, given the embedding, 1.3 times plain inference and 1.6 times a training step; a "
    "converted ResNet-50 and DeepLabV3 on one image 1.4 times the original."
)


def main() -> None:
    """Write the pages and the figures."""
    write_results()
    for group in load_groups(BENCH):
        if group["group"] == "curves":
            draw_curves(group["cases"], ROOT / "docs/figures")
    (ROOT / "docs/benchmarks.md").write_text(benchmarks_page(BENCH))
    (ROOT / "docs/compatibility.md").write_text(compatibility_page(BENCH))
    page_of_exports = ROOT / "docs/export.md"
    page_of_exports.write_text(export_page(page_of_exports.read_text()))
    page_of_photographs = ROOT / "docs/everyday.md"
    page_of_photographs.write_text(everyday_page(page_of_photographs.read_text()))
    page_of_refining = ROOT / "docs/refine.md"
    page_of_refining.write_text(values_page(page_of_refining.read_text()))
    page_of_scale = ROOT / "docs/scale.md"
    page_of_scale.write_text(scale_page(page_of_scale.read_text()))
    page_of_embeddings = ROOT / "docs/separability.md"
    page_of_embeddings.write_text(separability_page(page_of_embeddings.read_text()))
    for values in load_separability():
        draw_separability(values, ROOT / "docs/figures" / _separability_figure(values))
    write_png(ROOT / "docs/figures/refine.png", draw_refinements())


def write_results() -> None:
    """Write the page of results and its figures."""
    for table in load_tables():
        for kind, draw in TASKS[table["task"]].figures.items():
            draw(table, ROOT / "docs/figures" / _figure(table, kind))
    (ROOT / "docs/results.md").write_text(page())


def load_tables() -> list[dict[str, Any]]:
    """Return the tables in results/ that have a section of the page of results, in the order of their names."""
    paths = sorted((ROOT / "results").rglob("*.json"))
    return [json.loads(path.read_text()) for path in paths if not {BENCH, SEPARABILITY, EVERYDAY} & set(path.parents)]


def page() -> str:
    """Return the page."""
    parts = [
        "# Results",
        "Made by `make docs` from the files in [results/](../results), which `segaware table` and `segaware demo` "
        "write. Figures are mean IoU in percent over the whole set: in all pixels, and within some pixels of a border "
        "of the truth; where it was measured, boundary IoU too, and beside them the paper's mean IoU. In brackets: the "
        "difference to the control, with its 95 % interval by paired bootstrap over images. The control starts from "
        "the same weights as the rows below it and trains the same extra steps. ms is the time of one image; peak MB, "
        "the memory it takes (10^6 bytes), is that above what the process held before, on the largest image.",
    ]
    for table in load_tables():
        parts += _section(table)
    return "\n\n".join(parts) + "\n"


def _figure(table: dict[str, Any], kind: str) -> str:
    return f"{_path(table).replace('/', '_')}_{kind}.png"


def _path(table: dict[str, Any]) -> str:
    return table_path(table["table"], table.get("data"))


def _section(table: dict[str, Any]) -> list[str]:
    measured = table["measured"]
    task = TASKS[table["task"]]
    remarks = ROOT / "results" / f"{_path(table)}.md"
    scored = f"{table['about']} Scored on {table['images']} {task.samples}."
    budget = [["method", "seed", "steps", "minutes", "parameters", "hardness"]] + [
        [
            row["title"],
            ", ".join(map(str, row["seed"])) if "seeds" in table else str(row["seed"]),
            str(row["steps"]),
            "-" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}",
            f"{row['parameters']:,}",
            ", ".join(f"{key.removesuffix('.hardness')} {value:.2f}" for key, value in row["hardness"].items()) or "-",
        ]
        for row in table["rows"]
    ]
    headers, rows = task.cells(table)
    return [
        f"## {table['title']}",
        scored,
        markdown([headers, *rows]),
        *([remarks.read_text().strip()] if remarks.is_file() else []),
        *task.shown(table),
        *([_by_seed(table)] if "seeds" in table else []),
        "What each row had, and the hardness it learned:",
        markdown(budget),
        source(measured),
    ]


def _by_seed(table: dict[str, Any]) -> str:
    rows = [["mIoU by seed", *(f"seed {seed}" for seed in table["seeds"])]]
    for row in table["rows"]:
        changes = [(100 * seed["miou"], 100 * seed["miou_difference"]["difference"]) for seed in row["by_seed"]]
        is_control = row["recipe"] == table["control"]
        rows.append([row["title"], *(f"{miou:.1f}" + f" ({d:+.1f})" * (not is_control) for miou, d in changes)])
    return markdown(rows)


def _flow_figures(table: dict[str, Any]) -> list[str]:
    headers, rows = other_cells(table)
    return [
        "Errors of optical flow: the mean end-point error in pixels, over all pixels and over those within some pixels "
        "of a motion boundary (where the true flow of neighbours differs by more than a pixel) or beyond; the mean "
        "angular error in degrees; and Fl, the share of pixels that err by more than 3 pixels and 5 %.",
        f"![End-point error by distance to a motion boundary](figures/{_figure(table, 'errors')})",
        *(["Real pairs, end-point error / angular error:", markdown([headers, *rows])] if rows else []),
        f"![How far pixels move](figures/{_figure(table, 'displacements')})",
    ]


def _trimap(table: dict[str, Any]) -> list[str]:
    return [f"![Mean IoU near borders](figures/{_figure(table, 'trimap')})"]


class _Task(NamedTuple):
    """How the tables of a task are shown."""

    samples: str  # what it is scored on
    cells: Callable[[dict[str, Any]], tuple[list[str], list[list[str]]]]
    figures: dict[str, Callable[[dict[str, Any], Path], None]]  # what draws them, by the end of their names
    shown: Callable[[dict[str, Any]], list[str]]  # what comes after the table


TASKS = {
    "segmentation": _Task(
        "images", partial(table_cells, half_widths=SHOWN_HALF_WIDTHS), {"trimap": draw_trimap}, _trimap
    ),
    "flow": _Task("pairs", flow_cells, {"errors": draw_errors, "displacements": draw_displacements}, _flow_figures),
}


def load_groups(folder: Path) -> list[dict[str, Any]]:
    """Return the groups of the benchmark that were measured, in the order in which they run."""
    paths = [folder / f"{name}.json" for name, group in GROUPS.items() if group.rows == "cases"]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def benchmarks_page(folder: Path) -> str:
    """Return the page of the benchmark whose files are in a folder."""
    parts = [
        "# Benchmarks",
        "Made by `make docs` from the files in [results/bench/](../results/bench), which `make bench` (the quick form) "
        "and `python -m benchmarks --full` write; the contenders are in [benchmarks/peers/](../benchmarks/peers). "
        "Contenders take turns in one process, round after round in random order. A time is the median over the "
        "rounds, in brackets the 10th and 90th percentile. A ratio is that of two times in the same round, again as "
        "median and percentiles. The first call of a contender is timed apart: it may import, compile or read compiled "
        "code.",
    ]
    groups = {group["group"]: group for group in load_groups(folder)}
    curves = groups.pop("curves", None)
    if "gpu" not in groups:
        parts += ["## On a GPU", NO_GPU]
    for group in groups.values():
        parts += [f"## {group['title']}", group["about"], markdown(_bench_rows(group)), _measured(group)]
    for path in sorted((folder / "earlier").glob("*.json")):
        group = json.loads(path.read_text())
        commit = group["measured"]["commit"][:7]
        parts += [
            f"## {group['title']}, commit {commit}",
            f"Earlier figures: kernels have changed since. {group['about']}",
        ]
        parts += [markdown(_bench_rows(group)), _measured(group)]
    if (folder / "refine_memory.json").is_file():
        parts += _refine_memory(json.loads((folder / "refine_memory.json").read_text()))
    if (folder / "refine_folder.json").is_file():
        parts += _refine_folder(json.loads((folder / "refine_folder.json").read_text()))
    if (folder / "remarks.md").is_file():
        parts.append((folder / "remarks.md").read_text().strip())
    if curves is not None:
        parts += [f"## {curves['title']}", curves["about"]]
        parts += [f"![Time and memory against {label}](figures/bench_{sweep}.png)" for sweep, label in LABELS.items()]
        parts += [
            f"* {case['title']}, {row['title']}: {row['problem']}"
            for case in curves["cases"]
            for row in case["rows"]
            if "problem" in row and case["unit"] == "ms"
        ]
        parts.append(_measured(curves))
    return "\n\n".join(parts) + "\n"


def _refine_memory(values: dict[str, Any]) -> list[str]:
    measured, (height, width) = values["measured"], values["size"]
    rows = [
        [row["title"], row["max_memory"], f"{row['seconds']:.0f}", f"{row['peak_mb']:.0f}"] for row in values["rows"]
    ]
    return [
        f"## Refining a photograph of {height * width / 1e6:.0f} megapixels",
        f"`segaware refine` with `--max-memory` on {width}x{height} pixels and "
        f"{values['classes']} classes, each in a process of its own. Peak memory is the most that was resident, "
        "libraries included, in 10^6 bytes.",
        markdown([["method", "--max-memory", "s", "peak MB"], *rows]),
        source(measured),
    ]


def _refine_folder(values: dict[str, Any]) -> list[str]:
    rows = [
        [row["title"], f"{row['seconds']:.1f}", f"{row['images_per_second']:.2f}", f"{row['peak_mb']:.0f}"]
        for row in values["rows"]
    ]
    height, width = values["size"]
    return [
        f"## {values['title']}",
        f"{values['about']} {values['images']} photographs of {width}x{height} pixels and {values['classes']} classes. "
        "Peak memory is that of all processes together, in 10^6 bytes.",
        markdown([["", "s", "images a second", "peak MB"], *rows]),
        source(values["measured"]),
    ]


def _bench_rows(group: dict[str, Any]) -> list[list[str]]:
    rows = [["case", *HEADERS]]
    for case in group["cases"]:
        rows += [["" if i else case["title"], *cells] for i, cells in enumerate(case_rows(case))]
    return rows


def _measured(group: dict[str, Any]) -> str:
    measured = group["measured"]
    # An older file knows fewer, and only that of a GPU knows the last ones.
    names = [name for name in ("python", "torch", *PACKAGES, *LIBRARIES, *GPU_FACTS) if name in measured]
    versions = [f"{name} {measured[name] or 'not installed'}" for name in names]
    return (
        f"`{measured['command']}` ({measured['form']} form, seed {measured['seed']}), {measured['date']}, commit "
        f"{measured['commit']}, {', '.join(versions)}, {measured['machine']}, {measured['os']}."
    )


def draw_curves(cases: list[dict[str, Any]], folder: Path) -> None:
    """Draw time and memory of every sweep."""
    for sweep, label in LABELS.items():
        panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for unit, ylabel in (("ms", "time [ms]"), ("MB", "peak memory above that before the first call [MB]")):
            curves = panels[ylabel] = {}
            for case in cases:
                for row in case["rows"]:
                    if (case["sweep"], case["unit"]) == (sweep, unit) and "value" in row:
                        curves.setdefault(row["title"], []).append((case["x"], row["value"]["median"]))
        cost_curves(panels, label, folder / f"bench_{sweep}.png")


def compatibility_page(folder: Path) -> str:
    """Return the page of the networks that were converted."""
    values = json.loads((folder / "compatibility.json").read_text())
    rows = [["network", "from", "converted", "left alone", "largest difference", "trains", "compiles", "exports"]]
    for network in values["networks"]:
        left = [f"{count}: {reason}" for reason, count in network["left"].items()]
        works = [
            {True: "yes", False: "no", None: "nor does the original", "": "not tried"}[network.get(key, "")]
            for key in ("compile", "export")
        ]
        assert network["changes"], f"{network['name']}: hardness changes nothing"
        rows.append(
            [
                network["name"],
                f"{network['library']} {values['measured'][network['library']]}",
                str(network["converted"]),
                "; ".join(left) or "-",
                f"{network['difference']:.1g}",
                "yes" if network["trains"] else "no",
                *works,
            ]
        )
    measured = values["measured"]
    parts = [
        "# Networks that are converted",
        "Made by `make docs` from what `python -m benchmarks compatibility` finds; the tests convert the same "
        "networks. All convolutions whose window is larger than 1x1 become segmentation-aware. The largest difference "
        "is that to the original at hardness 0, relative to the largest output, in double precision, at two image "
        "sizes, with random weights. A network trains if gradients reach its weights, every hardness and the embedding "
        "network; it compiles if `torch.compile` does it without a break in the graph, for both sizes.",
        markdown(rows),
        source(measured),
    ]
    return "\n\n".join(parts) + "\n"


def load_exports() -> dict[str, Any]:
    """Return what was measured of exported modules."""
    return json.loads((BENCH / "onnx.json").read_text())


def export_page(text: str) -> str:
    """Return the text of docs/export.md with the table as it was measured, between the two comments."""
    exports = load_exports()
    measured, sizes = exports["measured"], " and ".join(f"{height}x{width}" for height, width in exports["sizes"])
    rows = [["module", "largest difference", "largest value", "nodes", "export"]]
    for row in exports["rows"]:
        numbers = [f"{row['difference']:.1e}", f"{row['largest']:.3g}", f"{row['nodes']:,}", f"{row['seconds']} s"]
        rows.append([row["title"], *numbers])
    made = [
        f"The largest difference of onnxruntime {measured['onnxruntime']} to PyTorch on noise of {sizes} pixels, the "
        f"largest value of the output, and the size of the graph and the time to make it, from an example of "
        f"{'x'.join(map(str, exports['example']))}. Networks have their full width, random weights, and the embeddings "
        "that come with segaware.",
        markdown(rows),
        source(measured),
    ]
    return with_made(text, made)


def load_separability() -> list[dict[str, Any]]:
    """Return what was measured of embeddings, in the order of the names of data sets."""
    return [json.loads(path.read_text()) for path in sorted(SEPARABILITY.glob("*.json"))]


def separability_page(text: str) -> str:
    """Return the text of docs/separability.md with tables as they were measured, between the two comments."""
    made = [
        "Areas under the ROC curve, times 100: by the distance of both pixels to a border, then by that between two "
        "pixels anywhere; in brackets the difference to colour with its 95 % interval. Weights are told apart by a "
        "digest of their values."
    ]
    for values in load_separability():
        headers, rows = separability_cells(values)
        digests = [f"{row['embedding']} {row['weights']}" for row in values["rows"] if row["weights"]]
        measured = values["measured"]
        made += [
            f"## {values['separability']}",
            f"{values['images']} of {values['of']} images of the split `{values['split']}`, seed {values['seed']}; "
            f"weights: {', '.join(digests)}.",
            markdown([headers, *rows]),
            f"![Areas by distance on {values['separability']}](figures/{_separability_figure(values)})",
            source(measured),
        ]
    return with_made(text, made)


def _separability_figure(values: dict[str, Any]) -> str:
    return f"separability_{values['separability']}.png"


if __name__ == "__main__":
    main()
