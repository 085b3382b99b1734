"""How long a measurement takes: the plans that ship."""

from __future__ import annotations

from edgepress_agent.protocol.messages import BenchmarkPlan

_MS = 1_000_000
_S = 1_000_000_000

# Warm-up: at least 5 runs, as LiteRT's benchmark_litert_model.py does (ExecuTorch went from 3 to 10, PR #8659), then on
# until the trace is level. benchmark_model asks for half a second; the short processes of `quick` do not.
# Blocks of 25 ms: a tenth of a process's timed part is then never hidden inside one.
# Cool-down: Raspberry Pi firmware slows down from 80 C on, the 3B+ from 60; MLPerf Mobile 4.0 waits five minutes.
_QUICK = BenchmarkPlan(
    name="quick",
    # 5 x 30 runs give a p95 (130 samples, see statistics.py); 5 x 0.2 s are benchmark_model's one second.
    # The start of a process (0.3 s on a workstation) is most of the cost: six recipes take under 20 s.
    processes=5,
    warmup_min_runs=5,
    warmup_min_ns=50 * _MS,
    min_runs=30,
    min_duration_ns=200 * _MS,
    max_duration_ns=3 * _S,
    seed=0,
    process_deadline_s=120.0,
    job_deadline_s=1800.0,
    steady_warmup_max_ns=1 * _S,
    block_ns=25 * _MS,
    cool_to_c=60.0,
    cool_down_max_s=60.0,
    pinned=True,
)
_STANDARD = BenchmarkPlan(
    name="standard",
    # pyperf's 20 worker processes: enough for an interval of 1 % where processes differ by 2 % (n = 4 z^2 s^2 / w^2).
    # Together at least 1024 runs and 60 s, at most 300 s: MLPerf Mobile 4.0, section "Performance".
    processes=20,
    warmup_min_runs=5,
    warmup_min_ns=500 * _MS,
    min_runs=52,
    min_duration_ns=3 * _S,
    max_duration_ns=15 * _S,
    seed=0,
    process_deadline_s=300.0,
    job_deadline_s=6 * 3600.0,
    steady_warmup_max_ns=5 * _S,
    block_ns=100 * _MS,
    cool_to_c=60.0,
    cool_down_max_s=300.0,
    pinned=True,
)
_SUSTAINED = BenchmarkPlan(
    name="sustained",
    # Ten minutes of load (MLPerf Inference), in five processes that follow each other at once. Each second 0.2 s of
    # it is timed: what counts is how the speed at the end compares with that of the beginning. No gate: heat is wanted.
    processes=5,
    warmup_min_runs=5,
    warmup_min_ns=50 * _MS,
    min_runs=30,
    min_duration_ns=120 * _S,
    max_duration_ns=150 * _S,
    seed=0,
    process_deadline_s=600.0,
    job_deadline_s=12 * 3600.0,
    block_ns=200 * _MS,
    block_max_runs=500,
    untimed_between_ns=800 * _MS,
    pinned=True,
)
_ADAPTIVE = BenchmarkPlan(
    name="adaptive",
    # From the six processes that a 95 % interval needs to pyperf's answer for processes that differ by 4 %.
    processes=6,
    warmup_min_runs=5,
    warmup_min_ns=50 * _MS,
    min_runs=30,
    min_duration_ns=500 * _MS,
    max_duration_ns=5 * _S,
    seed=0,
    process_deadline_s=120.0,
    job_deadline_s=1800.0,
    steady_warmup_max_ns=2 * _S,
    block_ns=50 * _MS,
    target_half_width=0.01,
    max_processes=60,
    cool_to_c=60.0,
    cool_down_max_s=300.0,
    pinned=True,
)
_GLANCE = BenchmarkPlan(
    name="glance",
    # For a board whose times mean nothing, such as an emulated one, where a process takes five seconds to start: that
    # it runs, what it answers and what memory it takes.
    processes=2,
    warmup_min_runs=5,
    warmup_min_ns=0,
    min_runs=5,
    min_duration_ns=0,
    max_duration_ns=10 * _S,
    seed=0,
    process_deadline_s=300.0,
    job_deadline_s=1800.0,
)

PLANS: dict[str, BenchmarkPlan] = {plan.name: plan for plan in (_GLANCE, _QUICK, _STANDARD, _SUSTAINED, _ADAPTIVE)}
"""By name. ``glance`` is for emulated boards, ``quick`` takes about 3 s a configuration, ``standard`` at least 80 s,
``sustained`` ten minutes, ``adaptive`` between 6 s and what :func:`duration_bounds_s` says."""

_SHORTEST_START_S = 0.3  # of a process: Python, numpy and the runtime on a workstation
_LONGEST_START_S = 8.0  # the same on a Raspberry Pi Zero 2 W, from a slow card


def duration_bounds_s(plan: BenchmarkPlan, configurations: int) -> tuple[float, float]:
    """Return how long a session takes at least and at most, s, before anything of it is known.

    The upper bound counts every process of an adaptive plan, its longest warm-up and timed part, the slowest start of a
    process and the longest wait for a hot board; a model of which ``min_runs`` inferences take longer ends there too.
    """
    least = plan.processes * (plan.warmup_min_ns + plan.min_duration_ns) / _S
    least = configurations * (least + plan.processes * _SHORTEST_START_S)
    most = max(plan.processes, plan.max_processes or 0)
    warmup_ns = max(plan.warmup_min_ns, plan.steady_warmup_max_ns or 0)
    longest = configurations * most * ((warmup_ns + plan.max_duration_ns) / _S + _LONGEST_START_S)
    return least, min(longest + plan.cool_down_max_s, plan.job_deadline_s)
