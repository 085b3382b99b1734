from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress_agent.home import Home
from edgepress_agent.job_folder import RESERVE_BYTES
from edgepress_agent.protocol.messages import JobReport
from edgepress_agent.protocol.tensors import decode_arrays, encode_arrays, quantize
from support.agent_process import MODELS, AgentProcess, evaluate, files_of_at_most

SAMPLES = 7


def directly(name: str, inputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Run a model here, in the interpreter's own order; raw outputs, stacked."""
    interpreter = Interpreter(model_path=str(MODELS / name))
    interpreter.allocate_tensors()
    rows = []
    for index in range(len(inputs[0])):
        for array, details in zip(inputs, interpreter.get_input_details(), strict=True):
            scale, zero_point = details["quantization"]
            value = quantize(array[index : index + 1], details["dtype"], scale or None, zero_point)
            interpreter.set_tensor(details["index"], value)
        interpreter.invoke()
        rows.append([interpreter.get_tensor(details["index"])[0] for details in interpreter.get_output_details()])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def outputs_of(agent: AgentProcess, report: JobReport) -> tuple[np.ndarray[Any, Any], ...]:
    content = agent.fetch(report.job_id, "outputs.npys")
    assert report.evaluation is not None
    assert hashlib.sha256(content).hexdigest() == report.evaluation.outputs_sha256
    return decode_arrays(content)


@pytest.mark.parametrize(
    ("name", "shape", "dtype"), [("dense_float32.tflite", (8,), np.float32), ("conv_int8.tflite", (6, 6, 1), np.int8)]
)
def test_outputs_are_exactly_those_of_the_interpreter_itself(
    agent: AgentProcess, name: str, shape: tuple[int, ...], dtype: type
) -> None:
    inputs = np.random.default_rng(5).normal(size=(SAMPLES, *shape)).astype(np.float32)
    report = agent.run(evaluate(agent.push_model(name), agent.push(encode_arrays([inputs]))))
    assert report.status == "ended"
    assert report.evaluation is not None
    assert report.evaluation.samples == len(report.evaluation.latency_ns) == SAMPLES
    assert report.evaluation.delegate_nodes == 1
    assert report.evaluation.memory.peak_rss_bytes > report.evaluation.memory.import_rss_bytes
    (output,) = outputs_of(agent, report)
    (expected,) = directly(name, [inputs])
    assert output.dtype == dtype
    np.testing.assert_array_equal(output, expected)


def test_positions_lead_from_the_models_order_to_the_interpreters(agent: AgentProcess) -> None:
    names = {"a": (3,), "b": (5,)}
    interpreter = Interpreter(model_path=str(MODELS / "two_in_two_out.tflite"))
    theirs = [details["shape"][1] for details in interpreter.get_input_details()]
    random = np.random.default_rng(6)
    arrays = {size: random.normal(size=(SAMPLES, size)).astype(np.float32) for (size,) in names.values()}
    in_order = [arrays[size] for size in theirs]
    sha256 = agent.push_model("two_in_two_out.tflite")
    reverse = agent.push(encode_arrays(in_order[::-1]))
    swapped = evaluate(sha256, reverse, input_positions=(1, 0), output_positions=(1, 0))
    straight = evaluate(sha256, agent.push(encode_arrays(in_order)))
    expected = directly("two_in_two_out.tflite", in_order)
    for spec, wanted in ((straight, expected), (swapped, expected[::-1])):
        for output, want in zip(outputs_of(agent, agent.run(spec)), wanted, strict=True):
            np.testing.assert_array_equal(output, want)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ([np.zeros((2, 3))], "has 2 inputs; arrays were sent for 1"),
        ([np.zeros((2, 3)), np.zeros((3, 5))], "as many samples each"),
        ([np.zeros((0, 3)), np.zeros((0, 5))], "as many samples each"),
        ([np.zeros(()), np.zeros(())], "as many samples each"),
        ([np.zeros((2, 4)), np.zeros((2, 5))], "a sample has (1, 4)"),
        ([], "as many samples each"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_words(
    agent: AgentProcess, arrays: list[np.ndarray[Any, Any]], complaint: str
) -> None:
    content = encode_arrays([array.astype(np.float32) for array in arrays]) or b"not arrays"
    report = agent.run(evaluate(agent.push_model("two_in_two_out.tflite"), agent.push(content)))
    assert report.status == "failed"
    assert report.failure is not None
    assert report.failure.code == "bad-request"
    assert complaint in report.failure.message or not arrays


def test_positions_that_the_model_does_not_have_are_refused(agent: AgentProcess) -> None:
    inputs = agent.push(encode_arrays([np.zeros((1, 8), np.float32)]))
    report = agent.run(evaluate(agent.push_model("dense_float32.tflite"), inputs, input_positions=(0, 1)))
    assert report.failure is not None
    assert (report.failure.code, report.status) == ("bad-request", "failed")


def test_a_model_that_kills_the_worker_fails_the_job_with_the_signals_name(agent: AgentProcess) -> None:
    inputs = agent.push(encode_arrays([np.zeros((2, 5), np.float32), np.zeros((2, 3), np.float32)]))
    report = agent.run(evaluate(agent.push_model("segfault_invoke.tflite"), inputs))
    assert report.status == "failed"
    assert report.failure is not None
    assert report.failure.code == "worker-killed"
    assert report.failure.details["signal"] == "SIGSEGV"
    assert agent.call("hello")


def test_an_evaluation_tells_how_far_it_is_and_ends_at_its_deadline(agent: AgentProcess) -> None:
    slow = agent.push_model("slow.tflite")
    inputs = agent.push(encode_arrays([np.zeros((1000, 16), np.float32)]))
    job_id = agent.start(replace(evaluate(slow, inputs), deadline_s=1.0))
    done = set()
    state = agent.call("wait", job_id=job_id, seen=-1, timeout_s=0.0)
    while state["status"] in ("queued", "running"):
        state = agent.call("wait", job_id=job_id, seen=state["revision"], timeout_s=20.0)
        if state["total"] == 1000:
            done.add(state["done"])
    assert done
    assert all(0 < count <= 1000 for count in done)
    report = agent.report(job_id)
    assert (report.status, report.failure and report.failure.code) in (("failed", "deadline"), ("ended", None))


def test_outputs_that_the_disk_has_no_room_for_are_no_fault_of_the_agents(home: Home, lock_file: Path) -> None:
    samples = np.zeros((RESERVE_BYTES // 4, 8), np.float32)  # each has outputs of more than 4 bytes
    with AgentProcess(home.root, lock_file) as agent:
        spec = evaluate(agent.push_model("dense_float32.tflite"), agent.push(encode_arrays([samples])))
    with AgentProcess(home.root, lock_file, preexec_fn=files_of_at_most(RESERVE_BYTES)) as agent:
        report = agent.run(spec)
    assert report.failure is not None
    assert report.failure.code == "disk-full"
