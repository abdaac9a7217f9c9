"""Laplacian ICP: morph a template head mesh onto 3D head scans.

>>> import licp
>>> result = licp.morph("template.obj", "scan.obj")  # doctest: +SKIP
>>> result.save("morphed.obj")  # doctest: +SKIP
"""

from licp.batch import Failure, morph_many
from licp.correspondence import State
from licp.errors import (
    DatasetError,
    DatasetWarning,
    InputError,
    LandmarkError,
    LicpError,
    MeshError,
    MeshFileError,
    OutputError,
    OverlapError,
    SolverError,
)
from licp.guidance import Guidance, morph_guided
from licp.io import load_mesh, save_mesh
from licp.landmark_file import load_landmarks
from licp.landmarks import Landmarks
from licp.mesh import Mesh
from licp.morph import Iteration, Morpher, morph
from licp.quality import Quality
from licp.region_transfer import transfer_regions
from licp.regions import Regions
from licp.result import MorphResult, StageRecord
from licp.scan import PreparedScan
from licp.schedule import Schedule, Stage
from licp.similarity import Similarity

__version__ = "0.1.0"

__all__ = [
    "DatasetError",
    "DatasetWarning",
    "Failure",
    "Guidance",
    "InputError",
    "Iteration",
    "LandmarkError",
    "Landmarks",
    "LicpError",
    "Mesh",
    "MeshError",
    "MeshFileError",
    "MorphResult",
    "Morpher",
    "OutputError",
    "OverlapError",
    "PreparedScan",
    "Quality",
    "Regions",
    "Schedule",
    "Similarity",
    "SolverError",
    "Stage",
    "StageRecord",
    "State",
    "load_landmarks",
    "load_mesh",
    "morph",
    "morph_guided",
    "morph_many",
    "save_mesh",
    "transfer_regions",
]
