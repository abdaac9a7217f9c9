"""A head template and a scan to try licp on: generated, not of any person.

The scan imitates one from a 3dMD system: millimetres, textured, in a tilted frame, open at the
neck, with holes and debris.  ``TRUTH`` is an ``.npz`` with the true positions ``gt_vertices``
(n, 3) of the template's vertices in the frame of the scan; ``covered`` (n,) bool, whether the
scan shows them; and 68 landmarks as vertex ids of both, ``template_landmarks`` and
``scan_landmarks``.  ``REGIONS`` is JSON: named vertex subsets of the template (see
:class:`licp.Regions`).
"""

from pathlib import Path

__all__ = ["REGIONS", "SCAN", "TEMPLATE", "TRUTH"]

TEMPLATE = Path(__file__).parent / "template.obj"
SCAN = Path(__file__).parent / "scan.obj"
REGIONS = Path(__file__).parent / "regions.json"
TRUTH = Path(__file__).parent / "truth.npz"
