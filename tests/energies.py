"""Bending energies as matrices, for what the solver does without them."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def membrane_energy(L: sparse.csc_array, mass: NDArray[np.float64]) -> sparse.csc_array:
    """Dirichlet energy of a displacement, ``K = L``; the mass has no part in it."""
    return _canonical(L.tocoo())


def thin_plate_energy(L: sparse.csc_array, mass: NDArray[np.float64]) -> sparse.csc_array:
    """Squared change of mean curvature, ``K = L M^-1 L`` (Sorkine 2004)."""
    S = sparse.csc_array(sparse.diags_array(1.0 / np.sqrt(mass)) @ L)
    K = S.T @ S
    return _canonical(sparse.coo_array((K + K.T) * 0.5))


def _canonical(A: sparse.coo_array) -> sparse.csc_array:
    """CSC copy of `A` as factorisations want it: sorted, 32-bit, the whole diagonal stored."""
    n = A.shape[0]
    diagonal = np.arange(n)
    # Arithmetic between sparse arrays drops zeros, converting from coordinates does not.
    out = sparse.coo_array(
        (
            np.concatenate([A.data, np.zeros(n)]),
            (np.concatenate([A.row, diagonal]), np.concatenate([A.col, diagonal])),
        ),
        shape=(n, n),
    ).tocsc()
    out.sort_indices()
    out.indices = out.indices.astype(np.int32, copy=False)
    out.indptr = out.indptr.astype(np.int32, copy=False)
    return out
