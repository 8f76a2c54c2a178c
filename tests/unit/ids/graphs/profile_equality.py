"""Two profiles, compared to the bit."""

from __future__ import annotations

import numpy as np

from candor.ids.graphs.profile import Profile


def assert_same(a: Profile, b: Profile) -> None:
    for name, found in vars(a).items():
        expected = getattr(b, name)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype, name
            np.testing.assert_array_equal(found, expected, err_msg=name)
        else:
            assert (found, type(found)) == (expected, type(expected)), name
