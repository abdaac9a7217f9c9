"""What of a head can be seen from outside, wherever it is and however it is turned."""

import numpy as np
import pytest
import trimesh
from heads import rotation, template

from licp.repair import clean
from licp.visibility import visible_share


@pytest.mark.parametrize("depth", [0.5, 1.0, 2.0])
def test_the_bottom_of_a_well_sees_a_cone(depth: float) -> None:
    """Weighted by the cosine, r^2 / (r^2 + d^2) of what it faces, as well as 32 views tell."""
    wall = trimesh.creation.annulus(r_min=1.0, r_max=1.2, height=depth, sections=96)
    wall.apply_translation([0.0, 0.0, 0.5 * depth])
    floor = trimesh.creation.cylinder(1.2, 0.2, sections=96).apply_translation([0, 0, -0.1])
    well = trimesh.util.concatenate([m.subdivide_to_size(0.15) for m in (wall, floor)])
    share = visible_share(well.vertices, well.faces)
    radius = np.hypot(*well.vertices[:, :2].T)
    bottom = (np.abs(well.vertices[:, 2]) < 1e-9) & (radius < 0.3)
    assert share[bottom].mean() == pytest.approx(1.0 / (1.0 + depth**2), abs=0.2)
    outside = (radius > 1.19) & (well.vertices[:, 2] > 0.2 * depth)
    assert share[outside].min() > 0.9


def test_pose_unit_and_side_do_not_matter() -> None:
    """Of a head, whose nostrils and mouth are as deep on both sides."""
    head = clean(template().vertices, template().faces)
    share = visible_share(head.vertices, head.faces)
    assert (share < 0.3).any() and np.median(share) > 0.9
    for seed in range(4):
        turned = 1e-3 * head.vertices @ rotation(seed).T + seed
        assert np.allclose(visible_share(turned, head.faces), share, atol=1e-9)
    mirrored = head.vertices * [-1.0, 1.0, 1.0]
    assert np.allclose(visible_share(mirrored, head.faces[:, ::-1]), share, atol=1e-9)


def test_what_is_far_away_tells_nothing() -> None:
    """A speck a hundred sizes off: the images show what is asked for."""
    outer, inner = trimesh.creation.icosphere(3), trimesh.creation.icosphere(2, radius=0.7)
    speck = trimesh.creation.icosphere(1, radius=0.1).apply_translation([100.0, 0, 0])
    all_ = trimesh.util.concatenate([outer, inner, speck])
    asked = np.arange(len(all_.vertices)) < len(outer.vertices) + len(inner.vertices)
    share = visible_share(all_.vertices, all_.faces, asked)
    assert len(share) == asked.sum()
    assert share[: len(outer.vertices)].min() > 0.9
    assert share[len(outer.vertices) :].max() == 0.0
