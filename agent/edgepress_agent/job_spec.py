"""Is a job one that can be done? Asked before it is started, so that the host hears at once."""

from __future__ import annotations

from edgepress_agent.content import ContentStore
from edgepress_agent.faults import Fault
from edgepress_agent.install import check as check_install
from edgepress_agent.protocol.messages import DELEGATES, JOB_KINDS, BenchmarkPlan, Configuration, JobSpec

MAX_THREADS = 256
MAX_REQUESTED_BY_CHARACTERS = 200


def check_spec(spec: JobSpec, content: ContentStore) -> None:
    """Check a job's parameters, and that its model and inputs are on the board.

    Raises:
        Fault: "bad-request" names the parameter; "not-found" the content.
    """
    _require(spec.kind in JOB_KINDS, f"kind is one of {', '.join(JOB_KINDS)}; got {spec.kind[:80]!r}")
    _require(len(spec.requested_by) <= MAX_REQUESTED_BY_CHARACTERS, "requested_by is too long")
    _require(spec.deadline_s > 0, f"deadline_s must be positive, got {spec.deadline_s}")
    for configuration in spec.configurations:
        _check_configuration(configuration)
        content.path(configuration.model_sha256)
    if spec.inputs_sha256 is not None:
        content.path(spec.inputs_sha256)
    if spec.kind == "benchmark":
        _require(len(spec.configurations) >= 1, "benchmark needs at least one configuration")
        _require(spec.plan is not None, "benchmark needs a plan")
        assert spec.plan is not None
        _check_plan(spec.plan)
    elif spec.kind == "evaluate":
        _require(len(spec.configurations) == 1, f"evaluate takes one configuration, got {len(spec.configurations)}")
        _require(spec.inputs_sha256 is not None, "evaluate needs inputs_sha256")
    else:
        _require(spec.install is not None, "install needs what to install")
        assert spec.install is not None
        check_install(spec.install.name, spec.install.version, spec.install.requirements)


def _check_configuration(configuration: Configuration) -> None:
    _require(1 <= configuration.threads <= MAX_THREADS, f"threads is 1 to {MAX_THREADS}, got {configuration.threads}")
    _require(
        configuration.delegate in DELEGATES,
        f"delegate is one of {', '.join(DELEGATES)}; got {configuration.delegate[:80]!r}",
    )


def _check_plan(plan: BenchmarkPlan) -> None:
    for name, least in (
        ("processes", 1),
        ("warmup_min_runs", 0),
        ("warmup_min_ns", 0),
        ("min_runs", 1),
        ("min_duration_ns", 0),
        ("max_duration_ns", 1),
        ("steady_warmup_max_ns", 0),
        ("block_ns", 0),
        ("block_max_runs", 1),
        ("untimed_between_ns", 0),
        ("max_processes", 1),
        ("cool_down_max_s", 0),
    ):
        value = getattr(plan, name)
        _require(value is None or value >= least, f"plan.{name} must be at least {least}, got {value}")
    for name in ("process_deadline_s", "job_deadline_s"):
        _require(getattr(plan, name) > 0, f"plan.{name} must be positive, got {getattr(plan, name)}")
    if plan.target_half_width is not None:
        _require(plan.target_half_width > 0, f"plan.target_half_width must be positive, got {plan.target_half_width}")
    if plan.block_max_runs is not None:
        _require(plan.block_ns > 0, "plan.block_max_runs needs plan.block_ns")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Fault("bad-request", message)
