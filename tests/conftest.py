"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from edgepress_converters.pool import WorkerPool

settings.register_profile("patient", deadline=None)  # a busy machine makes any example slow
settings.load_profile("patient")


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[WorkerPool]:
    """One pool for all tests: TensorFlow is imported once. It respawns, so that a test may crash its worker."""
    with WorkerPool() as pool:
        pool.start()
        yield pool
