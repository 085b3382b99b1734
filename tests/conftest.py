"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgepress_converters.pool import WorkerPool


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[WorkerPool]:
    """One pool for all tests: TensorFlow is imported once. It respawns, so that a test may crash its worker."""
    with WorkerPool() as pool:
        pool.start()
        yield pool
