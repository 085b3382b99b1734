"""Which rows share a table, which are called best, and what a line of several seeds says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgepress.cli import filters
from edgepress.errors import TableError
from edgepress.table.columns import CATALOGUE
from edgepress.table.conditions import CONDITIONS
from edgepress.table.layout import SORTS, Layout, arrange
from edgepress.table.marks import marks
from edgepress.table.recording import MetricValue
from edgepress.table.render import render
from edgepress.table.result import Result
from edgepress.table.seeds import fold_seeds, mean_interval
from support.table_rows import FACTS, result, run_report, steady_run

PI5 = dataclasses.replace(FACTS, model="Raspberry Pi 5", physical_id="55" * 32)
QEMU = dataclasses.replace(FACTS, physical_id="11" * 32, emulated=True)


def accuracy(value: float) -> MetricValue:
    return MetricValue(value, value - 0.01, value + 0.01)


def row(recipe: str, p50_us: int = 100, size: int = 1000, value: float = 0.9, **changes: Any) -> Result:
    changes.setdefault("job_id", recipe)
    return result(recipe, run=steady_run(p50_us * 1000), size_bytes=size, board_metric=accuracy(value), **changes)


def best(rows: list[Result]) -> dict[str | None, tuple[str, ...]]:
    found = marks(rows)
    return {r.recipe: found[r.id] for r in rows if r.id in found}


class TestMarks:
    def test_the_front_is_what_nothing_beats_in_everything(self) -> None:
        rows = [
            row("accurate", 100, 1000, 0.99),
            row("fast", 50, 1000, 0.95),
            row("small", 80, 500, 0.95),
            row("beaten", 100, 1000, 0.95),
        ]
        assert best(rows) == {
            "accurate": ("pareto", "most accurate"),
            "fast": ("pareto", "fastest"),
            "small": ("pareto", "smallest"),
        }

    def test_rows_that_cannot_be_believed_do_not_compete(self) -> None:
        shaky = run_report([[10_000] * 30] * 4 + [[16_000] * 30])
        rows = [
            row("a", 100),
            row("b", 90, 1001),
            result("unstable", run=shaky, job_id="u"),
            row("wrong", 1, output_check="wrong"),
            dataclasses.replace(row("foreign", 1), origin="benchmark_model"),
        ]
        assert set(best(rows)) == {"a", "b"}

    def test_of_repeated_measurements_the_newest_competes(self) -> None:
        old = row("a", 10, job_id="old")
        new = row("a", 100, job_id="new")
        assert best([old, new, row("b", 50)]) == {"b": ("pareto", "fastest")}

    def test_under_emulation_latency_does_not_count(self) -> None:
        rows = [row("a", 10, 1000, facts=QEMU), row("b", 90, 900, facts=QEMU)]
        assert best(rows) == {"b": ("pareto", "smallest")}

    def test_files_of_different_models_are_no_alternatives(self) -> None:
        bare = {"metric": None, "host_metric": None, "board_metric": None}
        rows = [result(None, model=name, job_id=name, **bare) for name in ("a.tflite", "b.tflite")]
        assert marks(rows) == {}

    def test_an_error_is_better_when_it_is_smaller(self) -> None:
        error = {"metric": "mean_absolute_error", "metric_higher_is_better": False}
        rows = [
            result(name, job_id=name, board_metric=accuracy(value), **error) for name, value in (("a", 0.5), ("b", 0.2))
        ]
        assert best(rows) == {"b": ("pareto", "best mean_absolute_error")}


class TestMixing:
    different = (
        ("device", {"device": "pi5", "facts": PI5}),
        ("governor", {"facts": dataclasses.replace(FACTS, governor="ondemand")}),
        ("threads", {"run": steady_run(threads=4)}),
        ("emulated", {"facts": dataclasses.replace(FACTS, emulated=True)}),
    )

    @pytest.mark.parametrize(("condition", "changes"), different, ids=[name for name, _ in different])
    def test_unlike_rows_share_a_table_only_when_asked_and_then_it_says_so(
        self, condition: str, changes: dict[str, Any]
    ) -> None:
        rows = [result("a", job_id="a"), result("b", job_id="b", **changes)]
        assert len(arrange(rows)) == 2
        (group,) = arrange(rows, Layout(mix=frozenset({condition})))
        assert f"MIXED: rows differ in {condition}" in group.title
        headers = [column.header for column in group.columns]
        assert condition in headers
        assert not any(header.startswith("best") for header in headers)

    def test_the_command_line_knows_the_same_conditions_and_orders(self) -> None:
        assert set(filters.CONDITIONS) == set(CONDITIONS)
        assert set(filters.SORTS) == set(SORTS)


class TestSeeds:
    def seeds(self) -> list[Result]:
        return [
            row("int8", p50, 1000, value, training_seed=seed, job_id=f"s{seed}")
            for seed, (p50, value) in enumerate([(100, 0.90), (102, 0.92), (104, 0.94)])
        ]

    def test_become_one_line_with_mean_and_interval(self) -> None:
        (line,) = fold_seeds(self.seeds())
        assert line.seeds == 3
        assert line.row.latency_p50_ns == pytest.approx(102_000, rel=1e-3)
        assert line.row.metric_value_board == pytest.approx(0.92)
        # t(2 degrees) = 4.303, standard deviation 0.02, three seeds
        assert line.row.metric_high_board == pytest.approx(0.92 + 4.303 * 0.02 / 3**0.5)

    def test_the_gravest_verdict_and_the_worst_check_stay_visible(self) -> None:
        rows = self.seeds()
        rows[1] = dataclasses.replace(rows[1], verdict="throttled", output_check="as good")
        (line,) = fold_seeds(rows)
        assert (line.row.verdict, line.row.output_check) == ("throttled", "as good")

    def test_of_one_seed_the_newest_row_counts(self) -> None:
        rows = [*self.seeds(), row("int8", 110, 1000, 0.94, training_seed=2, job_id="again")]
        (line,) = fold_seeds(rows)
        assert line.row.latency_p50_ns == pytest.approx(104_000, rel=1e-3)

    def test_repetitions_of_one_seed_are_not_folded(self) -> None:
        rows = [row("int8", job_id="a"), row("int8", job_id="b")]
        assert [line.seeds for line in fold_seeds(rows)] == [1, 1]

    def test_another_model_of_the_same_name_is_not_folded_with_them(self) -> None:
        rows = self.seeds()
        rows[1] = dataclasses.replace(rows[1], source_sha256="99" * 32)
        assert sorted(line.seeds for line in fold_seeds(rows)) == [1, 2]

    def test_are_shown_one_by_one_when_asked(self) -> None:
        assert "int8 (3 seeds)" in render(self.seeds(), "text")
        assert "92.0% ± 5.0%" in render(self.seeds(), "text")
        assert render(self.seeds(), "text", Layout(fold_seeds=False)).count("int8") == 3

    def test_exact_forms_hold_every_row(self) -> None:
        assert len(render(self.seeds(), "csv").splitlines()) == 4

    @pytest.mark.parametrize(("count", "factor"), [(2, 12.706), (11, 2.228), (12, 2.201), (31, 2.042)])
    def test_the_interval_is_students(self, count: int, factor: float) -> None:
        values = [0.0, 1.0] * (count // 2) + [0.5] * (count % 2)
        mean, low, high = mean_interval(values)
        deviation = (sum((value - mean) ** 2 for value in values) / (count - 1)) ** 0.5
        assert high - mean == pytest.approx(factor * deviation / count**0.5, rel=2e-3)
        assert mean - low == pytest.approx(high - mean)


class TestColumnsAndOrder:
    def test_rows_are_sorted_the_best_first_and_the_unknown_last(self) -> None:
        rows = [row("a", 3, value=0.5), row("b", 1, value=0.9), row("c", 2, value=0.7)]
        rows.append(dataclasses.replace(row("none", 9), metric_value_board=None, metric_value_host=None))
        (group,) = arrange(rows, Layout(sort="metric"))
        recipes = next(column for column in group.columns if column.header == "recipe")
        assert [cell.text for cell in recipes.cells] == ["b", "c", "a", "none"]

    def test_memory_that_another_tool_did_not_state_is_not_the_least(self) -> None:
        rows = [dataclasses.replace(row(name), peak_rss_bytes=size) for name, size in (("a", None), ("b", 9), ("c", 8))]
        (group,) = arrange(rows, Layout(sort="memory", columns=("recipe", "memory")))
        assert [cell.text for cell in group.columns[0].cells] == ["c", "b", "a"]
        assert group.columns[1].cells[-1].text == "-"

    def test_any_field_can_be_a_column_and_trust_is_always_one(self) -> None:
        (group,) = arrange([row("a")], Layout(columns=("recipe", "kernel", "latency_p99_ns")))
        assert [column.header for column in group.columns] == [
            "recipe",
            "kernel",
            "latency_p99_ns",
            "output check",
            "verdict",
        ]

    def test_a_column_that_does_not_exist_is_refused_with_those_that_do(self) -> None:
        with pytest.raises(TableError, match="no column 'speed'; there are measured, device"):
            Layout(columns=("speed",))

    @pytest.mark.parametrize("name", CATALOGUE)
    def test_every_named_column_can_be_drawn(self, name: str) -> None:
        assert render([row("a"), row("b", 50)], "text", Layout(columns=(name,)))

    def test_exact_forms_take_the_fields_among_the_columns(self) -> None:
        header = render([row("a")], "csv", Layout(columns=("recipe", "p50", "kernel"))).splitlines()[0]
        assert header == "id,recipe,output_check,verdict,kernel,warnings"

    def test_latex_sets_names_as_they_are(self) -> None:
        text = render([row(r"50% \alpha_1 & #2 ~^{}$")], "latex")
        assert r"50\% \textbackslash{}alpha\_1 \& \#2 \textasciitilde{}\textasciicircum{}\{\}\$" in text
        assert text.count("\n\\toprule") == text.count("\n\\bottomrule") == 1
