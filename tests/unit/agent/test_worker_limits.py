"""What a model's process may not take from the board."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepress_agent.faults import Fault
from edgepress_agent.protocol.messages import BenchmarkPlan
from edgepress_agent.worker_process import run_worker
from edgepress_agent.worker_task import Task

RefusalOf = Callable[..., Fault]
MEMORY_BYTES = 512 << 20
PLAN = BenchmarkPlan("limits", 1, 1, 0, 1, 0, 1, 0, 20.0, 20.0)
RUNTIME = """
class OpResolverType:
    AUTO = None

class Interpreter:
    def __init__(self, **settings): pass
    def invoke(self): pass
    def allocate_tensors(self):
        {program}
"""


@pytest.fixture
def refusal_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RefusalOf:
    """Let a runtime do something while it allocates, and return the fault that the job hears of."""

    def run(program: str, deadline_s: float = 20.0) -> Fault:
        module = tmp_path / "tflite_runtime"
        module.mkdir(exist_ok=True)
        (module / "__init__.py").touch()
        (module / "interpreter.py").write_text(RUNTIME.format(program=program))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        task = Task("tflite-runtime", "/no/model", "0" * 64, 1, "default", plan=PLAN)
        with (tmp_path / "log").open("ab") as log, pytest.raises(Fault) as refused:
            run_worker(sys.executable, task, deadline_s, log, lambda *_: None, None, MEMORY_BYTES)
        return refused.value

    return run


def test_a_model_that_wants_more_memory_than_there_is_is_refused(refusal_of: RefusalOf) -> None:
    fault = refusal_of(f"bytearray({MEMORY_BYTES})")
    assert fault.failure.code == "model-rejected"
    assert "MemoryError" in str(fault)


def test_a_model_that_takes_its_time_is_killed_at_its_deadline(refusal_of: RefusalOf) -> None:
    fault = refusal_of("while True: pass", deadline_s=2.0)
    assert fault.failure.code == "deadline"
    assert fault.failure.details["phase"] == "allocate"


def test_a_model_can_neither_fill_the_disk_with_one_file_nor_with_its_core(refusal_of: RefusalOf) -> None:
    limits = "import resource as r; raise OSError([r.getrlimit(x) for x in (r.RLIMIT_FSIZE, r.RLIMIT_CORE)])"
    assert str([(1 << 30,) * 2, (0, 0)]) in str(refusal_of(limits))


def test_a_lower_limit_that_was_there_stays(refusal_of: RefusalOf) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        said = str(refusal_of("import resource as r; raise OSError(r.getrlimit(r.RLIMIT_FSIZE))"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str((1 << 20, 1 << 20)) in said
