"""Load and run damaged models as a worker does, and read them as the host does.

    python benchmarks/fuzz_models.py --models 10000 [--workers 200] [--output benchmarks/results/fuzz_models.md]

Each model is one of tests/cases/models with bytes changed. It is loaded, allocated and run in a fork of a process that
has the runtime, under a worker's limits: that is what a worker does but for starting Python, so that ten thousand take
minutes. The first so many (``--workers``) go through an agent's real worker processes as well. On the host's side the
file is read by ``inspect``, where anything but an error of edgepress's own is a finding.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from edgepress.conversion import inspect
from edgepress.errors import EdgepressError
from edgepress_agent import interpreter
from edgepress_agent.faults import Fault
from edgepress_agent.protocol.messages import BenchmarkPlan
from edgepress_agent.worker_process import run_worker
from edgepress_agent.worker_task import Task

ROOT = Path(__file__).parents[1]
SEEDS = ("conv_int8", "dense_float32", "smoke", "two_in_two_out")
RUNTIME = "ai-edge-litert"
DEADLINE_S = 5
MEMORY_BYTES = 1 << 30
PLAN = BenchmarkPlan("fuzz", 1, 1, 0, 1, 0, 1, 0, DEADLINE_S, DEADLINE_S)


def damaged(choose: random.Random, model: bytes) -> bytes:
    """Change a model: bits, bytes, 32-bit words that look like offsets and sizes, or cut it short."""
    changed = bytearray(model)
    for _ in range(choose.choice((1, 1, 1, 1, 2, 4))):
        place = choose.randrange(len(changed) or 1)
        kind = choose.randrange(5)
        if kind == 0:
            changed[place] ^= 1 << choose.randrange(8)
        elif kind == 1:
            changed[place] = choose.randrange(256)
        elif kind == 2:
            word = choose.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(model), choose.randrange(len(model))))
            changed[place & ~3 : (place & ~3) + 4] = word.to_bytes(4, "little")
        elif kind == 3 and choose.randrange(4) == 0:
            del changed[place:]
            break
        else:
            other = choose.randrange(len(changed))
            changed[place : place + 8] = changed[other : other + 8]
    return bytes(changed)


def in_a_fork(runtime: object, path: Path) -> str:
    """Load and run a model in a child, and say how that ended."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            for name, limit in ((resource.RLIMIT_DATA, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
                resource.setrlimit(name, (limit, limit))
            signal.alarm(DEADLINE_S)
            model = interpreter.Model(runtime, str(path), 1, "default")
            model.allocate((), ())
            model.set_inputs(model.random_inputs(0))
            with interpreter.running():
                model.invoke()
                model.outputs()
            model.count_nodes()
            status = 0
        except Fault as fault:
            status = 1 if fault.failure.code == "model-rejected" else 2
        except MemoryError:
            status = 2
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return signal.Signals(-code).name if code < 0 else ("runs", "refused", "fails", "another exception")[code]


def in_a_worker(path: Path, log: Path) -> str:
    """Do the same in a worker of the agent's, and say what the agent makes of its end."""
    task = Task(RUNTIME, str(path), "0" * 64, 1, "default", plan=PLAN)
    try:
        with log.open("ab") as stream:
            run_worker(sys.executable, task, DEADLINE_S, stream, lambda *_: None, None, MEMORY_BYTES)
    except Fault as fault:
        return fault.failure.code
    return "runs"


def on_the_host(path: Path) -> str:
    try:
        inspect(path)
    except EdgepressError:
        return "refused"
    except Exception:
        return traceback.format_exc().splitlines()[-1][:200]
    return "read"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    choose = random.Random(options.seed)
    seeds = [(ROOT / f"tests/cases/models/{name}.tflite").read_bytes() for name in SEEDS]
    runtime = interpreter.import_runtime(RUNTIME)
    forks: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    host: Counter[str] = Counter()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgepress-fuzz-") as folder:
        path, log = Path(folder, "model.tflite"), Path(folder, "log")
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        for number in range(options.models):
            path.write_bytes(damaged(choose, choose.choice(seeds)))
            forks[in_a_fork(runtime, path)] += 1
            host[on_the_host(path)] += 1
            if number < options.workers:
                workers[in_a_worker(path, log)] += 1
    text = "\n".join(
        (
            "# Fuzzed models",
            "",
            f"`python benchmarks/fuzz_models.py --models {options.models} --workers {options.workers} --seed "
            f"{options.seed}`, {RUNTIME}, Python {platform.python_version()}, {platform.machine()}, "
            f"{time.monotonic() - begun:.0f} s.",
            "",
            f"- Loaded and run in a fork, {sum(forks.values()):,} models: {_list(forks)}. Every signal killed the fork "
            "and nothing else.",
            f"- In an agent's worker processes, {sum(workers.values()):,} models: {_list(workers)}.",
            f"- Read by the host, {sum(host.values()):,} models: {_list(host)}.",
            "",
        )
    )
    print(text)
    if options.output:
        options.output.write_text(text)
    findings = set(host) - {"read", "refused"} | ({"internal"} & set(workers)) | ({"another exception"} & set(forks))
    return 1 if findings else 0


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
