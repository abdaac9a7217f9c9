"""Fits that know of a bulge of hair or a hole beforehand."""

import re
from functools import cache

import numpy as np
import pytest
import trimesh
from heads import Arrays, arrays, morpher, pose, result, scan_arrays, template

from data_fixtures.head import random_identity
from data_fixtures.scan import Scan, ScanOptions
from data_fixtures.scan import scan as made_up_scan
from licp import (
    Guidance,
    InputError,
    Morpher,
    MorphResult,
    PreparedScan,
    Regions,
    State,
    morph_guided,
)
from licp.geometry import vertex_normals
from licp.guidance import _around
from licp.headspace import Metadata, flag_guidance
from licp.repair import clean
from licp.similarity import fit_similarity

NONE = np.zeros(len(template().vertices), bool)


def regions() -> Regions:
    return Regions(template().regions, len(NONE))


@cache
def bare() -> Scan:
    rng = np.random.default_rng(5)
    options = ScanOptions(vertices=3000, texture_size=64)
    return made_up_scan(random_identity(rng), None, rng, options, 1000)


def bulge(points: np.ndarray) -> np.ndarray:
    """Height of a bulge at the back of the head of ``bare``, 0 to 1."""
    made = bare()
    back = made.truth[regions()["cranium"]] - made.translation
    middle = back @ made.rotation
    middle = middle[middle[:, 2].argmin()] + [0, 25, 0]
    upright = (points - made.translation) @ made.rotation
    return np.asarray(np.exp(-0.5 * ((upright - middle) ** 2).sum(1) / 35**2))


def with_bulge() -> Arrays:
    V, F = bare().vertices, bare().faces
    return V + 20 * bulge(V)[:, None] * vertex_normals(V, F), F


def off(fit: MorphResult) -> tuple[float, float]:
    """Error along the normal under the bulge, and distance to the truth elsewhere, mm."""
    made = bare()
    error = fit.vertices - made.truth
    under = regions().mask("cranium") & (bulge(made.truth) > 0.2)
    along = np.abs((error * vertex_normals(made.truth, template().faces)).sum(1))
    elsewhere = made.covered & ~under
    return float(along[under].mean()), float(np.linalg.norm(error, axis=1)[elsewhere].mean())


def test_a_bulge_that_is_announced_is_not_followed() -> None:
    start = fit_similarity(template().vertices, bare().truth)
    doubt = Guidance(regions().mask("cranium"), NONE)
    plain, guided = (
        off(morpher().morph(with_bulge(), start=start)),
        off(morph_guided(morpher(), with_bulge(), doubt, start=start)),
    )
    assert plain[0] > 8 and guided[0] < 0.5 * plain[0]
    assert guided[1] < 1.05 * plain[1]


def test_what_is_left_out_is_said_and_nothing_else_moves_much() -> None:
    torn = Guidance(NONE, regions().mask("cranium", "neck"), ("cranial_hole",))
    fit = morph_guided(morpher(), scan_arrays(), torn, start=pose())
    left_out = fit.state == State.MASKED
    assert left_out.any() and not (left_out & ~torn.torn).any()
    total = torn.torn.sum()
    assert fit.adjusted == (
        "cranial_hole",
        f"left out {left_out.sum()} of {total} vertices at the edge of a hole",
    )
    assert fit.to_dict()["adjusted"] == list(fit.adjusted)
    assert "first pass" in fit.seconds


def test_without_doubt_it_is_one_pass_as_always() -> None:
    fit = morph_guided(morpher(), scan_arrays(), Guidance(NONE, NONE, ("x",)), start=pose())
    assert np.array_equal(fit.vertices, result().vertices)
    assert fit.adjusted == ("x",) and result().adjusted == ()


def test_guidance_of_another_template_is_refused() -> None:
    with pytest.raises(InputError, match="not of"):
        morph_guided(morpher(), scan_arrays(), Guidance(NONE[1:], NONE[1:]))
    with pytest.raises(InputError, match="torn must be bool"):
        Guidance(NONE, NONE[1:])
    with pytest.raises(InputError, match=r"needs a licp\.Morpher, not tuple"):
        morph_guided(arrays(), scan_arrays(), Guidance(NONE, NONE))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"needs a licp\.Guidance, not ndarray"):
        morph_guided(morpher(), scan_arrays(), NONE)  # type: ignore[arg-type]


def test_guidance_is_a_copy() -> None:
    given = np.array([True, False])
    doubt = Guidance(given, [False, False])  # type: ignore[arg-type]
    given[:] = False
    assert doubt and doubt.raised.tolist() == [True, False] and doubt.torn.dtype == bool
    with pytest.raises(ValueError, match="read-only"):
        doubt.torn[0] = True


def test_surroundings_go_on_beyond_seams() -> None:
    """A strip cut in its middle, with a vertex of no face."""
    x = np.r_[0:4, 3:7, 99.0]
    V = np.stack([np.r_[x, x], np.repeat([0.0, 1.0], len(x)), np.zeros(2 * len(x))], 1)
    k = np.r_[0:3, 4:7]
    F = np.vstack([np.stack([k, k + 1, k + 10], 1), np.stack([k, k + 10, k + 9], 1)])
    near = _around(clean(V, F), np.isin(np.arange(len(V)), (3, 8)))
    # One edge from vertex 3 and its copy; what is of no face stays alone.
    assert set(V[near, 0]) == {2, 3, 4, 99}
    assert near[[3, 4, 5]].all() and near[8] and not near[17]


def test_flags_find_their_regions() -> None:
    known = regions()
    advice = flag_guidance(Metadata(cap_artefact=True, chin_hole=True), known, len(NONE))
    assert np.array_equal(advice.raised, known.mask("cranium"))
    assert np.array_equal(advice.torn, known.mask("under_chin"))
    assert advice.notes == ("cap_artefact", "chin_hole")
    assert not flag_guidance(Metadata(hair_bulge=False), known, len(NONE))
    blind = flag_guidance(Metadata(cranial_hole=True), None, len(NONE))
    assert not blind and "not used" in blind.notes[0]


def test_trust_of_one_scan_is_that_of_data_weights() -> None:
    from licp import Morpher

    weights = np.where(regions().mask("cranium"), 0.01, 1.0)
    once = morpher().trusting(weights).morph(scan_arrays(), start=pose())
    always = Morpher(arrays(), data_weights=weights).morph(scan_arrays(), start=pose())
    assert np.allclose(once.vertices, always.vertices, atol=1e-6 * 400)
    assert np.array_equal(morpher().morph(scan_arrays(), start=pose()).vertices, result().vertices)
    for bad in (np.full(len(NONE), -1.0), np.full(len(NONE), np.nan), NONE[1:] + 1.0, NONE * 1.0):
        with pytest.raises(InputError, match="weights"):
            morpher().trusting(bad)


@pytest.mark.parametrize("heavy", [0.01, 100.0])
def test_trust_is_that_of_data_weights_for_heavy_weights_too(heavy: float) -> None:
    weights = np.where(regions().mask("nose"), heavy, 1.0)
    own = Morpher(arrays(), data_weights=weights).morph(scan_arrays(), start=pose())
    shared = morpher().trusting(weights).morph(scan_arrays(), start=pose())
    assert np.array_equal(own.vertices, shared.vertices)
    with pytest.raises(InputError, match="data_weights times weights"):
        Morpher(arrays(), data_weights=100 * weights).trusting(np.full(len(weights), 1000.0))


def test_a_callback_stops_the_first_pass() -> None:
    calls = 0

    def enough(_: object) -> bool:
        nonlocal calls
        calls += 1
        return calls == 2

    doubt = Guidance(regions().mask("cranium"), NONE, notes=("hair",))
    fit = morph_guided(morpher(), scan_arrays(), doubt, start=pose(), callback=enough)
    assert calls == 2 and fit.stopped and fit.adjusted == ("hair",)


def test_the_scan_is_prepared_once_in_the_seconds() -> None:
    ready = PreparedScan(scan_arrays())
    ready.seconds = 1000.0
    fit = morph_guided(morpher(), ready, Guidance(regions().mask("cranium"), NONE), start=pose())
    assert 1000 < sum(fit.seconds.values()) < 1900


def test_a_dent_is_not_outside_of_the_head() -> None:
    """What lies inside of the first fit is believed."""
    sphere = trimesh.creation.icosphere(4)
    top = sphere.vertices[:, 2] > 0.3
    bump = np.exp(-20 * ((sphere.vertices - [0, 0, 1]) ** 2).sum(1))[:, None]
    for height, less in ((0.2, True), (-0.2, False)):
        lump = sphere.vertices * (1 + height * bump), sphere.faces
        doubt = Guidance(top, np.zeros_like(top))
        told = morph_guided(Morpher(sphere), lump, doubt, start=np.eye(4)).adjusted[-1]
        assert (int(re.findall(r"\d+", told)[0]) > 0) == less
