"""Write a folder that looks like the Headspace data set, from made-up heads.

The real data may not be passed on; nothing of it is in here, only its layout and its quirks.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .cameras import VIEWS, photograph, views, write_tka
from .companions import write_flame
from .contours import contours, draw_views, write_drawings
from .files import write_image, write_obj
from .head import EXPRESSION, random_identity, template
from .scan import Scan, random_options, scan

QUIRKS = ("missing_texture", "missing_mtl", "missing_landmarks", "empty_age", "corrupt_obj",
          "truncated_obj", "no_scan", "vertex_colours", "person_file", "non_manifold",
          "missing_metadata", "truncated_landmarks")
"""What may be odd about a subject; see :func:`write_subject`."""

SUBJECTS = 1519
LYHM_SUBJECTS = 1212

_JAW_QUIRK = np.r_[0:9, 16:8:-1, 17:68]
"""Line k of a landmark file holds iBUG landmark _JAW_QUIRK[k]: 9 to 16 run from ear to chin."""


def noisy_landmarks(result: Scan, rng: np.random.Generator, error: float = 4.0
                    ) -> NDArray[np.int64]:
    """Scan vertices (68,) about `error` mm from the true landmarks, in iBUG order."""
    v = result.vertices / result.unit
    shift = rng.normal(0, error / 1.4, (68, 3))
    return np.asarray(cKDTree(v).query(v[result.landmarks] + shift)[1])


def _metadata(sid: int, result: Scan, age: str, rng: np.random.Generator) -> dict[str, str]:
    options = result.options

    def flag(value: object) -> str:
        return "1" if value else "0"

    return {
        "id": f"{sid:05d}",
        "gender": str(rng.choice(["male", "female"])),
        "age": age,
        "declaredethnicGroup": str(rng.choice(["white british", "asian: chinese", "mixed"])),
        "eyeColour": str(rng.choice(["blue", "brown", "green"])),
        "hairColour": str(rng.choice(["brown", "black", "blonde"])),
        "beardDescriptor": "none",
        "moustacheDescriptor": "none",
        "expression": "neutral" if not np.any(result.expression) else "other",
        "spectaclesFlag": "0",
        "hairBulgeFlag": flag(options.hair > 3),
        "capArtefactFlag": flag(options.cap),
        "cranialHoleFlag": flag(options.cranial_hole),
        "underChinHoleFlag": flag(options.chin_hole),
        "qualityDescriptor": "good: no visible problems" if not options.spikes else "spikes",
    }


def capture_root(sid: int, seed: int) -> str:
    """The twelve digits, year to second, that files of a capture are called by."""
    stamp = np.random.default_rng([seed, sid]).integers([1, 1, 0, 0, 0], [13, 29, 24, 60, 60])
    return "13" + "".join(f"{part:02d}" for part in stamp)


def _spoil(result: Scan) -> Scan:
    """Add what no manifold has, and vertices that no face uses."""
    v, f, n = result.vertices, result.faces, len(result.vertices)
    a, b, c = f[len(f) // 2]
    i = int(f[len(f) // 3, 0])
    up = 3.0 * result.unit * (result.rotation @ [0.0, 1.0, 0.0])
    side = 3.0 * result.unit * (result.rotation @ [1.0, 0.0, 0.0])
    more = np.stack([v[a] + up, v[i] + up, v[i] + up + side, v[i] - up, v[i] - up + side, v[c]])
    faces = [[a, b, n],  # a third face on an edge
             [a, b, c],  # a face twice
             [i, n + 1, n + 2], [i, n + 3, n + 4],  # two that share a vertex alone
             [a, a, b], [a, b, a], [c, n + 5, b]]  # without area; vertex n + 5 lies on c
    unused = np.repeat(v[:1], 3, 0) + up
    count = len(more) + len(unused)
    return replace(result, vertices=np.concatenate([v, more, unused]),
                   faces=np.concatenate([f, np.array(faces)]),
                   uv=np.concatenate([result.uv, np.repeat(result.uv[[i]], count, 0)]),
                   colours=np.concatenate([result.colours, np.repeat(result.colours[[i]], count,
                                                                     0)]))


def write_subject(folder: Path, sid: int, seed: int, quirks: Collection[str] = (),
                  vertices: int = 8000, head_of: int | None = None, resolution: int = 5000
                  ) -> Scan:
    """Write one subject's folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    sid : int
        Number of the subject.
    seed : int
        Seed of the data set.
    quirks : collection of str
        "missing_texture", "missing_mtl", "missing_landmarks" and "missing_metadata" leave these
        files out, "empty_age" leaves the age empty, "corrupt_obj" writes nonsense into the OBJ
        file, "truncated_obj" ends it in the middle of a line, "no_scan" leaves only the metadata,
        "vertex_colours" appends r g b to the vertices instead of a texture, "person_file" calls
        the metadata file <sid>person<sid>.txt, "non_manifold" adds edges with three faces, faces
        without area, duplicates and unused vertices, "truncated_landmarks" ends that file early.
    vertices : int
        About how many vertices the scan has (the real ones have 180,000).
    head_of : int, optional
        Put the scan of another subject here.
    resolution : int
        Of the template whose true vertex positions are wanted.

    Returns
    -------
    Scan
        What was written, with the truth.
    """
    unknown = set(quirks) - set(QUIRKS)
    if unknown:
        raise ValueError(f"unknown quirks {sorted(unknown)}; known are {list(QUIRKS)}")
    folder.mkdir(parents=True, exist_ok=True)
    scanned = sid if head_of is None else head_of
    rng, root = np.random.default_rng([seed, scanned, 0]), capture_root(scanned, seed)
    options = random_options(rng, vertices=vertices, headspace_frame=True, cap=True,
                             texture_size=256)
    expression = rng.uniform(0, 0.5, len(EXPRESSION)) * (rng.random() < 0.3)
    result = scan(random_identity(rng), expression, rng, options, resolution)
    if "non_manifold" in quirks:
        result = _spoil(result)

    about = np.random.default_rng([seed, sid, 1])
    age = "" if "empty_age" in quirks else str(about.integers(1, 90))
    rows = _metadata(sid, result, age, about)
    if sid == SUBJECTS:  # the girl whose scan moved
        rows |= {"gender": "female", "age": "8"}
    name = f"{sid:05d}person{sid:05d}.txt" if "person_file" in quirks else "subject.txt"
    if "missing_metadata" not in quirks:
        (folder / name).write_text("".join(f"{key}:{value}\n" for key, value in rows.items()))
    if "no_scan" in quirks:
        return result

    path = folder / f"{root}.obj"
    if "vertex_colours" in quirks:
        write_obj(path, result.vertices, result.faces, colours=result.colours)
    else:
        write_obj(path, result.vertices, result.faces, result.uv, texture=f"{root}.bmp")
        if "missing_texture" not in quirks:
            write_image(folder / f"{root}.bmp", result.texture)
    if "missing_mtl" in quirks:
        path.with_suffix(".mtl").unlink(missing_ok=True)
    text = path.read_text()
    if "corrupt_obj" in quirks:
        path.write_text(text[:2000] + "\nv 1.0 abc 2.0\nf 1 2 99999999\n")
    if "truncated_obj" in quirks:
        path.write_text(text[:len(text) // 2].rstrip("\n")[:-3])
    if "missing_landmarks" not in quirks:
        marks = noisy_landmarks(result, rng)[_JAW_QUIRK] + 1
        marks = marks[:40] if "truncated_landmarks" in quirks else marks
        (folder / f"ldmks{root}.txt").write_text("".join(f"{k}\n" for k in marks))
    return result


@dataclass(frozen=True)
class Extras:
    """What is written beside the scans.

    Attributes
    ----------
    photographs : sequence of str
        Views (of :data:`data_fixtures.cameras.VIEWS`) to photograph. If there is any, all cameras
        are written, to headspacePngTka/subjects/<sid>/<root>/.
    size : (int, int)
        Of a photograph.
    annotations : bool
        Draw the true contours on the photographs of the first two of these views, in
        annotations/<sid>/.
    flame : bool
        Registrations and parameters, in MICA-FLAME/LYHM/.
    truth : bool
        template.obj, template.json (landmarks, regions, contours) and truth/<sid>.npz: positions
        of the template's vertices in the frame of the scan, and whether the scan covers them.
    """

    photographs: Sequence[str] = ()
    size: tuple[int, int] = (300, 400)
    annotations: bool = False
    flame: bool = False
    truth: bool = False


def write_tree(folder: Path, subjects: Sequence[int], seed: int,
               quirks: Mapping[int, Collection[str]] | None = None, vertices: int = 8000,
               version: str = "v02", extras: Extras | None = None, resolution: int = 5000
               ) -> dict[int, Scan]:
    """Write folder/headspaceOnline/subjects/<sid>/ for the subjects named.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    subjects : sequence of int
        Numbers, from 1.
    seed : int
        Seed of the data set; the same subject is the same whatever others are written.
    quirks : mapping of subjects to quirks, optional
        See :func:`write_subject` and :func:`every_quirk`.
    vertices : int
        Of each scan.
    version : "v02" or "v01"
        In v01 there is no subject 1519: its scan stands in the folder of subject 1400.
    extras : Extras, optional
        What else to write; default: nothing.
    resolution : int
        Of the template whose true vertex positions are wanted.

    Returns
    -------
    dict of int to Scan
        By the number of the folder.
    """
    if version not in ("v01", "v02"):
        raise ValueError(f"version must be 'v01' or 'v02', not {version!r}")
    base, written, extras = folder / "headspaceOnline" / "subjects", {}, extras or Extras()
    if extras.truth:
        write_truth(folder, resolution)
    for sid in subjects:
        if version == "v01" and sid == SUBJECTS:
            continue
        head_of = SUBJECTS if version == "v01" and sid == 1400 else None
        written[sid] = write_subject(base / f"{sid:05d}", sid, seed, (quirks or {}).get(sid, ()),
                                     vertices, head_of, resolution)
        _write_extras(folder, sid, capture_root(head_of or sid, seed), seed, written[sid], extras,
                      resolution)
    return written


def write_truth(folder: Path, resolution: int = 5000) -> None:
    """Write template.obj, and template.json with its landmarks, regions and contours."""
    folder.mkdir(parents=True, exist_ok=True)
    mean = template(resolution)
    write_obj(folder / "template.obj", mean.vertices, mean.faces, mean.uv)
    (folder / "template.json").write_text(json.dumps({
        "landmarks": mean.landmarks.tolist(),
        "regions": {name: ids.tolist() for name, ids in mean.regions.items()},
        "contours": {name: ids.tolist() for name, ids in contours(mean).items()}}) + "\n")


def _write_extras(folder: Path, sid: int, root: str, seed: int, result: Scan, extras: Extras,
                  resolution: int) -> None:
    if extras.truth:
        (folder / "truth").mkdir(exist_ok=True)
        np.savez_compressed(folder / "truth" / f"{sid:05d}.npz", covered=result.covered,
                            vertices=result.truth.astype(np.float32), rotation=result.rotation,
                            translation=result.translation)
    if extras.flame:
        write_flame(folder / "MICA-FLAME" / "LYHM", sid, root, result, resolution)
    if not extras.photographs and not extras.annotations:
        return
    cameras = views(result, np.random.default_rng([seed, sid, 2]), extras.size)
    place = folder / "headspacePngTka" / "subjects" / f"{sid:05d}" / root
    place.mkdir(parents=True, exist_ok=True)
    for name in VIEWS:
        write_tka(place / f"calib_{name}.tka", cameras[name])
    for name in extras.photographs:
        write_image(place / f"{name}.png", photograph(cameras[name], result)[0])
    if extras.annotations:
        names = list(extras.photographs[:2]) or ["1C", "2C"]
        lines = contours(template(resolution))
        write_drawings(folder / "annotations" / f"{sid:05d}",
                       draw_views(result, cameras, lines, names))


def every_quirk(subjects: Sequence[int], seed: int) -> dict[int, tuple[str, ...]]:
    """Give every quirk to one subject in twenty (to one at least), as far as there are subjects.

    Subjects 1400, 1518 and 1519, which tell the versions apart, stay as they are.
    """
    rng = np.random.default_rng(seed)
    free = [s for s in subjects if s not in (1400, SUBJECTS - 1, SUBJECTS)]
    order = [int(s) for s in rng.permutation(free)]
    share = min(max(1, len(free) // 20), max(1, len(free) // (2 * len(QUIRKS))))
    return {sid: (QUIRKS[k // share],) for k, sid in enumerate(order[:share * len(QUIRKS)])}


def lyhm_list(subjects: Sequence[int], seed: int) -> list[int]:
    """Choose the 1212 of the 1519 subjects a head model is made of, four fifths of those here."""
    rng = np.random.default_rng([seed, LYHM_SUBJECTS])
    here = rng.permutation(np.unique(subjects))[:round(0.8 * len(set(subjects)))]
    rest = np.setdiff1d(np.arange(1, SUBJECTS + 1), subjects)
    return sorted(np.r_[here, rng.permutation(rest)][:LYHM_SUBJECTS].tolist())
