"""The tables of docs/scale.md, from results/bench/shards.json, shards_run.json and processes.json."""

import json
from pathlib import Path
from typing import Any

from docs.markdown import markdown, source, with_made

RESULTS = Path(__file__).parent.parent / "results/bench"


def scale_page(text: str) -> str:
    """Return the text of docs/scale.md with what was measured between the two comments."""
    made: list[str] = []
    for name, tables in (("shards", _shards), ("shards_run", _run), ("processes", _processes)):
        path = RESULTS / f"{name}.json"
        if path.is_file():
            values = json.loads(path.read_text())
            made += [*tables(values), source(values["measured"])]
    return with_made(text, made)


def _shards(values: dict[str, Any]) -> list[str]:
    costs = [row for row in values["rows"] if "scaled" in row]
    (names,) = (row for row in values["rows"] if "names" in row)
    height, width = values["size"]
    return [
        f"A photograph of {width}x{height} pixels with scores of {values['classes']} classes at stride 8 in half "
        "precision, as a sample of a tar shard; seconds of one core:",
        markdown(
            [
                ["written", "seconds", "of them reading and writing the shard", "read", "written"],
                *(
                    [
                        row["title"].rpartition(" ")[2],
                        f"{row['cpu_seconds']:.3f}",
                        f"{row['cpu_seconds_of_shards']:.4f}",
                        _bytes(row["bytes_read"]),
                        _bytes(row["bytes_written"]),
                    ]
                    for row in costs
                ),
            ]
        ),
        f"A photograph in a folder, of {names['names']:,}: {1e6 * names['cpu_seconds']:.0f} microseconds to find it "
        f"with its scores and to look for its output, {names['bytes_held'] / 1000:.1f} kB of the driver's memory, and "
        f"{names['operations']} files or folders that are opened, listed, made, moved or removed.",
        f"Simulated, with a machine of 16 cores lost every {values['years_of_a_machine']:.0f} years:",
        markdown(
            [
                [
                    "photographs",
                    "shards of",
                    "cores",
                    "written",
                    "hours",
                    "without losses",
                    "read",
                    "written",
                    "a second",
                ],
                *(_scaled(row, scaled) for row in costs for scaled in row["scaled"]),
            ]
        ),
    ]


def _run(values: dict[str, Any]) -> list[str]:
    height, width = values["small"]
    return [
        f"Run: {values['photographs']:,} crops of {width}x{height} pixels in {values['shards']} shards, by "
        "actors on a machine that was busy with other work, which the simulation knows as the seconds of the clock "
        "that a photograph took an actor:",
        markdown(
            [
                ["", "images/s", "seconds", "simulated", "a photograph: core", "clock", "load before, after"],
                *(
                    [
                        row["title"],
                        f"{row['images_per_second']:.1f}",
                        f"{row['seconds']:.0f}",
                        f"{row['simulated_seconds']:.0f}",
                        f"{row['cpu_seconds']:.3f} s",
                        f"{row['wall_seconds']:.3f} s",
                        f"{row['load_before']:.1f}, {row['load_after']:.1f}",
                    ]
                    for row in values["rows"]
                ),
            ]
        ),
    ]


def _scaled(row: dict[str, Any], scaled: dict[str, Any]) -> list[str]:
    count = scaled["photographs"]
    per_second = count * (row["bytes_read"] + row["bytes_written"]) / scaled["hours"] / 3600
    return [
        f"{count:,}",
        f"{scaled['shard']:,}",
        f"{scaled['cores']:,}",
        row["title"].rpartition(" ")[2],
        f"{scaled['hours']:.2f}",
        f"{scaled['ideal_hours']:.2f}",
        _bytes(count * row["bytes_read"]),
        _bytes(count * row["bytes_written"]),
        _bytes(per_second),
    ]


def _processes(values: dict[str, Any]) -> list[str]:
    return [
        f"A step of training, the difference of {values['steps'][1]} and {values['steps'][0]} steps, median of "
        f"{values['repeated']} ({values['about']}):",
        markdown(
            [
                ["", "seconds of all cores", "to one process", "of the clock", "to one process", "load before, after"],
                *(
                    [
                        row["title"],
                        f"{row['cpu_seconds']:.3f}",
                        f"{row['cpu_ratio']:.2f}",
                        f"{row['wall_seconds']:.3f}",
                        f"{row['wall_ratio']:.2f}",
                        ", ".join(f"{load:.1f}" for load in row["loads"]),
                    ]
                    for row in values["rows"]
                ),
            ]
        ),
    ]


def _bytes(count: float) -> str:
    for power, unit in ((15, "PB"), (12, "TB"), (9, "GB"), (6, "MB")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count / 1000:.3g} kB"
