"""What `segaware refine` does with COCO annotations."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm.auto import tqdm

from segaware.cluster.ray_actors import Cluster
from segaware.refining.change_report import read_rejected
from segaware.refining.refine_annotations import put_back, refine_annotations
from segaware.refining.score_files import FileSettings


def refine_all(
    photographs: Path,
    annotations: Path,
    out: Path,
    how: FileSettings,
    report: Path | None,
    reject: Path | None,
    cluster: Cluster | None,
) -> bool:
    """Refine annotations, or put back what is rejected; tell what went wrong, and return whether all went well."""
    if reject is not None:
        put_back(annotations, out, read_rejected(reject))
        return True
    failed = 0
    with refine_annotations(photographs, annotations, out, how, report, cluster) as (total, done, work):
        if done:
            print(f"going on after {done} of {total} images", file=sys.stderr)
        for outcome in (bar := tqdm(work, "refining", total, unit="image", disable=None)):
            if outcome.error is not None:
                failed += 1
                bar.write(f"segaware: {outcome.image}: {outcome.error}", file=sys.stderr)
            for vanished in outcome.vanished:
                bar.write(f"{outcome.image}: {vanished}", file=sys.stderr)
    if failed:
        print(f"{failed} of {total} images keep their annotations: see {out.with_name('failed.csv')}", file=sys.stderr)
    return not failed
