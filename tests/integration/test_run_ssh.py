"""README's five lines for a real board, against a real OpenSSH server, and a link that is cut on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress_agent.protocol.messages import Runtime
from support.reach_proxy import LinkProxy
from support.shell import Shell
from support.sshd import PYTHON, Board

pytestmark = pytest.mark.ssh


def add_board(shell: Shell, board: Board, name: str, port: int | None = None) -> None:
    """`device add` and `device trust`, with the fingerprint that the board's owner reads off the board."""
    config = shell.folder / f"{name}_ssh_config"
    board.write_ssh_config(config, port)
    where = ("--home", str(board.home), "--python", PYTHON, "--ssh-config", str(config))
    shell.run("device", "add", name, "board", *where)
    shell.run("device", "trust", name, "--fingerprint", board.host_fingerprint())


@pytest.fixture(scope="module")
def pi4(shell: Shell, board: Board, litert: Runtime) -> Shell:
    """The command line with a device `pi4` that is the loopback board; `litert` was installed there before."""
    add_board(shell, board, "pi4")
    return shell


@pytest.fixture
def proxy(board: Board) -> Iterator[LinkProxy]:
    proxy = LinkProxy(board.port)
    yield proxy
    proxy.close()


def test_a_board_is_added_trusted_provisioned_and_measured(pi4: Shell, litert: Runtime) -> None:
    assert f"{litert.name} {litert.version}" in pi4.run("device", "provision", "pi4").stdout
    done = pi4.json("run", "model.keras", "--data", "data.npz", "--recipe", "int8", "--device", "pi4")
    (row,) = done["rows"]
    assert row["device"] == "pi4"
    assert (row["runtime"], row["runtime_version"]) == (litert.name, litert.version)
    assert row["metric_value_board"] > 0.8
    assert row["output_check"] in ("identical", "within tolerance", "as good")
    assert "pi4" in pi4.run("table", "--device", "pi4").stdout
    assert pi4.json("device", "check", "pi4")["jobs"] == []


def test_a_device_that_nobody_trusted_is_not_talked_to(board: Board, tmp_path: Path) -> None:
    stranger = Shell(tmp_path)
    config = tmp_path / "ssh_config"
    board.write_ssh_config(config)
    stranger.run("device", "add", "pi4", "board", "--ssh-config", str(config))
    refused = stranger.run("device", "check", "pi4", code=1)
    assert board.host_fingerprint() in refused.stderr
    assert "edgepress device trust pi4" in refused.stderr
    wrong = stranger.run("device", "trust", "pi4", "--fingerprint", "SHA256:no", code=1)
    assert "not accepted" in wrong.stderr
    stranger.run("device", "check", "pi4", code=1)


def test_a_measurement_whose_link_is_cut_goes_on_and_the_next_call_takes_its_report(
    pi4: Shell, board: Board, proxy: LinkProxy
) -> None:
    add_board(pi4, board, "far", proxy.port)
    pi4.run("convert", "model.keras", "--format", "float32", "-o", "plain.tflite")
    command = ("bench", "plain.tflite", "--device", "far", "--plan", "quick")
    process = pi4.start(*command)
    seen: list[dict[str, object]] = []
    while not seen:
        assert process.poll() is None, process.communicate()
        seen = [j for j in pi4.json("device", "check", "pi4")["jobs"] if j["kind"] == "benchmark" and j["done"]]
    proxy.cut()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(seen[0]["job_id"]) in stderr
    assert "goes on" in stderr
    assert pi4.json("table", "--device", "far")["rows"] == []

    again = pi4.run(*command)
    assert "collected job" in again.stderr
    assert "measuring on far" not in again.stderr
    (row,) = pi4.json("table", "--device", "far")["rows"]
    assert row["session"] == seen[0]["job_id"]
    assert pi4.json("device", "check", "pi4")["jobs"] == []
