"""How long a measurement takes: the plans that ship."""

from __future__ import annotations

from edgepress_agent.protocol.messages import BenchmarkPlan

_MS = 1_000_000
_S = 1_000_000_000

# Warm-up of both plans: at least 5 runs, as LiteRT's benchmark_litert_model.py does; ExecuTorch went from 3 to 10
# (executorch PR #8659). benchmark_model asks for half a second; its processes live long enough for that to be cheap,
# the five short ones of `quick` do not.
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
)

PLANS: dict[str, BenchmarkPlan] = {plan.name: plan for plan in (_QUICK, _STANDARD)}
"""By name. ``quick`` takes about 3 s a configuration, ``standard`` at least 80 s."""
