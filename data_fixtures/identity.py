"""How heads differ: smooth displacement fields over the mean head, one a parameter.

Every field gives millimetres for one standard deviation. Fields depend on the mean position (and on
the masks that tell upper from lower lip and the auricle from the head behind it), so that any two
meshes of the same head lie on the same surface and correspond exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sculpt import CHEILION, EYE, mouth_line, smoothstep
from .surface import MeanPoints

Array = NDArray[np.float64]

IDENTITY = (
    "size", "childlike",
    "cranium_length", "cranium_width", "cranium_height", "forehead_slope", "forehead_width",
    "occiput", "crown",
    "face_width", "face_height", "cheekbone", "cheek_fullness",
    "jaw_width", "jaw_angle_height", "chin_protrusion", "chin_height", "chin_width",
    "brow_ridge", "brow_height",
    "eye_spacing", "eye_height", "eye_size", "eye_depth", "eye_tilt",
    "nose_length", "nose_width", "nose_protrusion", "nose_bridge", "nose_tip", "nose_root",
    "mouth_width", "mouth_height", "mouth_protrusion", "upper_lip", "lower_lip",
    "ear_size", "ear_angle", "ear_height", "ear_depth", "ear_lobe",
    "neck_width", "neck_length", "neck_posture",
    "asymmetry_jaw", "asymmetry_face", "asymmetry_cranium", "asymmetry_ears",
)
"""Names of the identity parameters, all distributed as N(0, 1)."""

EXPRESSION = ("jaw_open", "smile", "brow_raise")
"""Names of the expression parameters, from 0 (neutral) to 1 (full)."""


@dataclass(frozen=True)
class _Place:
    """Coordinates and masks from which the fields are made."""

    x: Array
    y: Array
    z: Array
    side: Array
    ear: Array
    lower: Array

    def bump(self, centre: tuple[float, float, float],
             sigma: tuple[float, float, float]) -> Array:
        """Gaussian round a point and its mirror image."""
        ax = np.sqrt(self.x**2 + 4.0)
        q = ((ax - centre[0]) / sigma[0]) ** 2 + ((self.y - centre[1]) / sigma[1]) ** 2
        return np.exp(-0.5 * (q + ((self.z - centre[2]) / sigma[2]) ** 2))


def _identity_fields(m: _Place) -> dict[str, tuple[Array | float, ...]]:
    """(dx, dy, dz) of each identity parameter."""
    x, y, z, side, ear = m.x, m.y, m.z, m.side, m.ear
    down = -y
    skull = smoothstep(y - 0.43 * z, -20, 55)
    front = smoothstep(z, 0, 70)
    nose = m.bump((0, -8, 104), (13, 20, 20))
    eye = m.bump((EYE[0], EYE[1], 80), (17, 13, 20))
    lips = m.bump((0, -48, 92), (24, 15, 22))
    about_ear = m.bump((76, 0, -14), (22, 42, 38))
    s = y - mouth_line(x)
    upper_lip = (1 - m.lower) * smoothstep(s, 0, 8) * np.exp(-((np.maximum(s - 8, 0) / 9) ** 2))
    lower_lip = m.lower * smoothstep(-s, 0, 8) * np.exp(-((np.maximum(-s - 8, 0) / 9) ** 2))
    mouth = np.exp(-((x / CHEILION) ** 4)) * smoothstep(z, 60, 85)
    neck = smoothstep(down, 55 + 0.35 * np.minimum(z, 40), 120 + 0.35 * np.minimum(z, 40))
    shorter_face = smoothstep(down, -25, 95)
    root = np.array([70.0, 0.0, -6.0])
    from_ear = (x - side * root[0], y - root[1], z - root[2])
    return {
        "size": (0.018 * x, 0.018 * y, 0.018 * z),
        "childlike": (-0.018 * x - 1.2 * side * m.bump((52, -60, 20), (30, 30, 40))
                      + 1.2 * side * m.bump((44, -28, 60), (18, 20, 24)),
                      -0.012 * y + 4.0 * shorter_face + 0.8 * eye * (y - EYE[1]) / 6,
                      -0.018 * z - 2.0 * nose - 1.5 * m.bump((20, 38, 92), (26, 10, 18))
                      + 1.5 * m.bump((0, 75, 85), (40, 25, 30))),
        "cranium_length": (0.0, 0.0, 3.4 * z / 95 * skull),
        "cranium_width": (3.6 * x / 75 * skull, 0.0, 0.0),
        "cranium_height": (0.0, 5.0 * smoothstep(y, 15, 135), 0.0),
        "forehead_slope": (0.0, 0.0, -3.6 * smoothstep(y, 42, 110) * smoothstep(z, 10, 80)),
        "forehead_width": (3.0 * x / 60 * m.bump((50, 60, 55), (30, 28, 35)), 0.0, 0.0),
        "occiput": (0.0, 0.0, -3.6 * m.bump((0, 35, -98), (45, 38, 40))),
        "crown": (0.0, 3.0 * m.bump((0, 130, -25), (55, 45, 40)),
                  -3.0 * m.bump((0, 110, -50), (55, 45, 50))),
        "face_width": (3.4 * x / 65 * m.bump((60, -5, 35), (40, 38, 45)), 0.0, 0.0),
        "face_height": (0.0, -4.5 * shorter_face, 0.0),
        "cheekbone": (2.4 * side * m.bump((58, 0, 50), (18, 14, 24)), 0.0,
                      1.8 * m.bump((48, 0, 62), (18, 14, 24))),
        "cheek_fullness": (2.6 * side * m.bump((46, -30, 55), (20, 20, 26)), 0.0,
                           2.2 * m.bump((36, -24, 74), (18, 18, 22))),
        "jaw_width": (3.0 * x / 52 * m.bump((50, -62, 15), (28, 26, 42)), 0.0, 0.0),
        "jaw_angle_height": (0.0, 3.0 * m.bump((52, -62, 12), (20, 22, 30)), 0.0),
        "chin_protrusion": (0.0, 0.0, 3.2 * m.bump((0, -83, 84), (30, 24, 34))),
        "chin_height": (0.0, -3.2 * smoothstep(down, 52, 94), 0.0),
        "chin_width": (3.4 * np.tanh(x / 18) * m.bump((0, -82, 80), (26, 15, 26)), 0.0, 0.0),
        "brow_ridge": (0.0, 0.0, 2.2 * m.bump((20, 38, 92), (24, 9, 18))),
        "brow_height": (0.0, 2.6 * m.bump((26, 38, 88), (26, 10, 18)), 0.0),
        "eye_spacing": (2.0 * np.tanh(x / 12) * m.bump((30, 20, 78), (24, 18, 26)), 0.0, 0.0),
        "eye_height": (0.0, 2.2 * m.bump((30, 22, 80), (28, 16, 26)), 0.0),
        "eye_size": (0.055 * (x - side * EYE[0]) * eye, 0.075 * (y - EYE[1]) * eye, 0.0),
        "eye_depth": (0.0, 0.0, -2.2 * eye),
        "eye_tilt": (0.0, 1.5 * side * (x - side * EYE[0]) / 15 * eye, 0.0),
        "nose_length": (0.0, -2.8 * smoothstep(down, -26, 20) * (1 - smoothstep(down, 30, 62))
                        * np.exp(-0.5 * (x / 20) ** 2) * smoothstep(z, 66, 92), 0.0),
        "nose_width": (2.3 * np.tanh(x / 10) * m.bump((0, -19, 98), (17, 11, 18)), 0.0, 0.0),
        "nose_protrusion": (0.0, 0.0, 3.6 * m.bump((0, -13, 111), (13, 15, 20))),
        "nose_bridge": (0.0, 0.0, 2.4 * m.bump((0, 9, 97), (9, 13, 15))),
        "nose_tip": (0.0, 2.7 * m.bump((0, -16, 112), (11, 9, 14)), 0.0),
        "nose_root": (0.0, 0.0, 2.2 * m.bump((0, 27, 90), (13, 10, 15))),
        "mouth_width": (2.8 * np.tanh(x / 16) * m.bump((0, -48, 90), (32, 13, 24)), 0.0, 0.0),
        "mouth_height": (0.0, 2.4 * m.bump((0, -48, 92), (32, 16, 26)), 0.0),
        "mouth_protrusion": (0.0, 0.0, 1.9 * lips),
        "upper_lip": (0.0, 1.0 * upper_lip * mouth, 0.7 * mouth * (1 - m.lower) * lips),
        "lower_lip": (0.0, -1.0 * lower_lip * mouth, 0.7 * mouth * m.lower * lips),
        "ear_size": tuple(0.075 * q * ear for q in from_ear),
        "ear_angle": (-0.16 * side * from_ear[2] * ear, 0.0,
                      0.16 * side * from_ear[0] * ear),
        "ear_height": (0.0, 3.2 * about_ear, 0.0),
        "ear_depth": (0.0, 0.0, 3.2 * about_ear),
        "ear_lobe": (0.0, -2.6 * m.bump((74, -30, -4), (14, 11, 14)) * ear, 0.0),
        "neck_width": (3.4 * x / 52 * neck, 0.0, 3.4 * (z + 24) / 54 * neck),
        "neck_length": (0.0, -6.0 * smoothstep(down, 85, 185), 0.0),
        "neck_posture": (0.0, 0.0, 5.0 * smoothstep(down, 45, 190)),
        "asymmetry_jaw": (2.0 * smoothstep(down, 0, 95) * front * (1 - neck), 0.0, 0.0),
        "asymmetry_face": (0.0, 0.8 * x / 50 * front, 1.3 * x / 65 * front),
        "asymmetry_cranium": (0.0, 0.0, 3.0 * np.tanh(x / 55) * skull * (1 - front)),
        "asymmetry_ears": (0.8 * about_ear, 1.8 * side * about_ear, 1.0 * side * about_ear),
    }


def displace(points: MeanPoints, identity: Array, expression: Array) -> Array:
    """Move points of the mean head to another head.

    Parameters
    ----------
    points : MeanPoints
        n of them.
    identity : (48,) float64
        In the order of IDENTITY.
    expression : (3,) float64
        In the order of EXPRESSION.

    Returns
    -------
    (n, 3) float64
    """
    x, y, z = points.position.T.copy()
    m = _Place(x, y, z, np.tanh(x / 3), points.ear, points.lower)
    v = [x.copy(), y.copy(), z.copy()]
    if identity.any():
        fields = _identity_fields(m)
        for amount, name in zip(identity, IDENTITY, strict=True):
            for axis, part in zip(v, fields[name], strict=True):
                if amount and not isinstance(part, float):
                    axis += amount * part
    jaw_open, smile, brow_raise = expression
    if smile:
        corner = m.bump((CHEILION, -48, 86), (13, 12, 16))
        apple = m.bump((38, -10, 76), (15, 12, 18))
        v[0] += smile * m.side * (5.0 * corner + 0.8 * apple)
        v[1] += smile * (4.0 * corner + 2.2 * apple)
        v[2] += smile * (1.6 * apple - 3.2 * corner)
    if brow_raise:
        v[1] += brow_raise * 5.0 * m.bump((28, 42, 88), (28, 13, 20))
    if jaw_open:  # turn round the axis of the jaw joints
        jaw = points.lower * smoothstep(z, -8, 45) * (1 - smoothstep(-y, 98, 140))
        angle = np.deg2rad(17.0) * jaw_open * jaw
        up, ahead = v[1] - 2.0, v[2] - 8.0
        v[1] = 2.0 + np.cos(angle) * up - np.sin(angle) * ahead
        v[2] = 8.0 + np.sin(angle) * up + np.cos(angle) * ahead
    return np.stack(v, 1)
