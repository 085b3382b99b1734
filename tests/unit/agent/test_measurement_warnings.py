from __future__ import annotations

from dataclasses import replace

from edgepress_agent.measurement_warnings import warnings_of
from edgepress_agent.protocol.messages import BoardState, Memory, Phases, ProcessRun

QUIET = BoardState(
    taken_unix_ns=1,
    governor="performance",
    cpu_hz=1_800_000_000,
    temperature_c=45.0,
    throttled_bits=0,
    load_1min=0.1,
    memory_available_bytes=1 << 30,
)
PROCESS = ProcessRun(
    index=0,
    order=0,
    started_unix_ns=1,
    phases=Phases(1, 1, 1, 1, 1),
    warmup_ns=(1,),
    samples_ns=(1,) * 200,
    memory=Memory(1, 1, 1, 0, None),
    involuntary_switches=0,
    major_faults=0,
)


def codes(*states: BoardState, process: ProcessRun = PROCESS, peaks_were_reset: bool = True) -> list[str]:
    found = warnings_of([process], states, cpu_count=4, peaks_were_reset=peaks_were_reset)
    return [warning.code for warning in found]


def test_nothing_is_said_of_a_quiet_board() -> None:
    assert codes(QUIET, QUIET) == []


def test_nothing_is_said_of_what_cannot_be_known() -> None:
    unknown = replace(QUIET, governor=None, cpu_hz=None, temperature_c=None, throttled_bits=None)
    assert codes(unknown, unknown) == []


def test_governors_of_the_board_and_of_all_its_states_are_named_once_each() -> None:
    states = [replace(QUIET, governor=name) for name in ("performance", "performance+schedutil", "ondemand")]
    (warning,) = warnings_of([PROCESS], states, cpu_count=4, peaks_were_reset=True)
    assert warning.data == {"governors": ["ondemand", "performance", "schedutil"]}
    assert "is ondemand and performance and schedutil, not performance" in warning.message


def test_each_condition_has_a_code_of_its_own() -> None:
    assert codes(replace(QUIET, governor="ondemand")) == ["governor"]
    assert codes(replace(QUIET, load_1min=2.0)) == ["load"]
    assert codes(QUIET, replace(QUIET, temperature_c=80.5)) == ["hot"]
    assert codes(QUIET, replace(QUIET, cpu_hz=1_500_000_000)) == ["frequency-changed"]
    assert codes(QUIET, process=replace(PROCESS, samples_ns=(1,) * 20)) == ["few-samples"]
    assert codes(QUIET, process=replace(PROCESS, memory=Memory(1, 1, 1, 4096, None))) == ["swapped"]
    assert codes(QUIET, peaks_were_reset=False) == ["peak-not-reset"]


def test_the_load_that_the_job_itself_makes_is_no_warning() -> None:
    assert codes(QUIET, replace(QUIET, load_1min=4.0)) == []


def test_throttling_now_or_since_the_start_is_told_from_throttling_before() -> None:
    assert codes(QUIET, replace(QUIET, throttled_bits=0x4)) == ["throttled"]
    assert codes(QUIET, replace(QUIET, throttled_bits=0x10000)) == ["throttled"]
    assert codes(replace(QUIET, throttled_bits=0x50000), replace(QUIET, throttled_bits=0x50000)) == ["throttled-before"]
    (warning,) = warnings_of([PROCESS], [QUIET, replace(QUIET, throttled_bits=0x50005)], 4, True)
    assert warning.message == "while it ran, the firmware reported under-voltage, throttled"
    assert warning.data == {"bits": 5, "words": ["under-voltage", "throttled"]}


def test_a_configuration_without_a_finished_process_is_not_blamed_for_few_samples() -> None:
    assert warnings_of([], [QUIET], 4, True) == ()
