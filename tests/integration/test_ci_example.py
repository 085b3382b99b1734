"""The workflow of examples/ci.yml, its scripts run as a runner does; only the board is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLE = Path(__file__).parents[2] / "examples/ci.yml"

# `edgepress run` as it ends: rows of the commit that is checked out, as fast as the file "latency" there says.
EDGEPRESS = """\
#!{python}
import sys
sys.path.insert(0, {tests!r})
if sys.argv[1] != "run":
    from edgepress.cli.main import main
    main()
from pathlib import Path
from edgepress.table.project import project_state
from edgepress.table.store import ResultStore
from support.table_rows import STARTED_UNIX_NS, result, steady_run
commit = project_state()
with ResultStore.open() as store:
    older = len(store.rows())
    run = steady_run(int(Path("latency").read_text()))
    ended = STARTED_UNIX_NS + older * 10**9
    store.record([result("int8", run=run, job_id=commit, project=commit, ended_unix_ns=ended)])
print("measured", commit)
"""


class Runner:
    """A checkout of a pull request on a machine with the stand-in for edgepress on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        (folder / "bin").mkdir()
        program = folder / "bin/edgepress"
        program.write_text(EDGEPRESS.format(python=sys.executable, tests=str(EXAMPLE.parents[1] / "tests")))
        program.chmod(0o755)
        (job,) = yaml.safe_load(EXAMPLE.read_text())["jobs"].values()
        self.scripts: dict[str, str] = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "RECIPES": job["env"]["RECIPES"],
            "EDGEPRESS_DB": str(folder / "ci.db"),
            "RUNNER_TEMP": str(folder / "temp"),
            **{f"GIT_{who}_{what}": "ci@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self.git("init", "-q")
        self.environment["BASE"] = self.commit(latency_ns=100_000)

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.checkout, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, latency_ns: int) -> str:
        """Commit a state of the project whose model is so fast; return its hash."""
        (self.checkout / "latency").write_text(str(latency_ns))
        self.git("add", "latency")
        self.git("commit", "-q", "-m", f"{latency_ns} ns")
        return self.git("rev-parse", "HEAD")

    def step(self, name: str, code: int = 0) -> str:
        """Run the script of a step as GitHub does."""
        script = next(script for title, script in self.scripts.items() if title.startswith(name))
        done: Any = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return str(done.stdout)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_a_pull_request_that_makes_the_model_slower_fails_with_a_comment(runner: Runner) -> None:
    slower = runner.commit(latency_ns=120_000)
    assert f"measured {runner.environment['BASE']}" in runner.step("Measure the base commit")
    assert f"measured {slower}" in runner.step("Measure the pull request")
    assert "regression" in runner.step("Hold it against the base", code=3)
    assert "regression" in (runner.checkout / "comment.md").read_text()
    runner.step("Report")
    assert (runner.checkout / "report.html").stat().st_size > 1_000_000


def test_a_base_that_was_measured_is_not_measured_again_and_a_faster_model_passes(runner: Runner) -> None:
    runner.step("Measure the pull request")  # of the base itself, when it was one
    runner.commit(latency_ns=90_000)
    assert runner.step("Measure the base commit") == ""
    runner.step("Measure the pull request")
    runner.step("Hold it against the base")
    assert (runner.checkout / "comment.md").read_text().startswith("### edgepress: no regression")
