"""Rows are what their samples say, and a changed one is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from edgepress.benchmarking.plans import PLANS
from edgepress.cli.main import cli
from edgepress.table.evidence import decode_evidence, encode_evidence
from edgepress.table.recording import RULES, MetricValue, derive, plan_hash
from edgepress.table.result import COLUMNS, Result, content_hash
from edgepress.table.store import ResultStore
from edgepress.table.verify import verify
from edgepress_agent.protocol.messages import BenchmarkPlan, MeasurementWarning
from support.table_rows import result, run_report, steady_run

# What tells rows apart is not a finding: a change there hides the evidence, which is found too.
IDENTITY = {"physical_device", "session", "position"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    with ResultStore.open(str(tmp_path / "table.db")) as opened:
        yield opened


def change(store: ResultStore, row_id: str, **values: object) -> None:
    with store._engine.begin() as connection:
        table = sa.Table("edgepress_results", sa.MetaData(), autoload_with=connection)
        connection.execute(table.update().where(table.c.id == row_id).values(values))


def test_stored_rows_are_derived_again_bit_for_bit(store: ResultStore) -> None:
    warned = steady_run(warnings=[MeasurementWarning("governor", "ondemand", {"governors": ["ondemand"], "n": 1.5})])
    bimodal = run_report([[100_000] * 40] * 3 + [[150_000] * 40] * 2)
    store.record([result(), result("int8", run=warned, job_id="b"), result(None, run=bimodal, job_id="c")])
    found = list(verify(store))
    assert len(found) == 3
    assert all(one.is_sound and one.unknown is None for one in found), found


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "origin"])
def test_a_changed_value_is_found_in_every_column(store: ResultStore, column: str) -> None:
    row = result()
    store.record([row, result(job_id="untouched")])
    old = getattr(row, column)
    new = "changed" if old is None or isinstance(old, str) else not old if isinstance(old, bool) else old + 1
    if old is None and column not in ("recipe", "model", "cpu_model", "os", "libc", "kernel", "governor"):
        new = 1
    change(store, row.id, **{column: new})
    wrong = [one for one in verify(store) if not one.is_sound]
    assert len(wrong) == 1
    if column not in IDENTITY:
        assert [(found.field, found.derived) for found in wrong[0].changes] == [(column, old)]
    else:
        assert wrong[0].damage is not None


def test_a_changed_warning_is_found(store: ResultStore) -> None:
    row = result(run=run_report([[100_000] * 40]))
    store.record([row])
    change(store, row.id, warnings=[])
    (found,) = verify(store)
    assert [one.field for one in found.changes] == ["warnings"]


def test_a_changed_sample_is_found(store: ResultStore) -> None:
    row = result()
    store.record([row])
    assert row.evidence is not None
    runs = row.evidence.run.processes
    forged = dataclasses.replace(runs[0], samples_ns=tuple(sample - 20_000 for sample in runs[0].samples_ns))
    run = dataclasses.replace(row.evidence.run, processes=(forged, *runs[1:]))
    document = encode_evidence(dataclasses.replace(row.evidence, run=run))
    with store._engine.begin() as connection:
        connection.execute(sa.text("UPDATE edgepress_evidence SET document = :document"), {"document": document})
    (found,) = verify(store)
    assert "latency_min_ns" in [one.field for one in found.changes]


def test_damaged_evidence_is_named(store: ResultStore) -> None:
    store.record([result()])
    with store._engine.begin() as connection:
        connection.execute(sa.text("UPDATE edgepress_evidence SET document = x'00'"))
    (found,) = verify(store)
    assert found.damage is not None
    assert not found.is_sound


def test_rows_from_before_are_said_to_be_underivable_and_nothing_is_held_against_them(store: ResultStore) -> None:
    row = result()
    assert row.evidence is not None
    store.record([dataclasses.replace(row, evidence=dataclasses.replace(row.evidence, provenance=None))])
    (found,) = verify(store)
    assert found.is_sound
    assert found.unknown is not None


def of_rules(row: Result, rules: int, **changes: object) -> Result:
    """A row as an edgepress with rules of that number derived it."""
    assert row.evidence is not None
    assert row.evidence.provenance is not None
    provenance = dataclasses.replace(row.evidence.provenance, rules=rules)
    return dataclasses.replace(row, evidence=dataclasses.replace(row.evidence, provenance=provenance), **changes)  # type: ignore[arg-type]


def test_what_older_rules_said_differently_is_counted_apart_and_is_no_change(store: ResultStore) -> None:
    reworded = (MeasurementWarning("one-process", "said in other words", {}),)
    older = {"energy_per_run_j": 0.5, "warnings": reworded}
    store.record([of_rules(result(), 0, **older), of_rules(result(job_id="later"), 0)])
    other, same = verify(store)
    assert (other.changes, other.is_sound) == ((), True)
    assert other.unknown == "derived by older rules, which say something else of energy_per_run_j, warnings"
    assert (same.changes, same.unknown) == ((), None)


def test_what_no_rule_ever_changed_is_found_in_rows_of_older_ones(store: ResultStore) -> None:
    store.record([of_rules(result(), 0, energy_per_run_j=0.5, latency_p50_ns=7)])
    (found,) = verify(store)
    assert ([one.field for one in found.changes], found.unknown) == (["latency_p50_ns"], None)


def test_rows_of_newer_rules_are_for_a_newer_edgepress(store: ResultStore) -> None:
    store.record([of_rules(result(), RULES + 1, latency_p50_ns=7)])
    (found,) = verify(store)
    assert (found.changes, found.unknown) == ((), "derived by the rules of a newer edgepress: upgrade this one")


def test_every_reason_why_rows_cannot_be_derived_is_printed_with_its_count(store: ResultStore, tmp_path: Path) -> None:
    one, other = result(), result(job_id="later")
    assert one.evidence is not None
    old = dataclasses.replace(one, evidence=dataclasses.replace(one.evidence, provenance=None))
    store.record([old, of_rules(other, 0, energy_per_run_j=0.5)])
    done = CliRunner().invoke(cli, ["table", "verify", "--db", str(tmp_path / "table.db")])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "0 of 2 rows are what their samples say",
        "1 cannot be derived: recorded before rows kept all that they are derived from",
        "1 cannot be derived: derived by older rules, which say something else of energy_per_run_j",
    ]


def test_a_row_survives_the_way_through_its_evidence() -> None:
    row = result()
    assert row.evidence is not None
    assert derive(decode_evidence(encode_evidence(row.evidence))) == row


def test_a_row_whose_metric_is_no_number_survives_it_too(store: ResultStore) -> None:
    nan = float("nan")
    store.record([result(board_metric=MetricValue(nan, 0.1, float("inf")), host_metric=MetricValue(nan, nan, nan))])
    (found,) = verify(store)
    assert found.is_sound, found
    assert (found.row.metric_value_board, found.row.metric_low_board, found.row.metric_high_board) == (None, 0.1, None)


def test_plans_hash_as_they_did_before_they_had_more_to_say() -> None:
    first_fields = ("name", "processes", "warmup_min_runs", "warmup_min_ns", "min_runs", "min_duration_ns")
    first_fields += ("max_duration_ns", "seed", "process_deadline_s", "job_deadline_s")
    plan = BenchmarkPlan(*(getattr(PLANS["quick"], name) for name in first_fields))
    assert plan_hash(plan) == content_hash({name: getattr(plan, name) for name in first_fields})
    assert plan_hash(plan) != plan_hash(PLANS["quick"])
