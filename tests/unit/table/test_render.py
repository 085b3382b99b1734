"""Rows as text, Markdown, CSV and JSON, and drawn on a terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from edgepress.table.card import model_card
from edgepress.table.layout import Layout, arrange
from edgepress.table.render import FORMATS, Format, render
from edgepress.table.result import Result
from edgepress.table.store import ResultStore
from edgepress.table.terminal import ResultTable
from support.table_rows import FACTS, result, run_report, steady_run

QEMU = dataclasses.replace(FACTS, model="QEMU virt", physical_id="11" * 32, emulated=True)
HOSTILE = "<script>|=cmd()\x1b[2J\x1b]0;x\x07[bold]"


def session(**changes: Any) -> list[Result]:
    return [
        result("float32", run=steady_run(80_000), size_bytes=40_960, **changes),
        result("int8", run=steady_run(40_000), size_bytes=10_240, position=1, **changes),
    ]


def drawn(rows: list[Result], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(ResultTable(rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(rows: list[Result], header: str) -> list[str]:
    (group,) = arrange(rows)
    return next([cell.text for cell in column.cells] for column in group.columns if column.header == header)


def headers(rows: list[Result]) -> list[str]:
    (group,) = arrange(rows)
    return [column.header for column in group.columns]


def test_a_run_shows_what_people_decide_by() -> None:
    assert headers(session()) == [
        "recipe",
        "size",
        "size vs float32",
        "accuracy on host",
        "accuracy on board",
        "p50",
        "± of p50",
        "p95",
        "peak memory",
        "speed-up",
        "best (◆ Pareto)",
        "output check",
        "verdict",
    ]
    assert cells(session(), "size") == ["40.0 KiB", "10.0 KiB"]
    assert cells(session(), "size vs float32") == ["1.00x", "0.25x"]
    assert cells(session(), "speed-up") == ["1.00x", "2.00x"]
    assert cells(session(), "accuracy on board") == ["97.5%", "97.5%"]


def test_a_row_is_related_only_to_the_float32_row_of_its_own_session() -> None:
    monday = session()
    tuesday = [result("int8", run=steady_run(20_000), job_id="job-2")]
    assert cells(monday + tuesday, "speed-up") == ["1.00x", "2.00x", "-"]
    assert "measured" in headers(monday + tuesday)


def test_a_row_is_related_only_to_the_float32_row_of_its_own_conditions() -> None:
    one = session()
    four = [
        result(recipe, run=steady_run(p50_ns, threads=4), size_bytes=size, position=position)
        for position, (recipe, p50_ns, size) in enumerate([("float32", 40_000, 40_960), ("int8", 10_000, 10_240)], 2)
    ]
    (group,) = arrange(one + four, Layout(mix=frozenset({"threads"})))
    (speed_up,) = (column for column in group.columns if column.header == "speed-up")
    assert [cell.text for cell in speed_up.cells] == ["1.00x", "2.00x", "1.00x", "4.00x"]


def test_a_card_has_the_newest_row_of_each_set_of_conditions(sqlite_store: ResultStore) -> None:
    slow = steady_run(90_000)
    slow = dataclasses.replace(slow, configuration=dataclasses.replace(slow.configuration, delegate="none"))
    old, new, apart = (result(run=run, job_id=str(n), position=n) for n, run in enumerate([slow, slow, steady_run()]))
    sqlite_store.record([old, new, apart])
    card = model_card(sqlite_store, sqlite_store.rows())
    measured = [line for line in card.splitlines() if "µs" in line and line.startswith("|")]
    assert ["90.0 µs" in line for line in measured] == [True, False]


def test_files_that_no_recipe_made_are_named_by_their_file() -> None:
    bare = {"metric": None, "metric_samples": None, "host_metric": None, "board_metric": None, "output_check": None}
    rows = [result(None, model="mobilenet.tflite", **bare)]
    assert headers(rows) == ["model", "size", "p50", "± of p50", "p95", "peak memory", "output check", "verdict"]
    assert cells(rows, "output check") == ["-"]


@pytest.mark.parametrize(
    "different",
    [{"device": "pi5", "facts": dataclasses.replace(FACTS, physical_id="22" * 32)}, {"data_sha256": "00" * 32}],
)
def test_unlike_rows_do_not_share_a_table(different: dict[str, Any]) -> None:
    assert len(arrange(session() + session(job_id="job-2", **different))) == 2


def test_emulated_rows_stand_apart_come_last_and_claim_no_speed_up() -> None:
    real, emulated = arrange(session(job_id="q", device="qemu", facts=QEMU) + session())
    assert real.title.startswith("pi4")
    assert "EMULATED" in emulated.title
    assert "speed-up" not in [column.header for column in emulated.columns]


def test_warnings_are_numbered_notes_one_for_each_kind() -> None:
    shaky = run_report([[100_000] * 30] * 4 + [[160_000] * 30])
    rows = [*session(), result("dynamic", run=shaky, position=2), result("svd", run=shaky, position=3)]
    (group,) = arrange(rows)
    assert cells(rows, "notes") == ["", "", "1 2", "1 2"]
    assert [note.split(":")[0] for note in group.notes] == ["1 process-spread", "2 long-tail"]
    assert all(note.endswith("(the first of 2 rows)") for note in group.notes)


def test_the_title_says_where_and_how_sure_the_accuracy_is() -> None:
    (group,) = arrange(session())
    assert group.title == (
        "pi4 · Raspberry Pi 4 Model B Rev 1.4 · ai-edge-litert 2.1.6 · 1 thread · governor performance · "
        "accuracy on 360 test samples (±2.2 pp)"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_terminal_is_never_too_narrow(width: int) -> None:
    text = drawn(session() + session(job_id="q", device="qemu", facts=QEMU), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert all(word in text for word in ("float32", "int8", "80.0 µs", "40.0 µs", "97.5%", "stable", "identical"))


def test_columns_that_have_no_room_are_named() -> None:
    assert "too narrow for" not in drawn(session(), 120)
    assert "too narrow for: ± of p50, accuracy on host" in drawn(session(), 80)


def test_text_has_every_column_and_no_trailing_space() -> None:
    lines = render(session(), "text").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["recipe", "float32", "int8"]
    assert not any(line.endswith(" ") for line in lines)
    assert len({line.index("µs") for line in lines[2:]}) == 1


def test_markdown_is_a_table() -> None:
    lines = render(session(), "markdown").splitlines()
    bars = {line.replace("\\|", "").count("|") for line in lines[2:]}
    assert (lines[0][:5], bars) == ("**pi4", {14})


def test_csv_has_the_fields_of_json() -> None:
    rows = session()
    parsed = list(csv.DictReader(io.StringIO(render(rows, "csv"))))
    assert list(parsed[0]) == list(rows[0].as_row())
    assert [line["latency_p50_ns"] for line in parsed] == [str(row.latency_p50_ns) for row in rows]


def test_json_is_a_document_with_a_schema_and_exact_numbers() -> None:
    rows = session()
    document = json.loads(render(rows, "json"))
    assert document == {"schema": 1, "rows": [row.as_row() for row in rows]}
    promised = (
        "model recipe recipe_id device tflite_bytes metric metric_value_host metric_value_board metric_samples "
        "latency_p50_ns latency_p95_ns peak_rss_bytes model_rss_bytes runtime threads output_check verdict emulated "
        "warnings"
    )
    assert set(promised.split()) <= set(document["rows"][0])


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows_are_no_error(format: Format) -> None:
    assert render([], format) == {"csv": "", "json": '{\n  "schema": 1,\n  "rows": []\n}'}.get(format, "no rows")


def test_hostile_names_are_inert_everywhere() -> None:
    facts = dataclasses.replace(FACTS, model=HOSTILE)
    rows = [
        result(HOSTILE, model=HOSTILE, device=HOSTILE, output_check=HOSTILE, metric=HOSTILE, facts=facts),
        result("=1+1", model="@x", device=HOSTILE, output_check=HOSTILE, metric=HOSTILE, facts=facts, position=1),
    ]
    outputs = [drawn(rows, 300), *(render(rows, format) for format in FORMATS)]
    assert not any("\x1b" in text or "\x07" in text for text in outputs)
    assert "[bold]" in outputs[0]
    assert "<script>" not in render(rows, "markdown")
    assert ",'=1+1," in render(rows, "csv")


@pytest.mark.parametrize("samples", [[0] * 200, [0] * 60 + [5] * 140, [-3] * 200])
def test_a_clock_that_stands_still_is_implausible_and_breaks_no_table(samples: list[int]) -> None:
    rows = [result("float32", run=run_report([samples] * 5)), result("int8", run=steady_run(), position=1)]
    assert rows[0].verdict == "implausible"
    for format in FORMATS:
        assert "implausible" in render(rows, format)
    assert "implausible" in drawn(rows, 200)
