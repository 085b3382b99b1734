"""Steps in a series, and the bars that show it."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.table.history import histories, sparkline
from edgepress.table.result import Result
from edgepress.table.steps import find_pieces
from support.table_rows import STARTED_UNIX_NS, result, steady_run


def noisy(levels: list[tuple[float, int]], seed: int, noise: float = 0.01) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(level * (1 + rng.normal(0, noise))) for level, count in levels for _ in range(count)]


def test_steps_are_found_where_they_are() -> None:
    pieces = find_pieces(noisy([(100, 40), (110, 40), (104, 20)], seed=0))
    assert [(piece.start, piece.stop) for piece in pieces] == [(0, 40), (40, 80), (80, 100)]
    assert [piece.value for piece in pieces] == pytest.approx([100, 110, 104], rel=0.01)


def test_noise_alone_has_no_steps() -> None:
    assert sum(len(find_pieces(noisy([(100, 60)], seed))) > 1 for seed in range(100)) == 0


def test_a_step_of_three_times_the_noise_is_found() -> None:
    found = [find_pieces(noisy([(100, 30), (103, 30)], seed)) for seed in range(50)]
    assert sum(len(pieces) == 2 and abs(pieces[1].start - 30) <= 2 for pieces in found) >= 45


def test_steps_smaller_than_the_least_are_no_steps() -> None:
    values = noisy([(100, 40), (103, 40)], seed=1, noise=0.002)
    assert len(find_pieces(values)) == 2
    assert len(find_pieces(values, least_step=0.05)) == 1


def test_points_of_little_weight_do_not_move_a_level() -> None:
    values = [100.0] * 10 + [160.0] * 3 + [100.0] * 10
    weights = [1.0] * 10 + [0.01] * 3 + [1.0] * 10
    assert len(find_pieces(values, weights)) == 1


@given(st.lists(st.floats(1, 1e9), max_size=40))
def test_pieces_cover_any_series_exactly_once(values: list[float]) -> None:
    pieces = find_pieces(values)
    edges = [(piece.start, piece.stop) for piece in pieces]
    assert [number for start, stop in edges for number in range(start, stop)] == list(range(len(values)))
    assert all(min(values[a:b]) <= piece.value <= max(values[a:b]) for (a, b), piece in zip(edges, pieces, strict=True))


def test_three_hundred_points_take_well_under_a_second() -> None:
    started = time.perf_counter()
    find_pieces(noisy([(100, 300)], seed=3))
    assert time.perf_counter() - started < 1.0


def weekly(p50_us: list[int], **changes: object) -> list[Result]:
    return [
        dataclasses.replace(
            result("int8", run=steady_run(p50 * 1000), job_id=f"j{n}", ended_unix_ns=STARTED_UNIX_NS + n * 10**15),
            **changes,  # type: ignore[arg-type]
        )
        for n, p50 in enumerate(p50_us)
    ]


def test_a_history_names_what_changed_at_a_step() -> None:
    rows = weekly([100, 101, 100, 99], kernel="6.12") + weekly([0, 0, 0, 0, 120, 121, 120], kernel="6.18")[4:]
    (series,) = histories(rows)
    (step,) = series.steps
    assert step.ratio == pytest.approx(1.2, rel=0.02)
    assert step.at.id == rows[4].id
    assert ("kernel", "6.12", "6.18") in step.changed


def test_one_odd_session_is_no_step() -> None:
    (series,) = histories(weekly([100, 101, 100, 150, 100, 99, 100]))
    assert series.steps == ()
    (fresh,) = histories(weekly([100, 101, 100, 100, 150]))
    assert fresh.steps == ()


def test_boards_recipes_and_threads_have_histories_of_their_own_but_a_newer_runtime_has_not() -> None:
    rows = [
        result("int8", job_id="a"),
        dataclasses.replace(result("int8", job_id="b"), runtime_version="2.2.0"),
        result("dynamic", job_id="c"),
        result("int8", job_id="d", run=steady_run(threads=4)),
    ]
    assert sorted(len(series.rows) for series in histories(rows)) == [1, 1, 2]


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([5], "▁"), ([100, 101, 100], "▁▁▁"), ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"), ([0, 0], "▁▁")],
)
def test_bars_do_not_make_mountains_of_noise(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars
