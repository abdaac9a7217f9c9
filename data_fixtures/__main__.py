"""Write fixtures: the embedded demo, sets of scans with their truth, a Headspace-like tree."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from .companions import write_realy
from .files import write_image, write_obj
from .head import random_expression, random_identity, template
from .headspace_tree import SUBJECTS, Extras, every_quirk, lyhm_list, write_tree
from .scan import Scan, ScanOptions, random_options, scan

DEMO_SEED = 9


def _truth(result: Scan, resolution: int) -> dict[str, Any]:
    return {"gt_vertices": result.truth.astype(np.float32), "covered": result.covered,
            "R": result.rotation, "t": result.translation, "unit": result.unit,
            "identity": np.asarray(result.identity), "expression": np.asarray(result.expression),
            "template_landmarks": template(resolution).landmarks.astype(np.int32),
            "scan_landmarks": result.landmarks.astype(np.int32)}


def write_demo(folder: Path) -> None:
    """Write the files of the demo that comes with the package."""
    folder.mkdir(parents=True, exist_ok=True)
    mean = template()
    write_obj(folder / "template.obj", mean.vertices, mean.faces, mean.uv)
    (folder / "regions.json").write_text(json.dumps(
        {"regions": {name: ids.tolist() for name, ids in sorted(mean.regions.items())}}) + "\n")
    identity = 0.8 * random_identity(np.random.default_rng(DEMO_SEED))
    rng = np.random.default_rng([DEMO_SEED, 4])
    options = ScanOptions(vertices=21000, spikes=1, debris=1, holes=1, chin_hole=True,
                          ear_dropouts=True, cap=True, hair=2.0, seam=0.3, headspace_frame=True,
                          tilt=6.0, texture_size=1024)
    result = scan(identity, np.zeros(3), rng, options)
    write_obj(folder / "scan.obj", result.vertices, result.faces, result.uv, texture="scan.jpg",
              digits=2)
    write_image(folder / "scan.jpg", result.texture)
    np.savez_compressed(folder / "truth.npz", **_truth(result, 5000))


def write_scans(folder: Path, count: int, seed: int, vertices: int, resolution: int) -> None:
    """Write a template, scan_XXX.ply and gt_XXX.npz, and meta.json with what was done to them."""
    folder.mkdir(parents=True, exist_ok=True)
    mean = template(resolution)
    write_obj(folder / "template.obj", mean.vertices, mean.faces, mean.uv)
    meta = []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        identity = random_identity(rng)
        expression = random_expression(rng) * (rng.random() < 0.4)
        options = random_options(rng, vertices=vertices)
        result = scan(identity, expression, rng, options, resolution)
        mesh = trimesh.Trimesh(result.vertices.astype(np.float32), result.faces,
                               vertex_colors=result.colours, process=False)
        mesh.export(folder / f"scan_{k:03d}.ply")
        np.savez_compressed(folder / f"gt_{k:03d}.npz", **_truth(result, resolution))
        meta.append(asdict(options))
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def write_headspace(folder: Path, count: int, seed: int, vertices: int, version: str,
                    resolution: int) -> None:
    """Write a tree with every quirk and all that belongs to it.

    The subjects are 1, 2, ..., but for the last three: 1400 and 1518, in which the versions differ
    or end, and 1519 (01519 is missing in version v01).
    """
    special = [1400, SUBJECTS - 1, SUBJECTS][-max(count - 1, 0):] if count > 1 else []
    subjects = [*range(1, count - len(special) + 1), *special]
    quirks = every_quirk(subjects, seed)
    extras = Extras(photographs=("1C", "2C"), annotations=True, flame=True, truth=True)
    written = write_tree(folder, subjects, seed, quirks, vertices, version, extras, resolution)
    write_realy(folder / "REALY", dict(list(written.items())[:3]), resolution)
    (folder / "lyhm_subjects.txt").write_text(
        "".join(f"{sid}\n" for sid in lyhm_list(subjects, seed)))
    (folder / "quirks.json").write_text(
        json.dumps({f"{sid:05d}": names for sid, names in sorted(quirks.items())}, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of python -m data_fixtures."""
    parser = argparse.ArgumentParser(prog="python -m data_fixtures", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the demo that comes with the package")
    scans = commands.add_parser("scans", help="scans with their truth")
    tree = commands.add_parser("tree", help="a folder like the Headspace data set")
    for command in (demo, scans, tree):
        command.add_argument("folder", type=Path)
    for command in (scans, tree):
        command.add_argument("count", type=int)
        command.add_argument("seed", type=int)
        command.add_argument("--vertices", type=int, default=40000 if command is scans else 8000)
        command.add_argument("--resolution", type=int, help="of the template",
                             default=11000 if command is scans else 5000)
    tree.add_argument("--version", choices=("v01", "v02"), default="v02")
    given = parser.parse_args(arguments)
    if given.command == "demo":
        write_demo(given.folder)
    elif given.command == "scans":
        write_scans(given.folder, given.count, given.seed, given.vertices, given.resolution)
    else:
        write_headspace(given.folder, given.count, given.seed, given.vertices, given.version,
                        given.resolution)


if __name__ == "__main__":
    main()
