"""Headspace: 1519 scans of heads from York and Liverpool, and what others made of them.

>>> from licp.headspace import Headspace
>>> hs = Headspace("/data/headspace")  # doctest: +SKIP
>>> subject = hs["01242"]  # doctest: +SKIP
>>> scan, marks = subject.scan(), subject.landmarks()  # doctest: +SKIP
>>> subject.metadata.age, subject.metadata.cranial_hole  # doctest: +SKIP
(31.0, False)
"""

from licp.headspace.cameras import Camera, SurfacePoints, read_camera
from licp.headspace.dataset import Headspace
from licp.headspace.flame import FlameFit, FlameParameters, read_flame_mesh, read_flame_parameters
from licp.headspace.guidance import flag_guidance
from licp.headspace.landmarks import IBUG68, IBUG68_GROUPS, ScanLandmarks, read_landmark_ids
from licp.headspace.metadata import Metadata, parse_metadata
from licp.headspace.pose import upright_pose
from licp.headspace.realy import REALY_REGIONS, Realy, RealyScan, read_barycentric
from licp.headspace.subject import PARTS, Subject

__all__ = [
    "IBUG68",
    "IBUG68_GROUPS",
    "PARTS",
    "REALY_REGIONS",
    "Camera",
    "FlameFit",
    "FlameParameters",
    "Headspace",
    "Metadata",
    "Realy",
    "RealyScan",
    "ScanLandmarks",
    "Subject",
    "SurfacePoints",
    "flag_guidance",
    "parse_metadata",
    "read_barycentric",
    "read_camera",
    "read_flame_mesh",
    "read_flame_parameters",
    "read_landmark_ids",
    "upright_pose",
]
