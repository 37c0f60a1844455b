"""Hypothesis settings and random inputs of the property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

# The same examples in every run, so that a failure is never a matter of luck.
FIXED = settings(derandomize=True, deadline=None, max_examples=60, database=None)

seeds = st.integers(0, 2**32 - 1)


def random_moments(seed: int, q: int, d: int, strength: float) -> tuple[np.ndarray, ...]:
    """m_y (q,), m_d (q, d) and a positive definite meat (q (1 + d), q (1 + d))."""
    rng = np.random.default_rng(seed)
    size = q * (1 + d)
    root = rng.normal(size=(size, size + 3))
    meat = root @ root.T / size
    return rng.normal(size=q), strength * rng.normal(size=(q, d)), meat
