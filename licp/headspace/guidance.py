"""What the flags of Headspace's metadata mean for a fit."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from licp.errors import InputError
from licp.guidance import Guidance
from licp.headspace.metadata import Metadata
from licp.regions import Regions

__all__ = ["flag_guidance"]

# The region where each flag applies.
_RAISED = {"hair_bulge": "cranium", "cap_artefact": "cranium"}
_TORN = {"cranial_hole": "cranium", "chin_hole": "under_chin"}


def flag_guidance(
    metadata: Metadata, regions: Regions | None, count: int | None = None
) -> Guidance:
    """What to doubt on a scan of which the metadata say that there is a hole, hair or a fold.

    ===============  ==============================================================================
    hair_bulge       the scan is hardly trusted in the region "cranium" at first, and not at all
    cap_artefact     where it then lies outside of the head
    cranial_hole     nothing within 2 % of the size of the edge of a hole in "cranium" matches
    chin_hole        the same in "under_chin"
    ===============  ==============================================================================

    Parameters
    ----------
    metadata : Metadata
        Of a subject.
    regions : Regions or None
        Of the template.  Without the region that a flag needs nothing is done, which the notes say.
    count : int, optional
        Vertices of the template, where there are no regions.

    Raises
    ------
    InputError
        If there are neither regions nor a count.

    Examples
    --------
    >>> regions = Regions({"cranium": [0, 1]}, 4)
    >>> advice = flag_guidance(Metadata(hair_bulge=True, chin_hole=True), regions)
    >>> advice.raised.tolist()
    [True, True, False, False]
    >>> advice.notes
    ('hair_bulge', 'chin_hole: not used, the template has no region under_chin')
    """
    if regions is not None:
        count = regions.count
    elif count is None:
        raise InputError("without regions, say how many vertices the template has")
    notes: list[str] = []

    def marked(regions_of: Mapping[str, str]) -> NDArray[np.bool_]:
        inside = np.zeros(count, bool)
        for flag, name in regions_of.items():
            if not getattr(metadata, flag):
                continue
            if regions is None or name not in regions:
                notes.append(f"{flag}: not used, the template has no region {name}")
                continue
            inside |= regions.mask(name)
            notes.append(flag)
        return inside

    return Guidance(marked(_RAISED), marked(_TORN), tuple(notes))
