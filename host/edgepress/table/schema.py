"""How the database looks now. ``migrations/`` says how an older one comes to look like this.

Rows and their evidence are two tables, so that listing 100,000 rows does not read their samples. Times are integers of
nanoseconds: SQLite has no type for them that keeps order and precision.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

# The newest migration. A test holds it to what migrations/versions says.
REVISION = "0005"

# Alembic's own default, "alembic_version", is also Optuna's: a database that both use would belong to neither.
VERSION_TABLE = "edgepress_version"

# Names that are the same on every database, so that a migration can name what it drops.
_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=_NAMING)

results = Table(
    "edgepress_results",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("key", String(64), nullable=False, index=True),
    # the key
    Column("model_sha256", String(64), nullable=False),
    Column("runtime", String, nullable=False),
    Column("runtime_version", String, nullable=False),
    Column("runtime_api", String, nullable=False),
    Column("delegate", String, nullable=False),
    Column("delegate_nodes", Integer),
    Column("threads", Integer, nullable=False),
    Column("physical_device", String(64), nullable=False),
    Column("plan", String, nullable=False),
    Column("plan_sha256", String(64), nullable=False),
    Column("data_sha256", String(64)),
    Column("training_seed", BigInteger),
    # what was measured
    Column("session", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("model", String, nullable=False),
    Column("recipe", String),
    Column("recipe_id", String),
    Column("device", String, nullable=False),
    Column("tflite_bytes", BigInteger, nullable=False),
    Column("metric", String),
    Column("metric_higher_is_better", Boolean),
    Column("metric_samples", BigInteger),
    Column("metric_value_host", Float),
    Column("metric_low_host", Float),
    Column("metric_high_host", Float),
    Column("metric_value_board", Float),
    Column("metric_low_board", Float),
    Column("metric_high_board", Float),
    Column("samples", BigInteger, nullable=False),
    Column("processes", Integer, nullable=False),
    Column("latency_min_ns", BigInteger, nullable=False),
    Column("latency_p50_ns", BigInteger, nullable=False),
    Column("latency_p50_low_ns", BigInteger),
    Column("latency_p50_high_ns", BigInteger),
    Column("latency_p90_ns", BigInteger),
    Column("latency_p95_ns", BigInteger),
    Column("latency_p95_low_ns", BigInteger),
    Column("latency_p95_high_ns", BigInteger),
    Column("latency_p99_ns", BigInteger),
    Column("latency_max_ns", BigInteger, nullable=False),
    Column("process_spread", Float),
    Column("peak_rss_bytes", BigInteger),
    Column("model_rss_bytes", BigInteger),
    Column("output_check", String),
    Column("verdict", String, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("emulated", Boolean, nullable=False),
    # where and with what
    Column("board_model", String),
    Column("kernel", String),
    Column("governor", String),
    Column("agent_version", String, nullable=False),
    Column("edgepress_version", String, nullable=False),
    Column("created_unix_ns", BigInteger, nullable=False),
    Column("source_sha256", String(64)),
    Column("cpu_model", String),
    Column("os", String),
    Column("libc", String),
    Column("python_version", String),
    Column("numpy_version", String),
    Column("project_commit", String),
    Column("project_dirty", Boolean),
    Column("pss_bytes", BigInteger),
    Column("file_bytes", BigInteger),
    Column("swap_bytes", BigInteger),
    Column("excluded_share", Float),
    Column("roofline_share", Float),
    Column("retention", Float),
    Column("energy_per_run_j", Float),
    Column("origin", String, nullable=False, server_default="edgepress"),
    # Every question is about the newest rows of something.
    Index(None, "device", "created_unix_ns"),
    Index("ix_edgepress_results_device_recipe", "device", "recipe", "created_unix_ns"),
    Index(None, "created_unix_ns"),
    Index(None, "recipe", "created_unix_ns"),
    Index(None, "project_commit", "created_unix_ns"),
    Index(None, "model", "created_unix_ns"),
    Index(None, "session"),
    Index(None, "model_sha256"),
)

evidence = Table(
    "edgepress_evidence",
    metadata,
    Column("result_id", String(64), ForeignKey("edgepress_results.id"), primary_key=True),
    Column("document", LargeBinary, nullable=False),  # see evidence.py
)

figures = Table(
    "edgepress_figures",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model_sha256", String(64), nullable=False, index=True),
    Column("created_unix_ns", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),  # see figures.py
)
