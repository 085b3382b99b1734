"""Rows as files: archives, bundles, results of other tools, and the models that are kept."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from edgepress.compression.recipe import load_recipe, shipped_recipes
from edgepress.errors import TableError
from edgepress.table.archive import export_bundle, export_rows, import_archive, opened_archive
from edgepress.table.foreign import read_foreign
from edgepress.table.models import GRACE_S, ModelShelf
from edgepress.table.render import render
from edgepress.table.result import Result
from edgepress.table.store import ResultStore
from support.table_rows import FACTS, result, run_report, steady_run

HOSTILE = "<script>|=cmd()\x1b[2J\u202e"


def some_rows() -> list[Result]:
    qemu = dataclasses.replace(FACTS, emulated=True, physical_id="11" * 32)
    return [
        result("float32"),
        result(HOSTILE, position=1, model=HOSTILE, project="a" * 40 + "-dirty"),
        result(None, job_id="bare", metric=None, host_metric=None, board_metric=None, training_seed=None),
        result("int8", job_id="q", facts=qemu, run=run_report([[71, 75, 70], [90, 92, 91]])),
    ]


@pytest.fixture
def other(tmp_path: Path) -> ResultStore:
    return ResultStore.open(str(tmp_path / "other.db"))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.zip"])
def test_rows_and_evidence_come_back_as_they_were(
    store: ResultStore, other: ResultStore, tmp_path: Path, name: str
) -> None:
    store.record(some_rows())
    write = export_bundle if name.endswith(".zip") else export_rows
    assert write(store, store.rows(), tmp_path / name).rows == 4
    assert import_archive(other, tmp_path / name).new == 4
    assert other.rows() == store.rows()
    for row in store.rows():
        assert other.evidence(row.id) == store.evidence(row.id)
        assert other.document(row.id) == store.document(row.id)
    assert import_archive(other, tmp_path / name).new == 0


def test_an_archive_is_lines_of_json(sqlite_store: ResultStore, tmp_path: Path) -> None:
    sqlite_store.record(some_rows())
    export_rows(sqlite_store, sqlite_store.rows(), tmp_path / "a.jsonl.gz")
    with gzip.open(tmp_path / "a.jsonl.gz", "rt") as file:
        head, *lines = [json.loads(line) for line in file]
    assert (head["edgepress_archive"], head["rows"], len(lines)) == (3, 4, 4)
    assert lines[0]["row"]["latency_p50_ns"] == sqlite_store.rows()[0].latency_p50_ns
    assert (
        sum(map(len, (p["samples_ns"] for p in lines[0]["evidence"]["run"]["processes"]))) == lines[0]["row"]["samples"]
    )


def test_a_bundle_gives_the_same_table_with_models_and_recipes(
    sqlite_store: ResultStore, other: ResultStore, tmp_path: Path
) -> None:
    content = b"TFL3 of a kind"
    sha256 = hashlib.sha256(content).hexdigest()
    recipe = shipped_recipes()["prune50-int8"].model_dump(mode="json")
    run = steady_run(model_sha256=sha256)
    row = dataclasses.replace(result("prune50-int8", compression={"recipe": recipe}), model_sha256=sha256)
    assert row.evidence is not None
    row = dataclasses.replace(row, evidence=dataclasses.replace(row.evidence, run=run))
    sqlite_store.models.put(content, sha256)
    sqlite_store.record([row])
    done = export_bundle(sqlite_store, sqlite_store.rows(), tmp_path / "paper.zip")
    assert (done.models, done.recipes, done.missing) == (1, 1, ())
    assert import_archive(other, tmp_path / "paper.zip").models == 1
    for format in ("text", "markdown", "csv", "json", "latex"):
        assert render(other.rows(), format) == render(sqlite_store.rows(), format)  # type: ignore[arg-type]
    assert other.models.path(sha256).read_bytes() == content
    with zipfile.ZipFile(tmp_path / "paper.zip") as bundle:
        (name,) = [name for name in bundle.namelist() if name.startswith("recipes/")]
        (tmp_path / "again.toml").write_bytes(bundle.read(name))
    assert load_recipe(str(tmp_path / "again.toml")) == shipped_recipes()["prune50-int8"]


def test_a_bundle_that_is_only_looked_into_leaves_no_model_behind(
    sqlite_store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"TFL3 of a kind"
    sha256 = hashlib.sha256(content).hexdigest()
    sqlite_store.models.put(content, sha256)
    sqlite_store.record([dataclasses.replace(result(), model_sha256=sha256)])
    export_bundle(sqlite_store, sqlite_store.rows(), tmp_path / "paper.zip")
    monkeypatch.setenv("EDGEPRESS_MODELS", str(tmp_path / "models"))
    with opened_archive(tmp_path / "paper.zip") as archive:
        assert archive.models.path(sha256).read_bytes() == content
    assert not (tmp_path / "models").exists()


def test_models_that_are_not_kept_are_named(sqlite_store: ResultStore, tmp_path: Path) -> None:
    sqlite_store.record([result()])
    assert export_bundle(sqlite_store, sqlite_store.rows(), tmp_path / "b.zip").missing == ("cd" * 32,)


def _lines(store: ResultStore, path: Path) -> list[str]:
    store.record([result("a"), result("b", position=1)])
    export_rows(store, store.rows(), path)
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], "ends after 1 of 2 rows: it was cut off"),
        (lambda lines: [lines[0], lines[1][:-20], lines[2]], "line 2 of .* is no row"),
        (lambda lines: [lines[0], lines[1].replace('"threads": 1', '"threads": 2', 1), lines[2]], "was changed after"),
        (lambda lines: [lines[0].replace(": 3,", ": 99,", 1), *lines[1:]], "form 99; this edgepress reads 3: upgrade"),
        (lambda lines: ['{"results": []}'], "--from benchmark_model"),
        (lambda lines: [], "is empty"),
        (lambda lines: [lines[0], "[]", lines[2]], "line 2 of .* is no row"),
    ],
)
def test_a_damaged_archive_is_refused_and_says_where(
    sqlite_store: ResultStore, other: ResultStore, tmp_path: Path, damage: object, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    lines = _lines(sqlite_store, path)
    path.write_text("".join(f"{line}\n" for line in damage(lines)))  # type: ignore[operator]
    with pytest.raises(TableError, match=message):
        import_archive(other, path)


def test_a_hostile_bundle_writes_nothing_outside_and_no_false_model(other: ResultStore, tmp_path: Path) -> None:
    for number, name in enumerate(["../models/" + "ab" * 32 + ".tflite", "/models/x.tflite", "models/../../x.tflite"]):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as bundle:
            bundle.writestr(name, "x")
            bundle.writestr("rows.jsonl", '{"edgepress_archive": 1, "rows": 0}\n')
        assert import_archive(other, tmp_path / f"{number}.zip").models == 0
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as bundle:
        bundle.writestr(f"models/{'ab' * 32}.tflite", "not what its name says")
    with pytest.raises(TableError, match="does not have the hash"):
        import_archive(other, tmp_path / "f.zip")
    assert {path.name for path in tmp_path.iterdir()} <= {"0.zip", "1.zip", "2.zip", "f.zip"} | {
        path.name for path in tmp_path.glob("other.db*")
    }


RESULT_JSON = {
    "model": "/data/mobilenet.tflite",
    "num_threads": 4,
    "latency": {"avg_ms": 15.2, "min_ms": 14.9, "max_ms": 19.0, "median_ms": 15.0, "p95_ms": 16.1, "num_runs": 50},
}
LOG = """\
INFO: Num threads: [4]
INFO: count=26 first=23011 curr=18840 min=18607 max=23011 avg=19321.3 std=871
INFO: count=53 first=18871 curr=18790 min=18580 max=19810 avg=18862.4 std=190 p5=18600 median=18840 p95=19200
INFO: Inference timings in us: Init: 5123, First inference: 23011, Inference (avg): 18862.4
INFO: Memory footprint delta from the start of the tool (MB): init=3.3 overall=9.25
"""


class TestForeign:
    @pytest.fixture
    def tflite(self, tmp_path: Path) -> Path:
        path = tmp_path / "mobilenet.tflite"
        path.write_bytes(b"a model")
        return path

    def test_the_json_of_litert_becomes_a_marked_row(self, sqlite_store: ResultStore, tflite: Path) -> None:
        path = tflite.with_name("r.json")
        path.write_text(json.dumps(RESULT_JSON))
        row = read_foreign(path, tflite=tflite, device="pi4", runtime="ai-edge-litert==2.3.0")
        assert (row.latency_p50_ns, row.latency_p95_ns, row.latency_min_ns) == (15_000_000, 16_100_000, 14_900_000)
        assert (row.samples, row.threads, row.verdict, row.origin) == (50, 4, "foreign", "benchmark_model")
        assert {row.as_row()[name] for name in ("delegate_nodes", "peak_rss_bytes", "model_rss_bytes")} == {None}
        sqlite_store.record([row, result("int8", position=5)])
        text = render(sqlite_store.rows(), "text")
        assert "FOREIGN: measured by benchmark_model, nothing of it was checked" in text
        assert text.count("output check") == 2, "it shares no table with rows of ours"
        with pytest.raises(TableError, match="imported from benchmark_model: it has no raw samples"):
            sqlite_store.evidence(row.id)

    def test_the_log_of_the_tool_is_read_by_its_last_statistics(self, tflite: Path) -> None:
        path = tflite.with_name("log.txt")
        path.write_text(LOG)
        row = read_foreign(path, tflite=tflite, device="pi4")
        assert (row.latency_p50_ns, row.latency_p95_ns, row.samples, row.threads) == (18_840_000, 19_200_000, 53, 4)
        assert (row.model_rss_bytes, row.peak_rss_bytes) == (round(9.25 * 2**20), None)  # since the tool's start

    def test_the_sum_of_operators_that_a_profiler_adds_is_not_the_latency(self, tflite: Path) -> None:
        path = tflite.with_name("log.txt")
        path.write_text(LOG + "Timings (microseconds): count=53 first=9 curr=10 min=9 max=12 avg=10.5 std=1\n")
        assert read_foreign(path, tflite=tflite, device="pi4").latency_p50_ns == 18_840_000

    def test_a_mean_that_stands_for_the_median_is_said(self, tflite: Path) -> None:
        path = tflite.with_name("profile.csv")
        path.write_text("Timings (microseconds): count=50 first=9 curr=10 min=9 max=12 avg=10.5 std=1\n")
        row = read_foreign(path, tflite=tflite, device="pi4", threads=1)
        assert row.latency_p50_ns == 10_500
        assert [warning.code for warning in row.warnings] == ["foreign", "mean-as-p50"]

    def test_threads_that_nobody_named_are_said_to_be_assumed(self, tflite: Path) -> None:
        path = tflite.with_name("profile.csv")
        path.write_text("Timings (microseconds): count=50 first=9 curr=10 min=9 max=12 avg=10.5 std=1\n")
        row = read_foreign(path, tflite=tflite, device="pi4")
        assert (row.threads, row.warnings[-1].code) == (1, "threads-assumed")
        assert "--threads" in row.warnings[-1].message

    def test_an_older_archive_said_0_for_what_a_tool_did_not_say(
        self, sqlite_store: ResultStore, tflite: Path, tmp_path: Path
    ) -> None:
        path = tflite.with_name("r.json")
        path.write_text(json.dumps(RESULT_JSON))
        row = read_foreign(path, tflite=tflite, device="pi4")
        sqlite_store.record([row])
        export_rows(sqlite_store, sqlite_store.rows(), tmp_path / "old.jsonl")
        head, line = map(json.loads, (tmp_path / "old.jsonl").read_text().splitlines())
        line["row"] |= {"delegate_nodes": 0, "peak_rss_bytes": 9 << 20, "model_rss_bytes": 0}
        head["edgepress_archive"] = 2
        (tmp_path / "old.jsonl").write_text(f"{json.dumps(head)}\n{json.dumps(line)}\n")

        with ResultStore.open(str(tmp_path / "new.db")) as store:
            import_archive(store, tmp_path / "old.jsonl")
            (imported,) = store.rows()

        assert imported == dataclasses.replace(row, model_rss_bytes=9 << 20)

    @pytest.mark.parametrize("text", ["", "nothing", "{}", '{"latency": {"avg_ms": "x"}}', "count=1 min=e max=e avg=e"])
    def test_what_is_no_result_is_refused(self, tflite: Path, text: str) -> None:
        path = tflite.with_name("r.json")
        path.write_text(text)
        with pytest.raises(TableError):
            read_foreign(path, tflite=tflite, device="pi4")

    def test_foreign_rows_travel_in_archives_too(
        self, sqlite_store: ResultStore, other: ResultStore, tflite: Path
    ) -> None:
        path = tflite.with_name("log.txt")
        path.write_text(LOG)
        row = read_foreign(path, tflite=tflite, device=HOSTILE)
        assert (sqlite_store.record([row]), sqlite_store.record([row])) == (1, 0)
        export_rows(sqlite_store, sqlite_store.rows(), tflite.with_name("a.jsonl"))
        import_archive(other, tflite.with_name("a.jsonl"))
        assert other.document(row.id)["foreign"]["text"] == LOG


class TestModels:
    def put(self, shelf: ModelShelf, content: bytes, age_s: float = 2 * GRACE_S) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        path = shelf.put(content, sha256)
        os.utime(path, (path.stat().st_atime - age_s, path.stat().st_mtime - age_s))
        return sha256

    def test_files_that_no_row_names_are_collected_and_others_stay(self, tmp_path: Path) -> None:
        shelf = ModelShelf(tmp_path / "models")
        named, unnamed = self.put(shelf, b"named"), self.put(shelf, b"unnamed")
        (shelf.folder / ".new-debris").write_bytes(b"of a killed writer")
        os.utime(shelf.folder / ".new-debris", (0, 0))
        use = {named: 10**18}
        assert shelf.collect(use, dry_run=True).files == (".new-debris", f"{unnamed}.tflite")
        assert shelf.path(unnamed).exists()
        done = shelf.collect(use)
        assert (done.freed_bytes, done.kept) == (len(b"of a killed writer") + len(b"unnamed"), 1)
        assert [path.stem for path in shelf.folder.iterdir()] == [named]

    def test_a_file_whose_row_is_just_being_written_stays(self, tmp_path: Path) -> None:
        shelf = ModelShelf(tmp_path / "models")
        self.put(shelf, b"fresh", age_s=0)
        assert shelf.collect({}).files == ()

    def test_files_of_old_rows_go_only_when_asked(self, tmp_path: Path) -> None:
        shelf = ModelShelf(tmp_path / "models")
        sha256 = self.put(shelf, b"old")
        assert shelf.collect({sha256: 0}).files == ()
        assert shelf.collect({sha256: 0}, unused_for_s=86_400.0).files == (f"{sha256}.tflite",)

    def test_a_file_of_another_hash_is_not_kept(self, tmp_path: Path) -> None:
        source = tmp_path / "m.tflite"
        source.write_bytes(b"changed meanwhile")
        shelf = ModelShelf(tmp_path / "models")
        with pytest.raises(TableError, match="does not have the hash"):
            shelf.keep(source, "ab" * 32)
        assert not shelf.folder.exists()

    def test_a_store_knows_which_files_its_rows_need(self, store: ResultStore) -> None:
        row = result()
        store.record([row, result("b", job_id="2", ended_unix_ns=row.created_unix_ns + 5)])
        assert store.newest_use() == {"cd" * 32: row.created_unix_ns + 5}
