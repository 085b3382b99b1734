"""Which CPUs a worker gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepress_agent.affinity import split_cpus


def allow(monkeypatch: pytest.MonkeyPatch, *cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cpus))


def test_of_equal_cpus_the_last_ones_are_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    assert split_cpus(1, tmp_path) == ((3,), (0, 1, 2))
    assert split_cpus(3, tmp_path) == ((1, 2, 3), (0,))


def test_big_cores_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, *range(8))
    for cpu in range(8):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text("1024\n" if cpu < 4 else "400\n")
    assert split_cpus(2, tmp_path)[0] == (2, 3)
    assert split_cpus(4, tmp_path)[0] == (0, 1, 2, 3)


def test_a_worker_that_needs_them_all_shares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 1)
    assert split_cpus(2, tmp_path) == ((), (0, 1))
    assert split_cpus(4, tmp_path) == ((), (0, 1))


def test_only_cpus_that_the_process_may_use_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 2, 5)
    assert split_cpus(1, tmp_path) == ((5,), (2,))
