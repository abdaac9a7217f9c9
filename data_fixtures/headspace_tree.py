"""Write a folder that looks like the Headspace data set, from made-up heads.

The real data may not be passed on; nothing of it is in here, only its layout and its quirks.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .files import write_image, write_obj
from .head import EXPRESSION, random_identity
from .scan import Scan, random_options, scan

QUIRKS = ("missing_texture", "missing_landmarks", "empty_age", "corrupt_obj", "truncated_obj",
          "no_scan", "vertex_colours", "person_file")
"""What may be odd about a subject; see :func:`write_subject`."""

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


def write_subject(folder: Path, sid: int, seed: int, quirks: Collection[str] = (),
                  vertices: int = 8000, head_of: int | None = None) -> Scan:
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
        "missing_texture" and "missing_landmarks" leave these files out, "empty_age" leaves the age
        empty, "corrupt_obj" writes nonsense into the OBJ file, "truncated_obj" ends it in the
        middle of a line, "no_scan" leaves only the metadata, "vertex_colours" appends r g b to the
        vertices instead of a texture, "person_file" calls the metadata file person<sid>.txt.
    vertices : int
        About how many vertices the scan has (the real ones have 180,000).
    head_of : int, optional
        Put the scan of another subject here.

    Returns
    -------
    Scan
        What was written, with the truth.
    """
    unknown = set(quirks) - set(QUIRKS)
    if unknown:
        raise ValueError(f"unknown quirks {sorted(unknown)}; known are {list(QUIRKS)}")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, sid if head_of is None else head_of])
    stamp = rng.integers([1, 1, 0, 0, 0], [13, 29, 24, 60, 60])
    root = "13" + "".join(f"{part:02d}" for part in stamp)
    options = random_options(rng, vertices=vertices, headspace_frame=True, cap=True,
                             texture_size=256)
    expression = rng.uniform(0, 0.5, len(EXPRESSION)) * (rng.random() < 0.3)
    result = scan(random_identity(rng), expression, rng, options)

    about = np.random.default_rng([seed, sid, 1])
    age = "" if "empty_age" in quirks else str(about.integers(1, 90))
    rows = _metadata(sid, result, age, about)
    name = f"person{sid:05d}.txt" if "person_file" in quirks else "subject.txt"
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
    text = path.read_text()
    if "corrupt_obj" in quirks:
        path.write_text(text[:2000] + "\nv 1.0 abc 2.0\nf 1 2 99999999\n")
    if "truncated_obj" in quirks:
        path.write_text(text[:len(text) // 2].rstrip("\n")[:-3])
    if "missing_landmarks" not in quirks:
        marks = noisy_landmarks(result, rng)[_JAW_QUIRK] + 1
        (folder / f"ldmks{root}.txt").write_text("".join(f"{k}\n" for k in marks))
    return result


def write_tree(folder: Path, subjects: Sequence[int], seed: int,
               quirks: Mapping[int, Collection[str]] | None = None, vertices: int = 8000,
               version: str = "v02") -> dict[int, Scan]:
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
        See :func:`write_subject`.
    vertices : int
        Of each scan.
    version : "v02" or "v01"
        In v01 there is no subject 1519: its scan stands in the folder of subject 1400.

    Returns
    -------
    dict of int to Scan
    """
    if version not in ("v01", "v02"):
        raise ValueError(f"version must be 'v01' or 'v02', not {version!r}")
    base, written = folder / "headspaceOnline" / "subjects", {}
    for sid in subjects:
        if version == "v01" and sid == 1519:
            continue
        head_of = 1519 if version == "v01" and sid == 1400 else None
        written[sid] = write_subject(base / f"{sid:05d}", sid, seed, (quirks or {}).get(sid, ()),
                                     vertices, head_of)
    return written
