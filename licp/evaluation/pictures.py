"""Pictures of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from licp.batch.many import load_scan
from licp.batch.sources import Source
from licp.errors import LicpError
from licp.evaluation.folder import Batch
from licp.evaluation.subject import Measures
from licp.evaluation.summary import Summary
from licp.metrics.transfer import swap
from licp.similarity import fit_similarity

__all__ = ["draw_pictures"]


def draw_pictures(
    folder: Path,
    batch: Batch,
    summary: Summary,
    measures: Sequence[Measures],
    sources: Mapping[str, Source],
) -> None:
    """Draw distances, and annotations on the template and swapped, as far as there are any.

    Parameters
    ----------
    folder : Path
        Where ``distance.png``, ``annotations.png`` and ``swapped.png`` go.
    batch, summary, measures
        What was evaluated.
    sources : mapping of str to Source
        The scans, by key.
    """
    from licp.metrics.overlay import figure_heat, figure_overlay, figure_swap

    if summary.distance is not None:
        figure_heat(
            batch.template,
            summary.distance,
            folder / "distance.png",
            label="distance to the scan, median over scans (unit of the scans)",
            title=f"{len(measures)} scans; grey is what fewer than half of them show",
        )
    if not summary.agreements:
        return
    figure_overlay(
        batch.template,
        summary.agreements,
        folder / "annotations.png",
        title="annotations of all subjects on the template",
    )
    swapped = [m for m in measures if m.annotations]
    # The first one's contours on others that are spread over the list.
    first, rest = swapped[0], swapped[1:]
    chosen = [
        rest[i]
        for i in np.unique(np.linspace(0, len(rest) - 1, min(7, len(rest))).round().astype(int))
    ]
    panels = []
    for m in (first, *chosen):
        try:
            scan = load_scan(sources[m.key].scan)
        except LicpError:
            continue
        upright = fit_similarity(m.vertices, batch.template.vertices)
        own = {n: upright.apply(a.drawn) for n, a in m.annotations.items()}
        brought = (
            {}
            if m is first
            else {
                n: upright.apply(
                    swap(a.places, m.vertices, batch.template.faces, scan.vertices, scan.faces)
                )
                for n, a in first.annotations.items()
            }
        )
        caption = m.key if m is first else f"{first.key} on {m.key}"
        panels.append((caption, scan.with_vertices(upright.apply(scan.vertices)), own, brought))
    if panels:
        figure_swap(
            panels,
            folder / "swapped.png",
            view="three-quarter",
            title=f"annotations of {first.key}, swapped to other subjects",
        )
