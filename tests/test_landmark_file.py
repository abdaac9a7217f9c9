"""Landmark files: every format, and what is said about damaged ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from licp.errors import LandmarkError
from licp.landmark_file import load_landmarks
from licp.mesh import Mesh

BALL = trimesh.creation.icosphere(2)
TEMPLATE = Mesh(np.vstack([BALL.vertices, [[9.0, 9, 9]]]), BALL.faces)


def points(path: Path) -> np.ndarray:
    """Where the landmarks of a file are on the template."""
    marks = load_landmarks(path, TEMPLATE)
    faces, weights = marks.template
    return np.einsum("kc,kcj->kj", weights, TEMPLATE.vertices[TEMPLATE.faces[faces]])


@pytest.mark.parametrize(
    "text",
    [
        "4 1.5 2 3\n7 4 5 6 0.5\n",
        "4,1.5,2,3\n7,4,5,6,0.5",
        "vertex,x,y,z,confidence\r\n4, 1.5, 2, 3, 1\r\n7, 4, 5, 6, .5\r\n",
        "\ufeff# marks\n\n 4\t1.5\t2\t3  # nose\n7;4;5;6;5e-1\n",
        '[{"vertex": 4, "position": [1.5, 2, 3]},\n'
        ' {"vertex": 7, "position": [4, 5, 6], "confidence": 0.5}]',
    ],
    ids=["blanks", "commas", "header", "comments", "json"],
)
def test_all_formats_say_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "marks"
    path.write_text(text, "utf-8")
    marks = load_landmarks(path, TEMPLATE)
    assert np.array_equal(marks.positions, [[1.5, 2, 3], [4, 5, 6]])
    assert np.array_equal(marks.confidence, [1, 0.5])
    assert np.array_equal(points(path), TEMPLATE.vertices[[4, 7]])


def test_json_mixes_vertices_and_points_of_faces(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    path.write_text(
        json.dumps(
            [
                {
                    "face": 3,
                    "barycentric": [0.5, 0.25, 0.25],
                    "position": [0, 0, 1],
                    "name": "nasion",
                },
                {"vertex": 5, "position": None, "confidence": 0},
            ]
        )
    )
    assert np.isnan(load_landmarks(path, TEMPLATE).positions[1]).all()
    inside = np.array([0.5, 0.25, 0.25]) @ TEMPLATE.vertices[TEMPLATE.faces[3]]
    assert np.allclose(points(path), [inside, TEMPLATE.vertices[5]], atol=1e-15)


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("1 2 3 4\n\n5 6 7\n", "line 3", "found 3 values"),
        ("# 1\n1.5 2 3 4\n", "line 2", "'1.5' is not a vertex number"),
        ("1 2 3 4\n1 2 x 4\n", "line 2", "'x'"),
        ("162 0 0 0\n", "line 1", "no face of the template uses vertex 162"),
        ("163 0 0 0\n", "line 1", "no vertex 163; they are 0 to 162"),
        ("-1 0 0 0\n", "line 1", "no vertex -1"),
        ("1 nan 0 0\n", "line 1", "not finite"),
        ("1 0 0 0 -2\n", "line 1", "not -2.0"),
        ('[{"vertex": 1,\n "position" [0, 0, 0]}]', "line 2", "not valid JSON"),
        ('[{"vertex": 1, "position": [0, 0]}]', "landmark 1 of 1", "three numbers"),
        ('[{"vertex": 1, "position": [0, 0, 0]}, 5]', "landmark 2 of 2", "object"),
        ('[{"position": [0, 0, 0]}]', "landmark 1 of 1", "found position"),
        ('[{"face": 1, "position": [0, 0, 0]}]', "landmark 1 of 1", "barycentric"),
        ('[{"vertex": true, "position": [0, 0, 0]}]', "landmark 1 of 1", "whole number"),
        ('[{"vertex": 1}]', "landmark 1 of 1", "not finite"),
        (
            '[{"face": 320, "barycentric": [1, 0, 0], "position": [0, 0, 0]}]',
            "landmark 1",
            "no face 320; they are 0 to 319",
        ),
        ('[{"face": 1, "barycentric": [1, 1, 0], "position": [0, 0, 0]}]', "landmark 1", "up to 1"),
        ('[{"face": 1, "barycentric": null, "position": [0, 0, 0]}]', "landmark 1", "barycentric"),
        ('{"vertex": 1}', "marks", "expected a list"),
        ('[{"vertex": 1, "position": [1' + "0" * 400 + ", 0, 0]}]", "landmark 1", "measure"),
        ('[{"vertex": 1, "position": [1' + "0" * 5000 + ", 0, 0]}]", "marks", "not valid JSON"),
        ("[" * 100_000, "marks", "not valid JSON"),
        ("# nothing\n", "marks", "no landmarks"),
        ("\udc80", "marks", "expected vertex, x, y, z"),
    ],
)
def test_errors_name_the_place_and_the_reason(
    tmp_path: Path, text: str, where: str, why: str
) -> None:
    path = tmp_path / "marks"
    path.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(LandmarkError) as error:
        load_landmarks(path, TEMPLATE)
    assert str(error.value).startswith(str(path))
    assert where in str(error.value)
    assert why in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match="cannot be read"):
        load_landmarks(tmp_path / "none.txt", TEMPLATE)
