"""One Headspace subject: where its files are, and reading them one by one."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from licp.errors import DatasetError, MeshError
from licp.files import read_text
from licp.headspace.cameras import Camera, read_camera
from licp.headspace.flame import FlameFit, read_flame_mesh, read_flame_parameters
from licp.headspace.landmarks import ScanLandmarks, read_landmark_ids
from licp.headspace.metadata import Metadata, parse_metadata
from licp.headspace.pose import upright_pose
from licp.io import load_mesh
from licp.mesh import Mesh
from licp.similarity import Similarity

__all__ = ["PARTS", "Subject", "list_folder"]

PARTS = ("scan", "texture", "landmarks", "metadata", "images", "cameras", "flame")
"""What a subject may have; see :attr:`Subject.parts`."""

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Subject:
    """A subject. Nothing is read before it is asked for; every part may be missing.

    Whatever is wrong with the files of a subject, reading a part raises a
    :class:`~licp.errors.LicpError` that names the subject or the file, so that a run over many
    subjects has one kind of exception to catch.  Subjects can be pickled.

    Attributes
    ----------
    id : str
        Five digits.
    path : Path
        Folder of the scan.
    image_folder : Path or None
        Where folders of images are looked for: ``headspacePngTka/subjects/<id>``.
    flame_folder : Path or None
        What holds ``registrations`` and ``FLAME_parameters``.
    corrected : Metadata or None
        Known better than what the folder says (see :attr:`Headspace.version`).
    """

    id: str
    path: Path
    image_folder: Path | None = None
    flame_folder: Path | None = None
    corrected: Metadata | None = None

    def __str__(self) -> str:
        """The id."""
        return self.id

    @property
    def parts(self) -> frozenset[str]:
        """Which of :data:`PARTS` the subject has a file for. Nothing is read."""
        find: dict[str, Callable[[], Any]] = {
            "scan": lambda: self.scan_path,
            "texture": lambda: self.texture_path,
            "landmarks": lambda: self.landmark_path,
            "metadata": lambda: self.metadata_path,
            "images": self.images,
            "cameras": lambda: self._calibrations,
            "flame": lambda: self._flame_paths,
        }
        return frozenset(name for name in PARTS if _found(find[name]))

    @property
    def scan_path(self) -> Path:
        """The OBJ file.

        Raises
        ------
        DatasetError
            If there is none, or several that could be meant.
        """
        return self._one("scan", "an .obj file", r".*\.obj", r"\d{12}\.obj")

    @property
    def texture_path(self) -> Path:
        """The image that colours the scan.

        Raises
        ------
        DatasetError
            If there is none, or several that could be meant.
        """
        endings = "|".join(e[1:] for e in _IMAGES)
        root = re.escape(self.scan_path.stem)
        return self._one("texture", "an image", rf".*\.({endings})", rf"{root}\.({endings})")

    @property
    def landmark_path(self) -> Path:
        """The file of landmarks. Raises DatasetError if there is none, or several."""
        return self._one("landmarks", "a file ldmks*.txt", r"ldmks.*\.txt", r"ldmks\d{12}\.txt")

    @property
    def metadata_path(self) -> Path:
        """The file of metadata. Raises DatasetError if there is none, or several."""
        what = "a file subject.txt or *person*.txt"
        return self._one("metadata", what, r"(subject|.*person).*\.txt", r"subject\.txt")

    @cached_property
    def metadata(self) -> Metadata:
        """What is known of the subject and the capture.

        Raises
        ------
        DatasetError
            If there is no such file, or nothing to be understood in it.
        """
        if self.corrected is not None:
            return self.corrected
        path = self.metadata_path
        return parse_metadata(read_text(path, DatasetError), path)

    def scan(self) -> Mesh:
        """The scan as it is in its file: raw frame, mm, vertex order and texture path kept.

        Raises
        ------
        DatasetError
            If the subject has no scan.
        MeshFileError, MeshError
            If the file is damaged; with the place.
        """
        path = self.scan_path
        try:
            mesh = load_mesh(path)
        except MeshError as error:  # which knows the name of the file alone
            raise MeshError(f"subject {self.id}: {error}") from error
        if mesh.texture is None and mesh.uv is not None and _found(lambda: self.texture_path):
            # Without its .mtl the OBJ does not say which image, but the name does.
            return Mesh(
                mesh.vertices,
                mesh.corners,
                uv=mesh.uv,
                uv_faces=mesh.uv_faces,
                colors=mesh.colors,
                face_materials=mesh.face_materials,
                materials=mesh.materials,
                texture=self.texture_path,
                name=mesh.name,
            )
        return mesh

    def landmarks(self, scan: Mesh | None = None) -> ScanLandmarks:
        """The 68 landmarks in the order of iBUG-68.

        Parameters
        ----------
        scan : Mesh, optional
            What :meth:`scan` returned; saves reading it again.

        Raises
        ------
        DatasetError
            If the subject has no landmarks, their file is damaged or does not fit the scan.
        MeshFileError, MeshError
            If the scan is damaged.
        """
        path = self.landmark_path
        ids = read_landmark_ids(path)
        return ScanLandmarks.on(self.scan() if scan is None else scan, ids, path)

    def upright(self, scan: Mesh | None = None) -> Similarity:
        """The map from the raw frame to an upright one; see :func:`upright_pose`."""
        return upright_pose((self.scan() if scan is None else scan).vertices)

    def images(self) -> dict[str, Path]:
        """Photographs by the name of the view, "1A" to "5C".

        Raises
        ------
        DatasetError
            If there are none.
        """
        files = _files(self._capture_folder)
        found = {p.stem: p for p in files if p.suffix.lower() in _IMAGES}
        if not found:
            raise self._lacks("images", f"no image in {self._capture_folder}")
        return found

    def image(self, view: str) -> NDArray[np.uint8]:
        """One photograph, (height, width, 3) uint8.

        Raises
        ------
        DatasetError
            If there is no such view, or its file is damaged.
        """
        return _read_image(self._view(self.images(), view, "image"))

    def cameras(self) -> dict[str, Camera]:
        """Cameras by the name of the view, in the frame of the scan.

        Raises
        ------
        DatasetError
            If there are none, or a file is damaged.
        """
        return {view: read_camera(path) for view, path in self._calibrations.items()}

    def camera(self, view: str) -> Camera:
        """One camera.

        Raises
        ------
        DatasetError
            If there is no such view, or its file is damaged.
        """
        return read_camera(self._view(self._calibrations, view, "camera"))

    def flame(self) -> FlameFit:
        """The FLAME registration and its parameters.

        Raises
        ------
        DatasetError
            If the subject has neither, or a file is damaged.
        MeshFileError, MeshError
            If the mesh is damaged.
        """
        mesh, parameters = self._flame_paths
        return FlameFit(
            None if mesh is None else read_flame_mesh(mesh),
            None if parameters is None else read_flame_parameters(parameters),
        )

    def summary(self) -> dict[str, Any]:
        """One row of a table: id, metadata, parts, and what is wrong with the metadata if it is.

        Never raises because of the subject's files.
        """
        try:
            about, problem = self.metadata, None
        except DatasetError as error:
            about, problem = Metadata(), str(error)
        row: dict[str, Any] = {"id": self.id}
        row |= {f.name: getattr(about, f.name) for f in fields(about) if f.name != "id"}
        row["other"] = dict(about.other)
        parts = self.parts
        return row | {f"has_{name}": name in parts for name in PARTS} | {"problem": problem}

    def _lacks(self, part: str, why: str) -> DatasetError:
        return DatasetError(f"subject {self.id} has no {part}: {why}")

    def _one(self, part: str, what: str, pattern: str, usual: str) -> Path:
        """The one file that matches a pattern, or the usual one of several."""
        names = [p for p in _files(self.path) if re.fullmatch(pattern, p.name, re.I)]
        found = names
        if len(names) > 1:
            found = [p for p in names if re.fullmatch(usual, p.name, re.I)] or names
        if not found:
            there = ", ".join(p.name for p in _files(self.path)[:8]) or "nothing"
            raise self._lacks(part, f"looked for {what} in {self.path}, which holds {there}")
        if len(found) > 1:
            several = ", ".join(p.name for p in found[:4])
            raise DatasetError(
                f"subject {self.id} has several files that could be the {part}: {several} in "
                f"{self.path}; move all but one away"
            )
        return found[0]

    def _view(self, views: dict[str, Path], view: str, part: str) -> Path:
        if view not in views:
            raise DatasetError(
                f"subject {self.id} has no {part} {view!r}; it has {', '.join(views)}"
            )
        return views[view]

    @property
    def _capture_folder(self) -> Path:
        """Folder of images and calibrations: one named like the scan, or the only one."""
        if self.image_folder is None:
            raise self._lacks(
                "images", "no folder headspacePngTka beside the scans; Headspace(images=...)"
            )
        folders = [p for p in list_folder(self.image_folder) if os.path.isdir(p)]
        if len(folders) > 1 and _found(lambda: self.scan_path):
            folders = [p for p in folders if p.name == self.scan_path.stem]
        if len(folders) != 1:
            raise self._lacks(
                "images",
                f"looked for one folder named like the scan in {self.image_folder}, found "
                + (", ".join(p.name for p in list_folder(self.image_folder)[:8]) or "nothing"),
            )
        return folders[0]

    @property
    def _calibrations(self) -> dict[str, Path]:
        files = _files(self._capture_folder)
        matches = ((re.fullmatch(r"calib_(\w+)\.tka", p.name, re.I), p) for p in files)
        found = {m[1]: p for m, p in matches if m}
        if not found:
            raise self._lacks("cameras", f"no file calib_*.tka in {self._capture_folder}")
        return found

    @property
    def _flame_paths(self) -> tuple[Path | None, Path | None]:
        if self.flame_folder is None:
            raise self._lacks(
                "FLAME registration", "no folder registrations found; Headspace(flame=...)"
            )
        found: list[Path | None] = []
        tried = []
        for kind, ending in (("registrations", ".obj"), ("FLAME_parameters", ".npz")):
            folder = self.flame_folder / kind / self.id
            tried.append(str(folder))
            files = [p for p in _files(folder) if p.suffix.lower() == ending]
            named = [p for p in files if re.fullmatch(r"\d{12}", p.stem)] or files
            if len(named) > 1:
                raise DatasetError(
                    f"subject {self.id} has several FLAME files in {folder}: "
                    + ", ".join(p.name for p in named[:4])
                )
            found.append(named[0] if named else None)
        if found == [None, None]:
            raise self._lacks("FLAME registration", f"looked in {' and '.join(tried)}")
        return found[0], found[1]


def list_folder(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing if it cannot be listed."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError:
        return []


def _files(folder: Path) -> list[Path]:
    return [p for p in list_folder(folder) if os.path.isfile(p)]


def _found(find: Callable[[], Any]) -> bool:
    try:
        find()
    except DatasetError:
        return False
    return True


def _read_image(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.uint8)
    except Exception as error:  # whatever Pillow trips over in damaged files
        detail = f"{type(error).__name__}: {error}"
        raise DatasetError(f"{path}: not a readable image ({detail[:200]})") from error
