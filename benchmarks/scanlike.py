"""Error on simulated scans whose truth is known, from their raw pose and without arguments.

``python -m benchmarks.scanlike TEMPLATE FOLDER [...]``: the template is a mesh file, or an ``.npz``
with ``neutral`` and ``tris_skin``; each folder holds ``scan_XXX.ply`` and ``gt_XXX.npz`` with
``gt_vertices``, the true positions of the template's vertices (and maybe of more after them).

Columns, in the unit of the scans: error (distance of a vertex to its true place) over covered
vertices (truth within 3 mm of a scan vertex): mean, median, 95 %; mean over all vertices; median
distance to the surface; seconds of the call after a first one, and of the template's set-up.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree

import licp


def load_template(path: Path) -> Any:
    """A template, its skin only where there is more."""
    if path.suffix != ".npz":
        return licp.load_mesh(path)
    model = np.load(path)
    faces = model["tris_skin"]
    return model["neutral"][: faces.max() + 1].astype(float), faces


def main(template: Path, folders: list[Path]) -> None:
    """Print one row a scan and the means."""
    morpher = licp.Morpher(load_template(template))
    n = len(morpher.template.vertices)
    print(f"licp {licp.__version__}, {morpher.backend}, template {template.name}: {n} vertices")
    print(f"{'scan':40s}   mean median    p95    all surface seconds")
    rows = []
    for folder in folders:
        for path in sorted(folder.glob("scan_*.ply")):
            scan = licp.load_mesh(path)
            if not rows:
                morpher.morph(scan)  # compiles, or loads what was compiled
            start = time.perf_counter()
            fit = morpher.morph(scan)
            seconds = time.perf_counter() - start
            truth = np.load(path.parent / path.name.replace("scan", "gt").replace("ply", "npz"))
            places = truth["gt_vertices"][:n].astype(float)
            error = np.linalg.norm(fit.vertices - places, axis=1)
            covered = np.asarray(KDTree(scan.vertices).query(places)[0]) < 3.0
            near = fit.quality.template_to_scan
            e = error[covered]
            rows.append(
                (e.mean(), np.median(e), np.quantile(e, 0.95), error.mean(),
                 near.median if near else np.nan, seconds)
            )  # fmt: skip
            name = f"{folder.name}/{path.name}"
            print(f"{name:40s} " + " ".join(f"{x:6.3f}" for x in rows[-1]), flush=True)
    print(f"{'mean':40s} " + " ".join(f"{x:6.3f}" for x in np.mean(rows, axis=0)))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [Path(x) for x in sys.argv[2:]])
