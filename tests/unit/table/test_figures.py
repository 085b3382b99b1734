"""Figures of the parts of a model: kept beside the rows, found for them, printed, exported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.benchmarking.operators import OperatorProfile, OperatorTime
from edgepress.cli.printing import print_operators
from edgepress.conversion import inspect
from edgepress.errors import TableError
from edgepress.table.archive import export_bundle, export_rows, import_archive
from edgepress.table.figures import (
    OPERATOR_TIME,
    Figures,
    figures_as_text,
    figures_from_json,
    figures_of_classes,
    figures_of_profile,
    figures_of_rows,
    mentioned,
)
from edgepress.table.report.contents import page_contents
from edgepress.table.schema import figures as figures_table
from edgepress.table.store import ResultStore
from edgepress.training.classes import ClassScores
from support.report_rows import HOSTILE, quantization_error
from support.table_rows import FACTS, RUNTIME, STARTED_UNIX_NS, result


def profile(**changes: Any) -> OperatorProfile:
    """What `edgepress profile` finds in the model of the made-up rows."""
    whole = OperatorProfile(
        model="digits.tflite",
        model_sha256="cd" * 32,
        device="pi4",
        way="ai-edge-litert 2.1.6, 1 thread",
        runtime=RUNTIME.name,
        runtime_version=RUNTIME.version,
        delegate="default",
        threads=1,
        ended_unix_ns=STARTED_UNIX_NS,
        whole_ns=100_000,
        call_ns=2_000,
        sum_ns=101_000,
        miss=0.01,
        delegate_nodes=1,
        operators=(
            OperatorTime(0, "CONV_2D", "conv", 91_000, 0.901, 1000, True),
            OperatorTime(1, "CUSTOM", "mine", None, None, 0, False, "it cannot be run alone"),
            OperatorTime(2, "SOFTMAX", HOSTILE, 10_000, 0.099, 0, True),
        ),
        verdict="stable",
        doubts=(),
        emulated=False,
    )
    return dataclasses.replace(whole, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1 of 3 operators could not be run alone"),
        ({"verdict": "unstable", "doubts": ("28% of the run was disturbed",)}, "is unstable: 28% of the run"),
        ({"emulated": True, "verdict": "unstable", "doubts": ("x",)}, "Emulated: the times say nothing"),
    ],
)
def test_what_makes_a_profile_doubtful_is_printed_below_it(
    changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_operators(profile(**changes))
    assert said in capsys.readouterr().out


def times(**changes: Any) -> Figures:
    return figures_of_profile(profile(**changes), FACTS)


def test_figures_come_back_as_they_were_recorded_and_once(store: ResultStore) -> None:
    for _ in range(2):
        store.record_figures(times())
    assert store.figures(["cd" * 32, "00" * 32]) == (times(),)
    assert store.figures(["00" * 32]) == store.figures([]) == ()


def test_figures_of_more_files_than_a_statement_takes_are_found(sqlite_store: ResultStore) -> None:
    sqlite_store.record_figures(times())
    assert sqlite_store.figures(["cd" * 32, *(f"{number:064x}" for number in range(40_000))]) == (times(),)


@pytest.mark.parametrize(
    "changes",
    [{"model_sha256": "00" * 32}, {"runtime_version": "1.4.0"}, {"threads": 4}, {"delegate": "none"}],
    ids=lambda changes: next(iter(changes)),
)
def test_times_hold_for_rows_of_the_same_file_measured_in_the_same_way(changes: dict[str, Any]) -> None:
    row = result("int8")
    assert times().hold_for(row)
    assert not times(**changes).hold_for(row)
    assert not times().hold_for(dataclasses.replace(row, physical_device="11" * 32))


def test_a_board_without_an_identity_is_known_by_its_name_as_in_its_rows() -> None:
    nobody = dataclasses.replace(FACTS, physical_id=None)
    assert figures_of_profile(profile(), nobody).hold_for(result("int8", facts=nobody))
    assert not figures_of_profile(profile(device="pi5"), nobody).hold_for(result("int8", facts=nobody))


def test_figures_that_no_board_had_a_part_in_hold_for_the_file_everywhere() -> None:
    assert quantization_error().hold_for(dataclasses.replace(result("int8"), physical_device="11" * 32, threads=4))


def test_of_figures_of_one_kind_the_newest_are_taken(sqlite_store: ResultStore) -> None:
    sqlite_store.record([result("int8"), result("int8", job_id="b"), result("int8", job_id="c", device="pi5")])
    newer = times(ended_unix_ns=STARTED_UNIX_NS + 10**9, whole_ns=99_000)
    for one in (newer, times(), quantization_error(), times(threads=2)):
        sqlite_store.record_figures(one)
    found = figures_of_rows(sqlite_store, sqlite_store.rows())
    assert {(one.what, one.whole, len(rows)) for one, rows in found} == {
        (OPERATOR_TIME, 99_000.0, 3),
        ("quantization error by layer", None, 3),
    }


def test_text_says_each_part_with_its_share_where_from_and_what_is_missing() -> None:
    text = figures_as_text(times())
    assert text.splitlines()[0] == (
        "time by operator of digits.tflite, by edgepress profile 0.1.0 on pi4, ai-edge-litert 2.1.6, 2026-09-21"
    )
    assert "Parts run one by one (2 of 3; the others cannot be): 101 µs, the whole model: 100 µs (+1.0%)" in text
    assert "CONV_2D     91.0 µs   90.1%  conv" in text
    assert "-          mine: it cannot be run alone" in text
    assert "\x1b" not in text
    assert "%" not in figures_as_text(quantization_error()).replace("%{x}", "")


def test_below_a_table_one_line_says_what_is_known_and_from_where() -> None:
    rows = [result("int8")]
    assert mentioned([]) == []
    first, second = mentioned([(times(), rows), (times(threads=2), rows), (quantization_error(), rows)])
    assert first.startswith("time by operator: known of 2 files, the newest by edgepress profile 0.1.0 on pi4")
    assert second.startswith("quantization error by layer: known of 1 file, the newest by a later version, 2026-09-21;")


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.zip"])
def test_archives_take_figures_along(sqlite_store: ResultStore, tmp_path: Path, name: str) -> None:
    sqlite_store.record([result("int8")])
    sqlite_store.record_figures(times())
    sqlite_store.record_figures(times(model_sha256="00" * 32))  # of no exported row
    write = export_bundle if name.endswith(".zip") else export_rows
    write(sqlite_store, sqlite_store.rows(), tmp_path / name)
    with ResultStore.open(str(tmp_path / "other.db")) as other:
        for _ in range(2):
            import_archive(other, tmp_path / name)
        assert other.figures(["cd" * 32, "00" * 32]) == (times(),)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], "ends after 0 of 1 figures: it was cut off"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"threads": 1', '"threads": "1"')], "damaged: threads"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"unit"', '"units"')], "figures of a model are damaged"),
        (lambda lines: [*lines[:-1], '{"figures": []}'], "figures of a model are damaged"),
    ],
)
def test_damaged_figures_are_refused(sqlite_store: ResultStore, tmp_path: Path, damage: Any, message: str) -> None:
    sqlite_store.record([result("int8")])
    sqlite_store.record_figures(times())
    path = tmp_path / "a.jsonl"
    export_rows(sqlite_store, sqlite_store.rows(), path)
    path.write_text("".join(f"{line}\n" for line in damage(path.read_text().splitlines())))
    with ResultStore.open(str(tmp_path / "other.db")) as other, pytest.raises(TableError, match=message):
        import_archive(other, path)


def test_an_archive_of_the_first_form_is_still_read(sqlite_store: ResultStore, tmp_path: Path) -> None:
    sqlite_store.record([result("int8")])
    path = tmp_path / "a.jsonl"
    export_rows(sqlite_store, sqlite_store.rows(), path)
    head, row = path.read_text().splitlines()
    old = {**json.loads(head), "edgepress_archive": 1}
    del old["figures"]
    path.write_text(f"{json.dumps(old)}\n{row}\n")
    with ResultStore.open(str(tmp_path / "other.db")) as other:
        assert import_archive(other, path).new == 1


def test_damaged_figures_in_the_database_are_an_error(sqlite_store: ResultStore) -> None:
    sqlite_store.record_figures(times())
    with sqlite_store._engine.begin() as connection:
        connection.execute(figures_table.update().values(document=b"\x00\x11"))
    with pytest.raises(TableError, match="figures of a model are damaged"):
        sqlite_store.figures(["cd" * 32])


def test_figures_are_json_and_back() -> None:
    assert figures_from_json(json.loads(json.dumps(times().as_json()))) == times()


def test_the_report_gets_printable_figures_with_their_rows_or_none(sqlite_store: ResultStore) -> None:
    sqlite_store.record([result("float32"), result("int8", position=1, job_id="b")])
    assert page_contents(sqlite_store, sqlite_store.rows())["figures"] == []
    sqlite_store.record_figures(times())
    (shown,) = page_contents(sqlite_store, sqlite_store.rows())["figures"]
    assert (shown["kinds"], shown["values"]) == (["CONV_2D", "CUSTOM", "SOFTMAX"], [91_000.0, None, 10_000.0])
    assert shown["rows"] == [row.id for row in sqlite_store.rows()]
    assert shown["note"].endswith("Taken by edgepress profile 0.1.0 on pi4, ai-edge-litert 2.1.6, 2026-09-21.")
    assert "\x1b" not in json.dumps(shown, ensure_ascii=False)


def test_how_well_a_file_tells_each_class_is_kept_and_printed_with_precision_and_recall() -> None:
    file = inspect(Path(__file__).parents[2] / "cases/models/dense_float32.tflite")
    scores = [ClassScores(0, "cat", 40, 0.5, 1.0, 2 / 3), ClassScores(0, HOSTILE, 2, 0.0, 0.0, 0.0)]

    figures = figures_from_json(figures_of_classes(scores, file, "int8").as_json())

    assert figures.hold_for(dataclasses.replace(result(), model_sha256=file.sha256))
    text = figures_as_text(figures)
    assert "F1 by class of int8, by the test split" in text
    assert "0.6667" in text
    assert "cat: precision 0.5, recall 1, 40 samples" in text
