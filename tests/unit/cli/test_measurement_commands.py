"""The commands of measurement: what they refuse, and what they print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from edgepress.cli.main import cli
from edgepress.table.store import ResultStore
from support.table_rows import result


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bench", "a.tflite", "--device", "local", "--compare"], "two FILES"),
        (["bench", "a.tflite", "b.tflite", "c.tflite", "--device", "local", "--compare"], "two FILES"),
        (["bench", "a.tflite", "--device", "local", "--threads", "0"], "numbers from 1 to 64"),
        (["bench", "a.tflite", "--device", "local", "--delegate", "gpu"], "default"),
    ],
)
def test_wrong_usage_says_what_was_expected(words: list[str], says: str) -> None:
    outcome = CliRunner().invoke(cli, words)
    assert outcome.exit_code == 2
    assert says in outcome.output


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["compress"], ["--data", "d.npz", "--recipe", "int8", "-o", "small"]),
        (["convert"], ["--format", "float32", "-o", "model.tflite"]),
        (["quantize", "debug"], ["--data", "d.npz"]),
    ],
)
def test_a_saved_model_is_refused_with_what_to_save_instead(
    command: list[str], options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", **{f"{x}_{split}": np.zeros((4, 2)) for x in "xy" for split in ("train", "val", "test")})
    (tmp_path / "saved_model.pb").touch()
    outcome = CliRunner().invoke(cli, [*command, str(tmp_path), *options])
    assert "is a TensorFlow SavedModel, not a Keras file" in str(outcome.exception)


def test_verify_prints_what_changed_and_exits_with_1(tmp_path: Path) -> None:
    database = str(tmp_path / "table.db")
    with ResultStore.open(database) as store:
        store.record([result(), result(job_id="b")])
    sound = CliRunner().invoke(cli, ["table", "verify", "--db", database])
    assert (sound.exit_code, sound.output) == (0, "2 of 2 rows are what their samples say\n")
    with ResultStore.open(database) as store, store._engine.begin() as connection:
        connection.execute(sa.text("UPDATE edgepress_results SET latency_p50_ns = 1 WHERE session = 'b'"))
    changed = CliRunner().invoke(cli, ["table", "verify", "--db", database])
    assert changed.exit_code == 1
    assert "latency_p50_ns: stored 1, its samples say" in changed.output
    assert "1 of 2 rows are what their samples say" in changed.output
    document = json.loads(CliRunner().invoke(cli, ["table", "verify", "--db", database, "--json"]).output)
    assert [change["field"] for change in document["wrong"][0]["changes"]] == ["latency_p50_ns"]
