from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edgepress_agent.home import Home
from edgepress_agent.job_folder import RESERVE_BYTES, JobFolder, first_state
from edgepress_agent.jobs import JobStore
from edgepress_agent.protocol.codec import dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import InstallSpec, JobSpec, JobState, LockState
from support.agent_process import (
    MODELS,
    QUICK,
    AgentProcess,
    Refused,
    benchmark,
    configuration,
    evaluate,
    files_of_at_most,
)
from support.made_up_board import board_on_for


def until(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as something is so; there is no event to wait for in another process's children."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"not within 30 s: {what}"
        os.sched_yield()


def job_process(home: Home, job_id: str) -> psutil.Process:
    """Return the job's process once it has written its id."""
    path = home.jobs / job_id / "process.json"
    until(path.exists, "the job writes its process id")
    return psutil.Process(loads(path.read_bytes())["pid"])


def worker_of(process: psutil.Process) -> psutil.Process:
    until(lambda: bool(process.children()), "the job starts a worker")
    return process.children()[0]


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def endless(agent: AgentProcess) -> JobSpec:
    """A job that ends only when it is made to."""
    return benchmark(configuration(agent.push_model("endless.tflite")))


def test_a_job_tells_its_way_from_queued_to_ended(agent: AgentProcess) -> None:
    spec = benchmark(configuration(agent.push_model("smoke.tflite")))
    state = from_wire(JobState, agent.call("start", **to_wire(spec)))
    assert (state.status, state.files, state.requested_by) == ("queued", (), "tester@here")
    states = [state]
    while states[-1].status != "ended":
        answer = agent.call("wait", job_id=state.job_id, seen=states[-1].revision, timeout_s=20.0)
        states.append(from_wire(JobState, answer))
    assert [s.revision for s in states] == sorted({s.revision for s in states})
    assert [s.done for s in states] == sorted(s.done for s in states)
    assert (states[-1].done, states[-1].total) == (2, 2)
    assert states[-1].files == ("report.json", "job.log")
    assert agent.call("jobs")["jobs"] == [to_wire(states[-1]) | {"files": ["report.json", "job.log"]}]


def test_wait_returns_at_its_time_out_when_nothing_changes(agent: AgentProcess, endless: JobSpec) -> None:
    job_id = agent.start(endless)
    worker_of(job_process(Home(agent.home), job_id))
    state = from_wire(JobState, agent.call("wait", job_id=job_id, seen=-1, timeout_s=0.0))
    again = from_wire(JobState, agent.call("wait", job_id=job_id, seen=state.revision, timeout_s=0.1))
    assert again == state
    agent.call("cancel", job_id=job_id)


def test_a_job_that_ended_is_deleted_only_when_it_is_acknowledged(agent: AgentProcess, home: Home) -> None:
    job_id = agent.start(benchmark(configuration(agent.push_model("smoke.tflite"))))
    agent.wait_until(job_id, "ended")
    assert (home.jobs / job_id).is_dir()
    assert agent.call("acknowledge", job_id=job_id) == {}
    assert list(home.jobs.iterdir()) == []
    assert agent.call("jobs") == {"jobs": []}
    with pytest.raises(Refused, match="not-found"):
        agent.call("acknowledge", job_id=job_id)


def test_a_job_that_runs_cannot_be_acknowledged(agent: AgentProcess, endless: JobSpec) -> None:
    job_id = agent.start(endless)
    with pytest.raises(Refused, match="cancel it before") as refused:
        agent.call("acknowledge", job_id=job_id)
    assert refused.value.code == "busy"
    agent.call("cancel", job_id=job_id)
    agent.call("acknowledge", job_id=job_id)


def test_cancel_ends_the_processes_frees_the_board_and_keeps_what_was_measured(
    agent: AgentProcess, home: Home, endless: JobSpec
) -> None:
    job_id = agent.start(endless)
    process = job_process(home, job_id)
    worker = worker_of(process)
    assert from_wire(LockState, agent.call("lock")).job_id == job_id
    assert agent.call("cancel", job_id=job_id)["status"] == "cancelled"
    assert gone(process)
    assert gone(worker)
    assert from_wire(LockState, agent.call("lock")) == LockState(held=False)
    report = agent.report(job_id)
    assert report.status == "cancelled"
    assert report.failure is not None
    assert report.failure.code == "cancelled"
    assert report.runs[0].configuration == endless.configurations[0]
    assert agent.call("cancel", job_id=job_id)["status"] == "cancelled"


def test_a_job_that_does_not_react_is_cancelled_all_the_same(
    home: Home, agent: AgentProcess, endless: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress_agent import jobs

    job_id = agent.start(endless)
    process = job_process(home, job_id)
    worker = worker_of(process)
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(jobs, "TERMINATE_GRACE_S", 0.2)
    state = jobs.JobStore(home).cancel(job_id)
    assert state.status == "cancelled"
    until(lambda: gone(process) and gone(worker), "SIGKILL ends both")
    assert "did not end by themselves" in state.message


def test_a_job_that_waits_for_the_board_can_be_cancelled(agent: AgentProcess, endless: JobSpec) -> None:
    first = agent.start(endless)
    agent.wait_until(first, "running")
    second = agent.start(endless)
    assert agent.call("cancel", job_id=second)["status"] == "cancelled"
    assert agent.call("cancel", job_id=first)["status"] == "cancelled"


def test_the_agent_dies_the_job_ends_and_another_agent_collects_it(home: Home, lock_file: Path) -> None:
    agent = AgentProcess(home.root, lock_file)
    job_id = agent.start(benchmark(configuration(agent.push_model("slow.tflite"))))
    agent.wait_until(job_id, "running")
    agent.process.kill()
    agent.close()
    with AgentProcess(home.root, lock_file) as another:
        (known,) = another.call("jobs")["jobs"]
        assert known["job_id"] == job_id
        report = another.report(job_id)
        assert report.status == "ended"
        assert [len(run.processes) for run in report.runs] == [2]


def test_closing_the_link_does_not_end_a_job(home: Home, lock_file: Path) -> None:
    agent = AgentProcess(home.root, lock_file)
    job_id = agent.start(benchmark(configuration(agent.push_model("slow.tflite"))))
    assert agent.close() == 0
    with AgentProcess(home.root, lock_file) as another:
        assert another.report(job_id).status == "ended"


def test_a_hang_up_ends_a_server_that_waits(home: Home, lock_file: Path, endless: JobSpec, agent: AgentProcess) -> None:
    job_id = agent.start(endless)
    worker_of(job_process(home, job_id))
    waiting = AgentProcess(home.root, lock_file)
    state = waiting.call("wait", job_id=job_id, seen=-1, timeout_s=0.0)
    waiting.send({"id": 99, "verb": "wait", "params": {"job_id": job_id, "seen": state["revision"], "timeout_s": 60.0}})
    assert waiting.close() == 0
    agent.call("cancel", job_id=job_id)


def test_a_job_whose_process_was_killed_is_reported_as_failed(
    agent: AgentProcess, home: Home, endless: JobSpec
) -> None:
    job_id = agent.start(endless)
    process = job_process(home, job_id)
    worker = worker_of(process)
    process.kill()
    until(lambda: gone(worker), "the kernel kills the worker with its job")
    report = agent.report(job_id)
    assert report.status == "failed"
    assert report.failure is not None
    assert report.failure.code == "internal"
    assert "ended without a report" in report.failure.message
    assert report.failure.details["last_message"] == "process 1 of 2"
    assert from_wire(LockState, agent.call("lock")) == LockState(held=False)
    agent.call("acknowledge", job_id=job_id)


def test_a_job_that_died_between_report_and_state_keeps_its_report(agent: AgentProcess, home: Home) -> None:
    job_id = agent.start(benchmark(configuration(agent.push_model("smoke.tflite"))))
    final = agent.wait_until(job_id, "ended")
    until(lambda: gone(job_process(home, job_id)), "the job's process ends")
    before = replace(final, status="running", revision=final.revision - 1, files=())
    (home.jobs / job_id / "state.json").write_bytes(dumps(to_wire(before)))
    assert agent.wait_until(job_id, "ended") == final


def test_a_state_that_a_power_cut_destroyed_is_a_failed_job_and_hides_no_other(
    agent: AgentProcess, home: Home, endless: JobSpec
) -> None:
    lost = agent.start(endless)
    process = job_process(home, lost)
    process.kill()
    until(lambda: gone(process), "the job's process ends")
    (home.jobs / lost / "state.json").write_bytes(b"\0" * 300)
    agent.run(benchmark(configuration(agent.push_model("smoke.tflite"))))
    states = [from_wire(JobState, state) for state in agent.call("jobs")["jobs"]]
    assert [state.status for state in states] == ["failed", "ended"]
    assert agent.report(lost).kind == "benchmark"


def test_files_in_the_current_directory_are_not_imported(home: Home, lock_file: Path, tmp_path: Path) -> None:
    for name in ("numpy.py", "psutil.py", "ai_edge_litert.py"):
        (tmp_path / name).write_text("raise SystemExit('this is not a package')")
    with AgentProcess(home.root, lock_file, cwd=tmp_path) as agent:
        report = agent.run(benchmark(configuration(agent.push_model("smoke.tflite"))))
    assert report.runs[0].failures == ()
    assert len(report.runs[0].processes) == 2


def test_two_hosts_share_a_board_one_after_the_other(tmp_path: Path, lock_file: Path) -> None:
    for user in ("ann", "bob"):
        (tmp_path / user / "home").mkdir(parents=True)
    with (
        AgentProcess(tmp_path / "ann" / "home", lock_file) as ann,
        AgentProcess(tmp_path / "bob" / "home", lock_file) as bob,
    ):
        endless = configuration(ann.push_model("endless.tflite"))
        first = ann.start(replace(benchmark(endless), requested_by="ann@laptop"))
        running = ann.wait_until(first, "running")
        second = bob.start(benchmark(configuration(bob.push_model("smoke.tflite"))))
        state = from_wire(JobState, bob.call("wait", job_id=second, seen=0, timeout_s=20.0))
        assert state.status == "queued"
        assert state.message == "waits for ann@laptop"
        assert state.waits_for is not None
        assert (state.waits_for.job_id, state.waits_for.requested_by) == (first, "ann@laptop")
        assert from_wire(LockState, bob.call("lock")) == state.waits_for
        ann.call("cancel", job_id=first)
        report = bob.report(second)
        assert report.status == "ended"
        assert running.started_unix_ns is not None
        assert report.started_unix_ns > running.started_unix_ns


def test_a_file_is_fetched_in_pieces_with_the_hash_of_the_whole(agent: AgentProcess) -> None:
    job_id = agent.start(benchmark(configuration(agent.push_model("smoke.tflite"))))
    agent.wait_until(job_id, "ended")
    whole = agent.fetch(job_id, "report.json")
    pieces = b""
    while len(pieces) < len(whole):
        frame = agent.frame("fetch", job_id=job_id, name="report.json", offset=len(pieces), max_bytes=1000)
        assert frame.blob is not None
        assert 1 <= len(frame.blob) <= 1000
        assert frame.header["result"]["total_bytes"] == len(whole)
        pieces += frame.blob
    assert pieces == whole
    end = agent.frame("fetch", job_id=job_id, name="report.json", offset=len(whole), max_bytes=1)
    assert end.blob == b""
    with pytest.raises(Refused, match="bad-request"):
        agent.call("fetch", job_id=job_id, name="report.json", offset=len(whole) + 1, max_bytes=1)
    for name in ("spec.json", "../../models", "/etc/passwd", "outputs.npys"):
        with pytest.raises(Refused, match="not-found"):
            agent.call("fetch", job_id=job_id, name=name, offset=0, max_bytes=1)


def test_what_cannot_be_done_is_refused_before_there_is_a_job(agent: AgentProcess, home: Home) -> None:
    sha256 = agent.push_model("smoke.tflite")
    model = configuration(sha256)
    install = InstallSpec("ai-edge-litert", "2.1.6", ())
    for spec, complaint in (
        (JobSpec("dance", "me"), "kind is one of benchmark, evaluate, install"),
        (JobSpec("benchmark", "me", (model,)), "needs a plan"),
        (JobSpec("benchmark", "me", (), QUICK), "at least one configuration"),
        (benchmark(model, plan=replace(QUICK, processes=0)), "plan.processes must be at least 1, got 0"),
        (benchmark(model, plan=replace(QUICK, job_deadline_s=0.0)), "plan.job_deadline_s must be positive"),
        (benchmark(configuration(sha256, threads=0)), "threads is 1 to 256, got 0"),
        (benchmark(configuration(sha256, delegate="gpu")), "delegate is one of default, none; got 'gpu'"),
        (benchmark(configuration("0" * 64)), "no content 000"),
        (benchmark(model, inputs_sha256="1" * 64), "no content 111"),
        (JobSpec("evaluate", "me", (model,)), "needs inputs_sha256"),
        (JobSpec("evaluate", "me", (model, model), inputs_sha256=sha256), "takes one configuration, got 2"),
        (JobSpec("install", "me"), "what to install"),
        (JobSpec("install", "me", install=replace(install, name="evil")), "known are ai-edge-litert, tflite-runtime"),
        (JobSpec("install", "me", install=replace(install, version="../1")), "is not a version"),
        (JobSpec("install", "me", install=replace(install, requirements=("--index-url=http://x",))), "by name"),
        (JobSpec("install", "me", install=replace(install, requirements=("a @ file:///x",))), "by name and version"),
        (replace(evaluate(sha256, sha256), deadline_s=0.0), "deadline_s must be positive"),
    ):
        with pytest.raises(Refused, match=complaint):
            agent.start(spec)
    assert not home.jobs.exists()


def test_a_runtime_that_is_not_there_fails_the_job_and_names_those_that_are(agent: AgentProcess) -> None:
    model = replace(configuration(agent.push_model("smoke.tflite")), runtime_version="0.0.1")
    report = agent.run(benchmark(model))
    assert report.status == "failed"
    assert report.failure is not None
    assert report.failure.code == "no-runtime"
    assert "no runtime ai-edge-litert 0.0.1 on this board; it has ai-edge-litert" in report.failure.message


def test_the_board_is_free_as_soon_as_a_job_is_known_to_have_ended(agent: AgentProcess) -> None:
    spec = benchmark(configuration(agent.push_model("smoke.tflite")), plan=replace(QUICK, processes=1))
    for _ in range(3):
        agent.wait_until(agent.start(spec), "ended")
        assert from_wire(LockState, agent.call("lock")) == LockState(held=False)


def test_a_report_that_the_disk_has_no_room_for_is_replaced_by_one_that_says_so(home: Home, lock_file: Path) -> None:
    with AgentProcess(home.root, lock_file, preexec_fn=files_of_at_most(RESERVE_BYTES)) as agent:
        many = replace(QUICK, min_runs=RESERVE_BYTES)  # a sample takes more than a byte
        job_id = agent.start(benchmark(configuration(agent.push_model("smoke.tflite")), plan=many))
        report = agent.report(job_id)
        assert (report.status, report.runs) == ("failed", ())
        assert report.failure is not None
        assert report.failure.code == "disk-full"
        assert agent.call("jobs")["jobs"][0]["message"] == report.failure.message
        assert [path.name for path in (home.jobs / job_id).iterdir() if path.name[0] == "."] == []
        assert not (home.jobs / job_id / "reserve").exists()


def test_a_job_that_has_no_room_to_begin_with_leaves_nothing_behind(home: Home, lock_file: Path) -> None:
    with AgentProcess(home.root, lock_file, preexec_fn=files_of_at_most(RESERVE_BYTES - 1)) as agent:
        spec = benchmark(configuration(agent.push_model("smoke.tflite")))
        with pytest.raises(Refused) as refused:
            agent.start(spec)
    assert refused.value.code == "disk-full"
    assert list(home.jobs.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "days", "days_on", "kept"),
    [
        ("benchmark", 2, 100, True),
        ("benchmark", 31, 100, False),
        ("evaluate", 0.9, 100, True),
        ("evaluate", 1.1, 100, False),
        ("benchmark", 9000, 29, True),  # the clock has jumped: 9000 days ago the board was not on
    ],
)
def test_what_nobody_came_back_for_is_kept_a_month_when_it_was_measured_and_else_a_day(
    home: Home, tmp_path: Path, kind: str, days: float, days_on: float, kept: bool
) -> None:
    left = JobFolder(home.jobs / "20260101T000000000-00000000")
    left.path.mkdir(parents=True)
    left.write_state(replace(first_state(left.job_id, JobSpec(kind, "me@here")), status="ended"))
    os.utime(left.path / "state.json", (time.time() - days * 86_400,) * 2)
    JobStore(replace(home, system=board_on_for(tmp_path / "system", days_on))).tidy_up()
    assert left.path.is_dir() == kept


def test_a_job_of_another_version_of_the_agent_hides_no_other(agent: AgentProcess, home: Home) -> None:
    job_id = agent.start(benchmark(configuration(agent.push_model("smoke.tflite"))))
    agent.wait_until(job_id, "ended")
    strange = home.jobs / "20300101T000000000-00000000"
    strange.mkdir()
    for name in ("spec.json", "state.json"):
        (strange / name).write_text('{"a_word_of": "a later version"}')
    assert [state["job_id"] for state in agent.call("jobs")["jobs"]] == [job_id]


def test_what_the_work_of_a_failed_job_has_started_ends_with_it(home: Home, lock_file: Path) -> None:
    """As a compiler that pip has started: killing pip at the deadline does not reach it."""
    folder = JobFolder(home.jobs / "job")
    folder.path.mkdir(parents=True)
    spec = JobSpec("install", "me", install=InstallSpec("ai-edge-litert", "2.1.6", ()))
    folder.write_spec(spec)
    folder.write_state(first_state("job", spec))
    script = """if True:
        import subprocess, sys
        from pathlib import Path
        from edgepress_agent import job
        from edgepress_agent.home import Home

        def work(running):
            pip = ["sh", "-c", "sleep 1000 & echo $! > $0; wait", str(running.folder.path / "grandchild")]
            subprocess.run(pip, timeout=0.5)

        job.KINDS["install"] = work
        sys.exit(job.main(Path(sys.argv[1]), Home(Path(sys.argv[2]))))
    """
    argv = [sys.executable, "-c", script, str(folder.path), str(home.root)]
    environment = {**os.environ, "EDGEPRESS_LOCK": str(lock_file)}
    done = subprocess.run(argv, env=environment, start_new_session=True, timeout=60, check=False)
    assert done.returncode == 1
    assert folder.read_report().status == "failed"
    process_id = int((folder.path / "grandchild").read_text())
    until(lambda: not psutil.pid_exists(process_id) or gone(psutil.Process(process_id)), "the grandchild ends")


def test_models_of_the_tests_are_small() -> None:
    assert all(path.stat().st_size < 5_000 for path in MODELS.glob("*.tflite"))
