"""The whole way on the device `local`, by the commands that README shows."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from support.shell import Shell

ROOT = Path(__file__).parents[2]


def arrows() -> list[list[str]]:
    """The commands under "One command per arrow"."""
    text = (ROOT / "README.md").read_text().split("## One command per arrow")[1]
    block = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0]
    return [line.split("#")[0].split()[1:] for line in block.splitlines()]


@pytest.fixture(scope="session")
def told(shell: Shell) -> dict[str, subprocess.CompletedProcess[str]]:
    """What each of README's commands printed, run in README's order."""
    return {words[0]: shell.run(*words) for words in arrows()}


def test_run_prints_a_row_per_recipe_with_everything_that_makes_it_believable(
    told: dict[str, subprocess.CompletedProcess[str]], shell: Shell
) -> None:
    for recipe in ("float32", "int8", "prune50-int8"):
        assert recipe in told["run"].stdout
    rows = {row["recipe"]: row for row in shell.json("table")["rows"] if row["recipe"]}
    assert set(rows) == {"float32", "int8", "prune50-int8"}
    for row in rows.values():
        assert row["metric"] == "accuracy"
        assert row["metric_value_board"] > 0.8
        assert abs(row["metric_value_board"] - row["metric_value_host"]) <= 0.02
        assert 0 < row["latency_p50_ns"] <= row["latency_p95_ns"]
        assert row["peak_rss_bytes"] > row["model_rss_bytes"] > 0
        assert row["output_check"] in ("identical", "within tolerance", "as good")
        assert row["verdict"] in ("stable", "unstable")
        assert row["emulated"] is False
        assert len(row["physical_device"]) == 64
    assert rows["prune50-int8"]["tflite_bytes"] < rows["int8"]["tflite_bytes"] < rows["float32"]["tflite_bytes"]
    assert len({row["session"] for row in rows.values()}) == 1


def test_compress_leaves_the_three_files(told: dict[str, subprocess.CompletedProcess[str]], shell: Shell) -> None:
    assert "parameters" in told["compress"].stdout
    assert "peak activation memory" in told["compress"].stdout
    folder = shell.folder / "small"
    assert {"model.keras", "model.tflite", "report.json"} <= {file.name for file in folder.iterdir()}
    report = json.loads((folder / "report.json").read_text())
    (entry,) = report["compression"]["entries"]
    assert entry["kind"] == "prune"
    assert entry["parameters_after"] < entry["parameters_before"]


def test_inspect_names_operators_and_runtimes(told: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert re.search(r"CONV_2D +3", told["inspect"].stdout)
    assert re.search(r"bytes  weights [\d,]+ \(\d+%\), quantization ", told["inspect"].stdout)
    assert "tflite-runtime 2.14.0: can run it" in told["inspect"].stdout


def test_deploy_gives_the_application_a_stable_path(
    told: dict[str, subprocess.CompletedProcess[str]], shell: Shell
) -> None:
    current = shell.folder / "home/apps/classifier/current"
    assert (current / "model.tflite").read_bytes() == (shell.folder / "model.tflite").read_bytes()
    manifest = json.loads((current / "manifest.json").read_text())
    assert manifest["inputs"][0]["dtype"] == "int8"
    assert str(current) in told["deploy"].stdout


def test_infer_prints_the_best_entries_and_the_time(told: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert re.search(r"\d\.\d+ ms on local", told["infer"].stdout)


def test_infer_knows_the_labels_of_a_compressed_model(shell: Shell, told: object) -> None:
    (answer,) = shell.json("infer", "small/model.tflite", "--device", "local", "--input", "digit.npy")["answers"]
    assert answer["labels"] == [str(digit) for digit in range(10)]
    assert np.argmax(answer["outputs"][0]) in range(10)
    assert answer["latency_ns"] > 0


def test_profile_leaves_the_times_of_operators_beside_the_rows_of_the_file(shell: Shell) -> None:
    file = str(ROOT / "tests/cases/models/smoke.tflite")
    operators = shell.json("profile", file, "--device", "local")["operators"]
    shell.run("bench", file, "--device", "local", "--plan", "glance")
    (known,) = shell.json("table", "figures", "--model", "smoke")["figures"]
    assert [part["value"] for part in known["parts"]] == [operator["time_ns"] for operator in operators] != []
    table = shell.run("table").stdout
    assert "time by operator: known of 1 file, the newest by edgepress profile" in table
    assert "models/smoke.tflite" in table
    assert file not in table  # the name does not depend on where one stands


def test_a_second_run_reuses_what_the_first_made(shell: Shell, told: object) -> None:
    started = time.monotonic()
    done = shell.run("run", "model.keras", "--data", "data.npz", "--recipe", "prune50-int8", "--device", "local")
    assert "reused" in done.stderr
    assert time.monotonic() - started < 60
    assert len([row for row in shell.json("table")["rows"] if row["recipe"] == "prune50-int8"]) == 2


def test_ctrl_c_ends_workers_frees_the_board_and_keeps_earlier_rows(shell: Shell, told: object) -> None:
    before = shell.json("table")["rows"]
    process = shell.start("bench", "model.tflite", "--device", "local", "--plan", "standard")
    while shell.json("device", "check", "local")["lock"]["held"] is False:
        assert process.poll() is None, process.stderr
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in stderr
    after = shell.json("device", "check", "local")
    assert after["lock"]["held"] is False
    assert after["jobs"] == []
    assert shell.json("table")["rows"] == before


def test_without_tensorflow_everything_but_compressing_and_converting_works(shell: Shell, told: object) -> None:
    bench = ("bench", "model.tflite", "--device", "local", "--data", "data.npz")
    (row,) = shell.json(*bench, without=("tensorflow", "keras"))["rows"]
    assert row["metric_value_board"] > 0.8
    shell.run("inspect", "model.tflite", without=("tensorflow", "keras"))
    refused = shell.run(
        *("compress", "model.keras", "--data", "data.npz", "--recipe", "float16", "-o", "x"),
        code=1,
        without=("tensorflow", "keras"),
    )
    assert "pip install 'edgepress[compress]'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "none.keras", "--data", "data.npz", "-r", "int8", "-d", "local"], "none.keras"),
        (["run", "data.npz", "--data", "data.npz", "-r", "int8", "-d", "local"], "data.npz"),
        (["run", "model.keras", "--data", "none.npz", "-r", "int8", "-d", "local"], "none.npz"),
        (["run", "model.keras", "--data", "data.npz", "-r", "imt8", "-d", "local"], "int8"),
        (["run", "model.keras", "--data", "data.npz", "-r", "int8", "-d", "pi9"], "edgepress device add"),
        (["bench", "data.npz", "-d", "local"], "data.npz"),
        (["convert", "model.keras", "--format", "int8", "-o", "x.tflite"], "--data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_explained_in_one_message(shell: Shell, arguments: list[str], said: str) -> None:
    done = shell.run(*arguments, code=1)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: ") or "error: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
