"""Comparing stored rows: what is a pair, what is a difference, what CI is told."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from edgepress.benchmarking.statistics import independent_ratio
from edgepress.errors import TableError
from edgepress.table import comparison_text
from edgepress.table.comparison import Pair, Verdict, compare, compare_rows
from edgepress.table.recording import MetricValue
from edgepress.table.regression import Limits, Outcome, find_regressions
from edgepress.table.result import Result
from edgepress.table.selection import select, varied
from edgepress.table.store import ResultStore
from support.table_rows import FACTS, STARTED_UNIX_NS, result, run_report, steady_run

LATENCY = Limits(latency=0.03)


def measured(p50_ns: float, seed: int = 0, processes: int = 20, noise: float = 0.003) -> Any:
    """Processes that differ by ``noise``, samples inside them by 1 %."""
    rng = random.Random(seed)
    levels = [p50_ns * (1 + rng.gauss(0, noise)) for _ in range(processes)]
    return run_report([[round(level * (1 + rng.gauss(0, 0.01))) for _ in range(40)] for level in levels])


def put(store: ResultStore, recipe: str, p50_ns: float, job: str = "job-1", **changes: Any) -> Result:
    seed = sum(map(ord, recipe + job))
    position = len(store.rows())
    day = int("".join(filter(str.isdigit, job)) or 1)
    ended = STARTED_UNIX_NS + day * 86_400 * 10**9
    run = changes.pop("run", None) or measured(p50_ns, seed)
    row = result(recipe, run=run, job_id=job, ended_unix_ns=ended, position=position, **changes)
    store.record([row])
    return row


def pair(store: ResultStore, before: str, after: str) -> Pair:
    one, other = select(store, before), select(store, after)
    (found,) = compare(store.evidence, one, other, varied(one, other))
    return found


class TestVerdicts:
    def test_a_real_difference_in_one_session_is_said_with_its_interval(self, sqlite_store: ResultStore) -> None:
        put(sqlite_store, "float32", 100_000)
        put(sqlite_store, "int8", 110_000)
        found = pair(sqlite_store, "float32", "int8")
        p50 = found.change("p50")
        assert p50 is not None
        assert found.same_session
        assert p50.low is not None
        assert p50.high is not None
        assert p50.low < 1.1 < p50.high
        assert p50.high - p50.low < 0.02
        assert p50.verdict is Verdict.WORSE

    def test_processes_of_different_rounds_are_no_pairs(self, sqlite_store: ResultStore) -> None:
        whole = measured(1e5, 1, processes=6, noise=0.05).processes
        runs = [[run for run in whole if run.index != missing] for missing in (1, 4)]
        for name, processes in zip(("float32", "int8"), runs, strict=True):
            put(sqlite_store, name, 1e5, run=dataclasses.replace(run_report([]), processes=tuple(processes)))
        p50 = pair(sqlite_store, "float32", "int8").change("p50")
        below, above = ([run.samples_ns for run in processes] for processes in runs)
        ratio = independent_ratio(above, below)
        assert p50 is not None
        assert (p50.low, p50.high) == (ratio.low, ratio.high)

    def test_less_than_two_percent_is_no_difference_however_sure(self, sqlite_store: ResultStore) -> None:
        put(sqlite_store, "float32", 100_000)
        put(sqlite_store, "int8", 101_200)
        p50 = pair(sqlite_store, "float32", "int8").change("p50")
        assert p50 is not None
        assert p50.low is not None
        assert p50.low > 1
        assert p50.verdict is Verdict.SAME

    def test_inside_a_session_it_must_exceed_twice_what_a_file_differs_from_itself_there(
        self, sqlite_store: ResultStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgepress.table.comparison.session_floor", lambda *_: 0.03)
        put(sqlite_store, "float32", 100_000)
        put(sqlite_store, "int8", 105_000)
        p50 = pair(sqlite_store, "float32", "int8").change("p50")
        assert p50 is not None
        assert (p50.needed, p50.verdict) == (0.06, Verdict.SAME)

    @pytest.mark.parametrize(("after_ns", "verdict"), [(104_000, Verdict.SAME), (108_000, Verdict.WORSE)])
    def test_between_sessions_a_difference_must_exceed_the_boards_noise(
        self, sqlite_store: ResultStore, after_ns: int, verdict: Verdict
    ) -> None:
        put(sqlite_store, "int8", 100_000, "job-1")
        put(sqlite_store, "int8", after_ns, "job-2")
        found = pair(sqlite_store, "session:job-1", "session:job-2")
        p50 = found.change("p50")
        assert p50 is not None
        assert not found.same_session
        assert (p50.needed, p50.verdict) == (0.05, verdict)
        assert "crosses sessions" in comparison_text.pairs_as_text([found])

    def test_the_noise_floor_is_that_of_the_device(
        self, sqlite_store: ResultStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgepress.table.comparison.noise_floor", lambda device, _: {"pi4": 0.10}[device])
        put(sqlite_store, "int8", 100_000, "job-1")
        put(sqlite_store, "int8", 108_000, "job-2")
        p50 = pair(sqlite_store, "session:job-1", "session:job-2").change("p50")
        assert p50 is not None
        assert (p50.needed, p50.verdict) == (0.10, Verdict.SAME)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"facts": dataclasses.replace(FACTS, emulated=True)}, "emulation"),
            ({"run": run_report([[90, 91, 92] * 20] * 5)}, "implausible"),
            ({"run": run_report([[100_000] * 200])}, "one process"),
        ],
    )
    def test_what_cannot_be_compared_is_said_and_why(
        self, sqlite_store: ResultStore, changes: dict[str, Any], why: str
    ) -> None:
        one = put(sqlite_store, "float32", 100_000)
        other = put(sqlite_store, "int8", 100_000, **changes)
        p50 = compare_rows(sqlite_store.evidence, one, other).change("p50")
        assert p50 is not None
        assert p50.verdict is Verdict.UNKNOWN
        assert why in p50.why

    def test_a_row_that_is_not_stable_gets_numbers_and_no_verdict(self, sqlite_store: ResultStore) -> None:
        one = put(sqlite_store, "float32", 1e5)
        other = put(sqlite_store, "int8", 2e5, run=measured(2e5, processes=40, noise=0.08))
        assert other.verdict == "unstable"
        for before, after in ((one, other), (other, one)):
            found = compare_rows(sqlite_store.evidence, before, after)
            p50, p95 = found.change("p50"), found.change("p95")
            assert p50 is not None
            assert p95 is not None
            assert p50.low is not None
            assert (p50.verdict, p50.why) == (p95.verdict, p95.why) == (Verdict.UNKNOWN, "a row is unstable")
            assert "not comparable (a row is unstable)" in comparison_text.pairs_as_text([found])

    def test_accuracy_on_the_same_data_has_an_interval_and_on_other_data_none(self, sqlite_store: ResultStore) -> None:
        one = put(sqlite_store, "a", 1e5, board_metric=MetricValue(0.95, 0.94, 0.96))
        other = put(sqlite_store, "b", 1e5, board_metric=MetricValue(0.90, 0.88, 0.92))
        change = compare_rows(sqlite_store.evidence, one, other).change("accuracy")
        assert change is not None
        assert change.change == pytest.approx(-0.05)
        # Zou and Donner: -0.05 -/+ sqrt(0.02^2 + 0.01^2)
        assert (change.low, change.high) == (pytest.approx(-0.0724, abs=1e-4), pytest.approx(-0.0276, abs=1e-4))
        assert change.verdict is Verdict.WORSE
        elsewhere = put(sqlite_store, "c", 1e5, data_sha256="00" * 32)
        change = compare_rows(sqlite_store.evidence, one, elsewhere).change("accuracy")
        assert change is not None
        assert (change.verdict, change.why) == (Verdict.UNKNOWN, "judged on other data")

    def test_a_a_comparisons_raise_no_false_alarm(self, sqlite_store: ResultStore) -> None:
        alarms = 0
        for number in range(25):
            one = result("a", run=measured(1e5, 2 * number), job_id=f"x{number}", position=0)
            other = result("a", run=measured(1e5, 2 * number + 1), job_id=f"x{number}", position=1)
            sqlite_store.record([one, other])
            p50 = compare_rows(sqlite_store.evidence, one, other).change("p50")
            alarms += p50 is not None and p50.verdict is not Verdict.SAME
        assert alarms == 0


class TestPairs:
    def test_rows_of_one_session_are_preferred_to_newer_ones(self, sqlite_store: ResultStore) -> None:
        put(sqlite_store, "float32", 100_000, "job-1")
        put(sqlite_store, "int8", 50_000, "job-1")
        put(sqlite_store, "float32", 100_000, "job-2")
        found = pair(sqlite_store, "float32", "int8")
        assert (found.before.session, found.after.session, found.same_session) == ("job-1", "job-1", True)

    def test_every_device_gives_a_pair_of_its_own(self, sqlite_store: ResultStore) -> None:
        for device, physical in (("pi4", "aa"), ("pi5", "bb")):
            facts = dataclasses.replace(FACTS, physical_id=physical * 32)
            put(sqlite_store, "float32", 1e5, f"{device}-1", device=device, facts=facts)
            put(sqlite_store, "int8", 5e4, f"{device}-1", device=device, facts=facts)
        one, other = select(sqlite_store, "float32"), select(sqlite_store, "int8")
        assert {p.after.device for p in compare(sqlite_store.evidence, one, other, varied(one, other))} == {
            "pi4",
            "pi5",
        }

    def test_devices_commits_and_files_can_be_compared(self, sqlite_store: ResultStore) -> None:
        facts = dataclasses.replace(FACTS, physical_id="bb" * 32, governor="ondemand")
        put(sqlite_store, "int8", 1e5, "job-1", project="aaaa111" + "0" * 33)
        put(sqlite_store, "int8", 1e5, "job-2", project="bbbb222" + "0" * 33 + "-dirty")
        put(sqlite_store, "int8", 4e4, "job-3", device="pi5", facts=facts)
        assert pair(sqlite_store, "device:pi4", "device:pi5").after.device == "pi5"
        commits = pair(sqlite_store, "commit:aaaa111", "commit:bbbb222")
        assert "commit aaaa111 → commit bbbb222+" in comparison_text.pairs_as_text([commits])
        release = f"release:000003-{'cd' * 6}"
        assert select(sqlite_store, release).rows == sqlite_store.rows()

    def test_what_only_one_word_names_chooses_rows_and_is_not_compared(self, sqlite_store: ResultStore) -> None:
        pi5 = {"device": "pi5", "facts": dataclasses.replace(FACTS, physical_id="bb" * 32)}
        put(sqlite_store, "float32", 1e5, "job-1")
        put(sqlite_store, "int8", 5e4, "job-2")
        put(sqlite_store, "int8", 2e4, "job-3", run=steady_run(20_000, threads=4))
        put(sqlite_store, "int8", 2e4, "job-4", **pi5)
        put(sqlite_store, "float32", 3e4, "job-5", run=steady_run(30_000, threads=4))
        assert pair(sqlite_store, "float32,device:pi4,threads:1", "int8").after.session == "job-2"
        assert pair(sqlite_store, "float32", "int8,threads:4").before.session == "job-5"

    def test_a_row_is_compared_with_whatever_the_other_word_chooses(self, sqlite_store: ResultStore) -> None:
        row = put(sqlite_store, "float32", 1e5)
        put(sqlite_store, "int8", 5e4)
        assert pair(sqlite_store, f"id:{row.id}", "int8").after.recipe == "int8"

    def test_what_nobody_asked_to_compare_is_named_when_it_differs(self, sqlite_store: ResultStore) -> None:
        one = put(sqlite_store, "float32", 1e5)
        other = dataclasses.replace(put(sqlite_store, "int8", 1e5), runtime_version="2.2.0")
        found = compare_rows(sqlite_store.evidence, one, other, frozenset({"recipe"}))
        assert found.differs == ("runtime",)
        assert "not measured alike: runtime differ" in comparison_text.pairs_as_text([found])

    def test_no_pair_is_an_error_that_says_why(self, sqlite_store: ResultStore) -> None:
        put(sqlite_store, "float32", 1e5, "job-1", model="a")
        put(sqlite_store, "int8", 1e5, "job-1", model="b")
        with pytest.raises(TableError, match=r"alike in model, device.*nothing can be compared"):
            pair(sqlite_store, "float32", "int8")


class TestSelection:
    def test_a_bare_word_is_what_it_is_the_name_of(self, sqlite_store: ResultStore) -> None:
        row = put(sqlite_store, "int8", 1e5)
        assert select(sqlite_store, "int8").terms == (("recipe", "int8"),)
        assert select(sqlite_store, "pi4").terms == (("device", "pi4"),)
        assert select(sqlite_store, row.id[:10]).terms == (("id", row.id[:10]),)
        assert select(sqlite_store, "newest").terms == (("session", "job-1"),)

    def test_a_word_of_two_meanings_is_refused_with_both(self, sqlite_store: ResultStore) -> None:
        put(sqlite_store, "pi4", 1e5)
        with pytest.raises(TableError, match=r"write recipe:pi4 or device:pi4"):
            select(sqlite_store, "pi4")

    @pytest.mark.parametrize(
        "word", ["nothing", "recipe:nothing", ",", "threads:many", "file:/nowhere", "recipe:", "id:"]
    )
    def test_a_word_that_chooses_nothing_is_an_error(self, sqlite_store: ResultStore, word: str) -> None:
        put(sqlite_store, "int8", 1e5)
        with pytest.raises(TableError):
            select(sqlite_store, word)

    def test_parts_with_commas_must_all_hold(self, sqlite_store: ResultStore) -> None:
        put(sqlite_store, "int8", 1e5)
        put(sqlite_store, "int8", 1e5, "job-2", device="pi5", facts=dataclasses.replace(FACTS, physical_id="bb" * 32))
        assert [row.device for row in select(sqlite_store, "recipe:int8,device:pi5").rows] == ["pi5"]


class TestRegressions:
    def test_a_slower_row_of_the_same_session_is_one(self, sqlite_store: ResultStore) -> None:
        one, other = put(sqlite_store, "int8", 1e5), put(sqlite_store, "int8", 1.05e5)
        found = find_regressions(sqlite_store.evidence, [one], [other], LATENCY)
        assert found.failed
        assert "1 regression" in comparison_text.regression_as_text(found)

    @pytest.mark.parametrize(("after_ns", "failed"), [(1.04e5, False), (1.09e5, True)])
    def test_between_sessions_it_must_exceed_the_noise_and_that_is_said(
        self, sqlite_store: ResultStore, after_ns: float, failed: bool
    ) -> None:
        one, other = put(sqlite_store, "int8", 1e5, "job-1"), put(sqlite_store, "int8", after_ns, "job-2")
        found = find_regressions(sqlite_store.evidence, [one], [other], LATENCY)
        assert found.failed is failed
        if not failed:
            assert found.findings[0].outcome is Outcome.NOISE
            assert "differ by up to 5.0% without a cause" in found.findings[0].why

    @pytest.mark.parametrize(("drop", "failed"), [(0.005, False), (0.006, True)])
    def test_accuracy_is_held_to_its_limit_exactly(self, sqlite_store: ResultStore, drop: float, failed: bool) -> None:
        one = put(sqlite_store, "int8", 1e5, board_metric=MetricValue(0.985, 0.97, 0.99))
        other = put(sqlite_store, "int8", 1e5, board_metric=MetricValue(0.985 - drop, 0.96, 0.99))
        assert find_regressions(sqlite_store.evidence, [one], [other], Limits(metric=0.005)).failed is failed

    def test_size_and_memory_have_limits_of_their_own(self, sqlite_store: ResultStore) -> None:
        one, other = put(sqlite_store, "int8", 1e5), put(sqlite_store, "int8", 1e5, size_bytes=33_000)
        assert find_regressions(sqlite_store.evidence, [one], [other], Limits(size=0.05)).failed
        assert not find_regressions(sqlite_store.evidence, [one], [other], Limits(size=0.2, memory=0.05)).failed

    def test_wrong_outputs_are_one_whatever_the_limits(self, sqlite_store: ResultStore) -> None:
        one, other = put(sqlite_store, "int8", 1e5), put(sqlite_store, "int8", 5e4, output_check="wrong")
        assert find_regressions(sqlite_store.evidence, [one], [other], LATENCY).failed

    def test_comparing_nothing_is_no_success(self, sqlite_store: ResultStore) -> None:
        one, other = put(sqlite_store, "int8", 1e5), put(sqlite_store, "float32", 1e5)
        with pytest.raises(TableError, match="nothing was compared"):
            find_regressions(sqlite_store.evidence, [one], [other], LATENCY)

    @pytest.mark.parametrize(
        ("changes", "limits", "why"),
        [
            ({"facts": dataclasses.replace(FACTS, emulated=True)}, LATENCY, "p50: measured under emulation"),
            ({"run": measured(2e5, processes=40, noise=0.08)}, LATENCY, "p50: a row is unstable"),
            ({"data_sha256": "00" * 32}, Limits(metric=0.01), "accuracy: judged on other data"),
            (
                {"board_metric": None, "host_metric": None},
                Limits(metric=0.01),
                "what the limits are of",
            ),
        ],
    )
    def test_judging_nothing_is_no_success_either(
        self, sqlite_store: ResultStore, changes: dict[str, Any], limits: Limits, why: str
    ) -> None:
        one, other = put(sqlite_store, "int8", 1e5), put(sqlite_store, "int8", 2e5, **changes)
        with pytest.raises(TableError, match=f"nothing was judged of {why}"):
            find_regressions(sqlite_store.evidence, [one], [other], limits)
        wrong = dataclasses.replace(other, output_check="wrong")
        assert find_regressions(sqlite_store.evidence, [one], [wrong], limits).failed

    def test_a_limit_that_could_be_judged_of_no_pair_is_no_success_though_others_were_kept(
        self, sqlite_store: ResultStore
    ) -> None:
        one = put(sqlite_store, "int8", 1e5)
        unstable = put(sqlite_store, "int8", 2e5, run=measured(2e5, processes=40, noise=0.08))
        both = dataclasses.replace(LATENCY, size=0.05)
        with pytest.raises(TableError, match="nothing was judged of p50: a row is unstable"):
            find_regressions(sqlite_store.evidence, [one], [unstable], both)
        before, after = put(sqlite_store, "float32", 1e5), put(sqlite_store, "float32", 1e5)
        assert not find_regressions(sqlite_store.evidence, [one, before], [unstable, after], both).failed

    def test_the_comment_names_what_was_missing_and_holds_no_markup_of_others(self, sqlite_store: ResultStore) -> None:
        hostile = "<img src=x onerror=alert(1)>|`**"
        one, other = put(sqlite_store, hostile, 1e5), put(sqlite_store, hostile, 1.2e5)
        gone = put(sqlite_store, "float32", 1e5)
        found = find_regressions(sqlite_store.evidence, [one, gone], [other], LATENCY)
        comment = comparison_text.regression_as_markdown(found)
        assert comment.startswith("### edgepress: 1 regression")
        assert "❌ regression" in comment
        assert "in the baseline only: digits float32 on pi4" in comment
        assert "<img" not in comment
        rows = [line.replace("\\|", "") for line in comment.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in rows} == {9}
