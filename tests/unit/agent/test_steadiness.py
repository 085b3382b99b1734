"""When warm-up has ended."""

from __future__ import annotations

import random

from edgepress_agent.steadiness import is_steady


def noisy(level: float, count: int, seed: int = 0) -> list[int]:
    generator = random.Random(seed)
    return [round(level * generator.gauss(1, 0.03)) for _ in range(count)]


def test_a_level_trace_is_steady() -> None:
    assert is_steady([1000] * 16)
    assert sum(is_steady(noisy(100_000, 60, seed)) for seed in range(50)) >= 45


def test_too_few_runs_say_nothing() -> None:
    assert not is_steady([1000] * 15)


def test_a_trace_that_still_falls_is_not() -> None:
    assert not is_steady([round(100_000 * (1 + 2 / (run + 1))) for run in range(20)])
    assert not any(is_steady(noisy(200_000, 35, seed) + noisy(100_000, 15, seed)) for seed in range(20))


def test_a_slow_beginning_is_forgotten_once_it_is_the_first_half() -> None:
    assert is_steady([300_000] * 20 + [100_000] * 40)
