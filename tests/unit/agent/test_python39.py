"""Boards with Debian 11 have Python 3.9: the same protocol, and a server that needs its standard library alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgepress_agent
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from support.agent_messages import MESSAGES, nearly
from support.agent_process import AgentProcess, benchmark, configuration

AGENT = Path(edgepress_agent.__path__[0]).parent

# Reads lines [class, JSON text] and answers with the message's JSON as this Python reads it, or null.
JUDGE = """
import sys
from edgepress_agent.protocol import codec, messages
for line in sys.stdin:
    name, text = codec.loads(line)
    try:
        value = codec.to_wire(codec.from_wire(getattr(messages, name), codec.loads(text)))
    except codec.WireError:
        value = None
    sys.stdout.write(codec.dumps(value).decode() + "\\n")
    sys.stdout.flush()
"""


def interpreters() -> Iterator[str]:
    if found := shutil.which("python3.9"):
        yield found
    for root in (os.environ.get("PYENV_ROOT"), "~/.pyenv"):
        if root:
            yield from map(str, sorted(Path(root).expanduser().glob("versions/3.9.*/bin/python")))


def runs(interpreter: str) -> bool:
    """Whether it is a Python 3.9: pyenv puts programs on PATH that only say that it is not active."""
    answer = subprocess.run([interpreter, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return answer.returncode == 0 and answer.stdout.startswith("Python 3.9.")


@pytest.fixture(scope="module")
def python39() -> str:
    found = next((interpreter for interpreter in interpreters() if runs(interpreter)), None)
    if found is None:
        pytest.skip("no Python 3.9 on PATH or in pyenv: install one to test what Debian 11 has")
    return found


@pytest.fixture(scope="module")
def judge(python39: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(AGENT)}
    with subprocess.Popen(
        [python39, "-c", JUDGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(MESSAGES).flatmap(lambda cls: st.tuples(st.just(cls), nearly(cls))))
def test_it_agrees_on_what_a_message_is(judge: subprocess.Popen[str], case: tuple[type, Any]) -> None:
    cls, value = case
    text = dumps(value).decode()
    try:
        ours = json.loads(dumps(to_wire(from_wire(cls, loads(text)))))
    except WireError:
        ours = None
    assert judge.stdin is not None
    assert judge.stdout is not None
    judge.stdin.write(json.dumps([cls.__name__, text]) + "\n")
    judge.stdin.flush()
    assert json.loads(judge.stdout.readline()) == ours


def test_the_server_and_its_jobs_run_on_the_standard_library(
    python39: str, home: Home, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(AGENT))
    argv = [python39, "-I", "-c", f"import sys; sys.path.insert(0, {str(AGENT)!r}); from edgepress_agent.__main__ "]
    argv[-1] += "import main; sys.exit(main(['serve']))"
    with AgentProcess(home.root, lock_file, argv) as agent:
        assert agent.call("hello")["python_version"].startswith("3.9.")
        assert agent.call("facts")["python_version"].startswith("3.9.")
        report = agent.run(benchmark(configuration(agent.push_model("smoke.tflite"))))
        if report.status == "failed":  # this Python has no runtime, which a job can say
            assert report.failure is not None
            assert report.failure.code == "no-runtime"
        agent.call("acknowledge", job_id=report.job_id)
