"""The table's commands as they are typed: what they print, write and exit with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from edgepress.cli import filters
from edgepress.cli.main import cli
from edgepress.errors import EdgepressError
from edgepress.table.store import ResultStore
from support.report_rows import HOSTILE, operator_times, quantization_error, report_rows

NEW, OLD = "commit:356a192", "commit:b6589fc"  # of report_rows


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("cli") / "table.db")
    with ResultStore.open(path) as store:
        store.record(report_rows())
        store.record_figures(operator_times())
        store.record_figures(quantization_error())
    return path


@pytest.fixture
def run(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPRESS_DB", database)

    def call(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == code, done.output
        return done

    return call


def test_table_filters_by_device_commit_and_age(run: Any) -> None:
    rows = json.loads(run("table", "--device", "pi4", "--commit", "356a192", "--json").output)["rows"]
    assert (len(rows), {row["device"] for row in rows}) == (12, {"pi4"})
    done = run("table", "--since", "1h", "--format", "csv")
    assert (done.stdout, done.stderr.endswith("has rows, but none like that\n")) == ("\n", True)


def test_recipes_may_be_repeated_or_comma_separated(run: Any) -> None:
    for words in (("--recipe", "int8,float32"), ("-r", "int8", "-r", "float32")):
        rows = json.loads(run("table", "--device", "pi4", *words, "--json").output)["rows"]
        assert {row["recipe"] for row in rows} == {"int8", "float32"}


def test_a_word_that_names_two_of_a_kind_is_refused(run: Any) -> None:
    done = CliRunner().invoke(cli, ("compare", "device:pi4,device:qemu", "int8"))
    assert "has device: twice" in str(done.exception)


def test_table_mentions_times_of_operators_and_figures_prints_them(run: Any) -> None:
    assert "time by operator: known of 1 file, the newest by edgepress profile" in run("table").output
    assert "time by operator" not in run("table", "--format", "markdown").output
    output = run("table", "figures", "--device", "pi4").output
    assert "one by one (6 of 7; the others cannot be)" in output
    assert "\x1b" not in output
    first, second = json.loads(run("table", "figures", "--json").output)["figures"]
    assert {first["unit"], second["unit"]} == {"ns", ""}
    assert "nothing is known" in run("table", "figures", "--recipe", "none").output


def test_table_prints_hostile_names_without_escapes(run: Any) -> None:
    for format in ("text", "markdown", "latex", "csv", "json"):
        output = run("table", "--device", HOSTILE, "--format", format).output
        assert "\x1b" not in output


def test_compare_says_ratio_interval_and_that_it_crosses_sessions(run: Any) -> None:
    output = run("compare", f"{OLD},recipe:int8", f"{NEW},recipe:int8").output
    assert "slower" in output
    assert "crosses sessions" in output
    (pair,) = json.loads(run("compare", f"{OLD},recipe:int8", f"{NEW},recipe:int8", "--json").output)["pairs"]
    assert pair["changes"][0]["low"] < 1.09 < pair["changes"][0]["high"] * 1.02


def test_regress_exits_with_3_and_writes_a_comment(run: Any) -> None:
    limits = ("--max-latency-increase", "3%", "--max-accuracy-drop", "0.5pp")
    assert "4 regressions" in run("regress", "--baseline", OLD, "--candidate", NEW, *limits, code=3).output
    run("regress", "--baseline", NEW, "--candidate", OLD, *limits, "--comment", "comment.md")
    assert Path("comment.md").read_text().startswith("### edgepress: no regression")


def test_regress_takes_an_archive_as_its_baseline(run: Any) -> None:
    run("table", "export", "base.jsonl", "--commit", "b6589fc")
    assert (
        "regressions"
        in run("regress", "--baseline", "base.jsonl", "--candidate", NEW, "--max-latency-increase", "3%", code=3).output
    )


def test_regress_needs_a_limit_and_an_amount(run: Any) -> None:
    assert "at least one limit" in run("regress", "--baseline", OLD, code=2).output
    assert "no amount such as 3%" in run("regress", "--baseline", OLD, "--max-size-increase", "much", code=2).output


def test_history_shows_bars_and_steps(run: Any) -> None:
    output = run("table", "history", "--device", "pi4", "--recipe", "int8").output
    assert "▁" in output
    assert "step of +8.7% at" in output
    assert "project_commit b6589fc → 356a192" in output
    assert len(json.loads(run("table", "history", "--json").output)["series"]) >= 4


def test_export_and_import_make_the_same_table(run: Any, tmp_path: Path) -> None:
    run("table", "export", "all.zip", "--bundle")
    assert "27 rows, 27 of them new" in run("table", "import", "all.zip", "--db", "copy.db").output
    assert run("table", "--db", "copy.db").output == run("table").output


def test_import_of_other_tools_needs_to_be_told_what_they_do_not_say(run: Any) -> None:
    assert (
        "needs --tflite FILE and --device NAME"
        in run("table", "import", "x", "--from", "benchmark_model", code=2).output
    )
    assert "belong to --from" in run("table", "import", "x", "--device", "pi4", code=2).output
    Path("log.txt").write_text("count=50 first=9 curr=9 min=9 max=12 avg=10 std=1\n")
    Path("m.tflite").write_bytes(b"model")
    arguments = ("table", "import", "log.txt", "--from", "benchmark_model", "--tflite", "m.tflite", "--device", "pi9")
    assert "1 rows, 1 of them new, 1 models" in run(*arguments, "--db", "new.db").output
    assert "FOREIGN" in run("table", "--db", "new.db").output
    assert "deleted 0 files" in run("table", "gc", "--db", "new.db").output


def test_gc_of_one_table_does_not_touch_a_folder_of_models_that_it_shares(
    run: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_MODELS", "shelf")
    Path("shelf").mkdir()
    kept = Path("shelf") / f"{'ab' * 32}.tflite"
    kept.touch()
    os.utime(kept, (0, 0))
    done = CliRunner().invoke(cli, ("table", "gc", "--db", "other.db"))
    assert "shelf ($EDGEPRESS_MODELS) may have files of other tables" in str(done.exception)
    assert kept.exists()
    assert "deleted 1 files" in run("table", "gc", "--db", database).output


def test_report_plot_and_card_write_files(run: Any) -> None:
    assert json.loads(run("report", "-o", "r.html", "--json").output)["rows"] == 27
    page = Path("r.html").read_text()
    assert "<script>alert(1)</script>" not in page
    for kind in ("pareto", "latency", "phases", "history"):
        run("plot", "-o", f"{kind}.svg", "--kind", kind, "--device", "pi4")
        assert Path(f"{kind}.svg").read_text().startswith("<?xml")
    run("plot", "-o", "again.svg", "--device", "pi4")
    assert Path("again.svg").read_bytes() == Path("pareto.svg").read_bytes()
    run("card", "digits", "--device", "pi4", "-o", "CARD.md")
    card = Path("CARD.md").read_text()
    for words in (
        "# digits",
        "## Recipes",
        "## Results by device",
        "Fastest on pi4: prune50-int8",
        "5 fresh processes",
    ):
        assert words in card
    assert "<script>" not in run("card", HOSTILE).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plot", "-o", "x.gif"), "a picture ends with .png"),
        (("plot", "-o", "x.png"), "these rows differ in device"),
        (("plot", "-o", "x.png", "--recipe", "none"), "no row to draw"),
        (("card", "nothing"), "no row of such a model"),
        (("compare", "nothing", "int8"), "nothing in"),
        (("compare", "newest", "newest"), "newest and newest choose the same rows"),
        (("report", "-o", "no/such/folder/r.html"), "cannot be written"),
        (("table", "export", "no/such/folder/r.jsonl"), "no/such/folder"),
        (("table", "import", "nowhere.jsonl"), "nowhere.jsonl"),
        (("table", "--columns", "speed"), "no column 'speed'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_an_error_that_says_why(run: Any, arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, EdgepressError)
    assert message in str(done.exception)


@pytest.mark.parametrize("value", ["2026-11-24", "2026-11-24T10:00", "12h", "7d", "4w"])
def test_moments_are_dates_or_ages(value: str) -> None:
    moment = filters.moment(click.Context(cli), click.Option(["--since"]), value)
    assert moment is not None
    assert moment.astimezone() < datetime.now(UTC) or value.startswith("2026")


def test_a_moment_that_is_none_is_refused(run: Any) -> None:
    assert "neither a date such as" in run("table", "--since", "yesterday", code=2).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_every_shell_of_the_page(shell: str) -> None:
    if shell == "bash" and not Path("/bin/bash").exists():
        pytest.skip("no bash here")
    program = "from edgepress.cli.main import main; main()"
    environment = {**os.environ, "_EDGEPRESS_COMPLETE": f"{shell}_source"}
    launcher = Path(sys.executable).with_name("edgepress")
    command = [str(launcher)] if launcher.exists() else [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "edgepress" in done.stdout
    assert f"_EDGEPRESS_COMPLETE={shell}_complete" in done.stdout
