"""Whether a measured latency can be believed, and why not."""

from __future__ import annotations

from edgepress.benchmarking.verdict import VerdictName, judge_run
from edgepress_agent.protocol.messages import Failure, MeasurementWarning
from support.table_rows import board_state, run_report, steady_run

CALM = (board_state(), board_state())


def codes(warnings: tuple[MeasurementWarning, ...]) -> list[str]:
    return [warning.code for warning in warnings]


def test_an_even_run_on_a_calm_board_is_stable() -> None:
    verdict = judge_run(steady_run(), CALM)
    assert (verdict.name, verdict.warnings) == (VerdictName.STABLE, ())


def test_processes_that_differ_are_unstable_and_the_message_says_by_how_much() -> None:
    verdict = judge_run(run_report([[62_900] * 40] * 7 + [[86_000] * 40] * 3), CALM)
    assert verdict.name == "unstable"
    assert codes(verdict.reasons) == ["process-spread"]
    assert "medians 62.9 to 86.0 us" in verdict.reasons[0].message


def test_two_speeds_that_lie_near_each_other_are_named_with_their_shares() -> None:
    verdict = judge_run(run_report([[100_000] * 40] * 6 + [[105_500] * 40] * 4), CALM)
    assert (verdict.name, codes(verdict.cautions)) == ("stable", ["modes"])
    assert "60% of them at 100.0 us; 40% of them at 105.5 us" in verdict.cautions[0].message


def test_a_single_process_is_never_called_stable() -> None:
    assert codes(judge_run(run_report([[100_000] * 40]), CALM).reasons) == ["one-process"]


def test_slowing_down_inside_a_process_is_unstable() -> None:
    verdict = judge_run(run_report([[100_000] * 20 + [103_000] * 20 + [108_000] * 20] * 5), CALM)
    assert (verdict.name, codes(verdict.reasons)) == ("unstable", ["drift"])
    assert "slower by 8%" in verdict.reasons[0].message


def test_a_neighbour_that_disturbs_one_run_in_ten_is_unstable() -> None:
    verdict = judge_run(run_report([([100_000] * 9 + [400_000]) * 6] * 5), CALM)
    assert (verdict.name, codes(verdict.reasons)) == ("unstable", ["long-tail"])


def test_failed_processes_make_the_rest_unstable() -> None:
    failure = Failure("deadline", "worker 3 passed its deadline of 120 s")
    verdict = judge_run(steady_run(failures=[failure]), CALM)
    assert (verdict.name, codes(verdict.reasons)) == ("unstable", ["process-failed"])
    assert "1 of 6 worker processes" in verdict.reasons[0].message


def test_throttling_at_any_reading_is_throttled() -> None:
    verdict = judge_run(steady_run(), (board_state(), board_state(throttled_bits=0b0100), board_state()))
    assert (verdict.name, codes(verdict.reasons)) == ("throttled", ["throttled"])
    assert "(throttled)" in verdict.reasons[0].message


def test_a_sticky_bit_that_appears_tells_of_throttling_between_readings() -> None:
    verdict = judge_run(steady_run(), (board_state(), board_state(throttled_bits=1 << 16)))
    assert verdict.name == "throttled"
    assert "under-voltage" in verdict.reasons[0].message


def test_a_sticky_bit_from_before_the_measurement_is_no_throttling_of_it() -> None:
    before = board_state(throttled_bits=0xF << 16)
    assert judge_run(steady_run(), (before, before)).name == "stable"


def test_a_board_that_cannot_tell_is_not_called_throttled() -> None:
    silent = board_state(throttled_bits=None, governor=None, cpu_hz=None, temperature_c=None)
    assert judge_run(steady_run(), (silent, silent)).warnings == ()


def test_times_shorter_than_a_call_are_implausible_whatever_else_was_seen() -> None:
    verdict = judge_run(run_report([[40] * 40, [90] * 40]), (board_state(), board_state(throttled_bits=1)))
    assert verdict.name == "implausible"
    assert codes(verdict.reasons) == ["implausible-latency", "throttled", "process-spread"]


def test_warnings_of_the_agent_ask_for_care_but_decide_nothing() -> None:
    warning = MeasurementWarning("governor", "the CPU governor is ondemand, not performance")
    verdict = judge_run(steady_run(warnings=[warning]), CALM)
    assert (verdict.name, verdict.reasons, verdict.cautions) == ("stable", (), (warning,))


def test_what_decided_is_not_said_twice() -> None:
    agents = MeasurementWarning("throttled", "while it ran, the firmware reported throttled")
    verdict = judge_run(steady_run(warnings=[agents]), (board_state(throttled_bits=4), board_state()))
    assert codes(verdict.warnings) == ["throttled"]
