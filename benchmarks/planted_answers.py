"""Are planted wrong answers found, and honest deployments let through?

    python benchmarks/planted_answers.py [--seconds 240] [--emulated]

Small networks (planted_nets.py) in every format, with 512 goldens each. Honest: each file is deployed to `local` with
every runtime, once more as a file without Keras model, and with --emulated to a QEMU board. Planted (planted_edits.py):
channels swapped, scales stale, weights damaged, inputs prepared wrongly, axes exchanged. Of each kind the mildest fault
that changes the first output's largest entry on 1 % of the goldens or more is deployed; the others are checked by this
machine's own answers. int4 weights go to tflite-runtime 2.14, past the guard. What is known is kept as lines of JSON:
an interrupted run goes on where it was. Writes results/planted_answers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import planted_edits as edits
from planted_edits import Array, Case, Fault, faults
from planted_nets import FOLDER, NETS, Loaded
from planted_report import CHANGED, COUNTS, Findings, write

from edgepress.benchmarking.session import evaluate
from edgepress.conversion import convert_model, inspect
from edgepress.deploying import Parcel, deliver
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.provisioning import install_runtime
from edgepress.errors import EdgepressError, OutputCheckError, RuntimeCompatibilityError
from edgepress.verification.goldens import MOST_GOLDENS, Goldens, goldens_of_file, make_goldens
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress.verification.reference import run_file
from edgepress_agent.protocol.messages import ReleaseState
from edgepress_agent.protocol.tensors import decode_arrays, encode_arrays
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool

RUNTIMES = ("ai-edge-litert==2.1.6", "ai-edge-litert==1.4.0", "tflite-runtime==2.14.0")
KINDS = {
    "float32": ConversionOptions("float32"),
    "float16": ConversionOptions("float16"),
    "dynamic": ConversionOptions("dynamic"),
    "int8": ConversionOptions("int8"),
    "int8, float in/out": ConversionOptions("int8", io="float32"),
    "int16x8": ConversionOptions("int16x8"),
}
FEWER_KINDS = ("int8", "dynamic", "float32")  # of planted faults, and on the emulated board, where that order counts


class OutOfTimeError(Exception):
    """The next call goes on."""


class Trial:
    """All of it, until the time is over."""

    def __init__(self, findings: Findings, pool: WorkerPool, until: float) -> None:
        self._findings = findings
        self._pool = pool
        self._until = until
        self._file = FOLDER / f"planted-{os.getpid()}.tflite"
        self._net: tuple[str, Loaded] | None = None

    def _is_new(self, key: str) -> bool:
        if time.monotonic() > self._until:
            raise OutOfTimeError
        return key not in self._findings

    def _loaded(self, name: str) -> Loaded:
        if self._net is None or self._net[0] != name:
            self._net = name, NETS[name]()
        return self._net[1]

    def case(self, name: str, kind: str) -> Case | None:
        """Convert and run once; None where the converter refuses."""
        file = FOLDER / "files" / f"{name}-{kind}.tflite".replace(" ", "-").replace(",", "").replace("/", "-")
        kept = file.with_suffix(".npys")
        if kept.exists():
            model, arrays = inspect(file), decode_arrays(kept.read_bytes())
            count, answers = len(model.outputs), arrays[len(model.inputs) :]
            parts = [answers[start : start + count] for start in (0, count, 2 * count)]
            return Case(name, kind, model, Goldens(arrays[: len(model.inputs)], parts[0], parts[1], parts[2] or None))
        if time.monotonic() > self._until:
            raise OutOfTimeError
        file.parent.mkdir(parents=True, exist_ok=True)
        net = self._loaded(name)
        try:
            model = convert_model(net.model, file, KINDS[kind], net.calibration, self._pool)
        except EdgepressError as error:
            print(f"{name} {kind}: {error}", flush=True)
            return None
        chosen = np.sort(np.random.default_rng(0).choice(len(net.inputs[0]), MOST_GOLDENS, replace=False))
        goldens = make_goldens(net.model, model, tuple(array[chosen] for array in net.inputs), self._pool)
        sets = (goldens.reference_outputs or (), goldens.host_outputs, goldens.plain_outputs or ())
        kept.write_bytes(encode_arrays((*goldens.inputs, *(array for outputs in sets for array in outputs))))
        return Case(name, kind, model, goldens)

    def honest(self, board: Device, case: Case) -> None:
        """Deploy a right file with each runtime that takes it, and with the first and the last as a file alone."""
        ways = [(f"{runtime.name}=={runtime.version}", "goldens") for runtime in board.runtimes]
        alone = [(runtime, "no model") for runtime, _ in (ways[0], ways[-1])]
        for runtime, known in (*ways, *alone):
            key = f"honest | {case.key} | {board.name} | {runtime} | {known}"
            if not self._is_new(key):
                continue
            goldens = case.goldens if known == "goldens" else goldens_of_file(case.model, self._pool)
            level, said = deployed(Parcel(case.model, "honest", goldens, None), board, runtime)
            self._findings.add(
                key,
                part="honest",
                board=board.name,
                runtime=runtime,
                kind=case.kind,
                known=known,
                level=level,
                said=said,
            )

    def planted(self, board: Device, case: Case) -> None:
        """Plant faults; deploy the mildest of each kind that changes enough."""
        mildest: dict[str, tuple[float, Fault]] = {}
        for fault in faults(case):
            key = f"planted | {case.key} | {fault.kind} | {fault.what}"
            if self._is_new(key):
                self._findings.add(key, part="planted", fault=fault.kind, kind=case.kind, **self._offline(case, fault))
            changed = self._findings.rows[key]["changed"]
            if changed is not None and changed >= CHANGED and changed < mildest.get(fault.kind, (2.0,))[0]:
                mildest[fault.kind] = changed, fault
        for kind, (changed, fault) in mildest.items():
            key = f"deployed | {case.key} | {kind}"
            if not self._is_new(key):
                continue
            wrong = fault.plant(case, self._file)
            before = self._in_use(board, case)
            level, said = deployed(Parcel(wrong.model, "planted", wrong.goldens, None), board, None)
            kept = board.client.releases("planted") == (before,)
            self._findings.add(
                key,
                part="deployed",
                fault=kind,
                what=fault.what,
                kind=case.kind,
                changed=changed,
                level=level,
                said=said,
                kept=kept,
            )

    def _in_use(self, board: Device, case: Case) -> ReleaseState:
        """The application that faults are planted in, with the right file in use."""
        state = next((state for state in board.client.releases() if state.app == "planted"), None)
        if state is None or not str(state.current).endswith(case.model.sha256[:12]):
            deployed(Parcel(case.model, "planted", case.goldens, None), board, None)
            (state,) = board.client.releases("planted")
        return state

    def _offline(self, case: Case, fault: Fault) -> dict[str, Any]:
        """What the check says of this machine's own answers, on all goldens and on parts of them."""
        wrong = fault.plant(case, self._file)
        try:
            raw = run_file(wrong.model, wrong.goldens.inputs, self._pool)
        except EdgepressError as error:
            return {"changed": None, "level": "refused", "said": str(error)[:200]}
        first = raw[0].astype(np.float64), case.goldens.host_outputs[0].astype(np.float64)
        changed = float((first[0].argmax(1) != first[1].argmax(1)).mean())
        check = check_outputs(case.goldens, case.model, raw)
        orders = {"drawn": np.arange(MOST_GOLDENS), "hardest": hardest_first(case.goldens)}
        seen = {
            name: [check_part(case, raw, np.sort(order[:count])) for count in COUNTS] for name, order in orders.items()
        }
        return {"changed": changed, "level": str(check.level), "said": check.message, "seen": seen}

    def int4(self, board: Device, case: Case) -> None:
        """Give the weights four bits, and let tflite-runtime 2.14 run what its guard would refuse."""
        key = f"int4 | {case.key}"
        if not self._is_new(key):
            return
        runtime = board.runtime(RUNTIMES[2])
        model = edits.four_bits(case.model, self._file)
        try:
            host, plain = (
                run_file(model, case.goldens.inputs, self._pool, delegate=way) for way in ("default", "none")
            )
        except EdgepressError as error:
            self._findings.add(key, part="int4", level="not run here", said=str(error)[:300], changed=None, guard=None)
            return
        goldens = replace(case.goldens, host_outputs=host, plain_outputs=plain)
        guard, _ = deployed(Parcel(model, "int4", goldens, None), board, RUNTIMES[2])
        try:
            _, raw = evaluate(board, model, goldens.inputs, runtime=runtime)
        except EdgepressError as error:
            self._findings.add(key, part="int4", level="refused", said=str(error)[:300], changed=None, guard=guard)
            return
        check = check_outputs(goldens, model, raw)
        changed = float((raw[0].argmax(1) != host[0].argmax(1)).mean())
        self._findings.add(key, part="int4", level=str(check.level), said=check.message, changed=changed, guard=guard)


def deployed(parcel: Parcel, board: Device, runtime: str | None) -> tuple[str, str]:
    """Deploy, and return the level that the release's manifest has, or how it was refused; and the sentence."""
    try:
        state = deliver(parcel, board, runtime=runtime)
    except OutputCheckError as error:
        return str(OutputCheckLevel.WRONG), str(error)
    except RuntimeCompatibilityError as error:
        return "not compatible", str(error)[:200]
    except EdgepressError as error:
        return "refused", str(error)[:300]
    manifest = str(Path(state.path or "").with_name("manifest.json"))
    found = json.loads(board.transport.run(["cat", manifest], timeout_s=60).stdout)["output_check"]
    return found["level"], found["message"]


def hardest_first(goldens: Goldens) -> Array:
    """Goldens by how near the two largest entries of the float model's first output are."""
    reference = (goldens.reference_outputs or ())[0]
    two = np.sort(reference, axis=1)[:, -2:]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")


def check_part(case: Case, raw: tuple[Array, ...], chosen: Array) -> bool:
    """Whether some of the goldens would have told."""
    check = check_outputs(case.goldens.take(chosen), case.model, tuple(array[chosen] for array in raw))
    return check.level is OutputCheckLevel.WRONG


@contextmanager
def emulated() -> Iterator[Device]:
    """A QEMU board, for as long as it is needed."""
    from edgepress.emulator import ImageRecipe, create, destroy

    (FOLDER / "machines").mkdir(exist_ok=True)
    inventory = Inventory.load(FOLDER / "machines" / "devices.toml")
    machine = create("emulated", ImageRecipe(), home=FOLDER / "machines", inventory=inventory)
    try:
        machine.start()
        with Device.open("emulated", inventory) as device:
            yield device
    finally:
        destroy(machine, inventory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=86_400, help="stop after that long; call again to go on")
    parser.add_argument("--emulated", action="store_true", help="deploy to a QEMU board, too")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ["EDGEPRESS_HOME"] = str(FOLDER / "home")
    os.environ["EDGEPRESS_LOCK"] = str(FOLDER / "lock")
    findings = Findings(FOLDER / "answers.jsonl")
    until = time.monotonic() + options.seconds
    try:
        with WorkerPool() as pool:
            run(Trial(findings, pool, until), options.emulated)
    except OutOfTimeError:
        print("out of time: call again to go on")
    write(findings)


def run(trial: Trial, with_board: bool) -> None:
    if with_board:
        with emulated() as board:
            for kind in FEWER_KINDS:
                for case in cases(trial, (kind,)):
                    trial.honest(board, case)
        return
    with Device.open("local", Inventory.load(FOLDER / "devices.toml")) as local:
        for runtime in RUNTIMES:
            install_runtime(local, runtime)
        local.refresh()
        for case in cases(trial, KINDS):
            trial.honest(local, case)
            if case.kind in FEWER_KINDS:
                trial.planted(local, case)
            if case.kind == "dynamic":
                trial.int4(local, case)


def cases(trial: Trial, kinds: Iterable[str]) -> Iterator[Case]:
    for name, kind in product(NETS, kinds):
        case = trial.case(name, kind)
        if case is not None:
            yield case


if __name__ == "__main__":
    main()
