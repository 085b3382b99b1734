"""The table of results and its evidence.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "edgepress_results",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("runtime", sa.String, nullable=False),
        sa.Column("runtime_version", sa.String, nullable=False),
        sa.Column("runtime_api", sa.String, nullable=False),
        sa.Column("delegate", sa.String, nullable=False),
        sa.Column("delegate_nodes", sa.Integer, nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("physical_device", sa.String(64), nullable=False),
        sa.Column("plan", sa.String, nullable=False),
        sa.Column("plan_sha256", sa.String(64), nullable=False),
        sa.Column("data_sha256", sa.String(64)),
        sa.Column("training_seed", sa.BigInteger),
        sa.Column("session", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("recipe", sa.String),
        sa.Column("recipe_id", sa.String),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("tflite_bytes", sa.BigInteger, nullable=False),
        sa.Column("metric", sa.String),
        sa.Column("metric_higher_is_better", sa.Boolean),
        sa.Column("metric_samples", sa.BigInteger),
        sa.Column("metric_value_host", sa.Float),
        sa.Column("metric_low_host", sa.Float),
        sa.Column("metric_high_host", sa.Float),
        sa.Column("metric_value_board", sa.Float),
        sa.Column("metric_low_board", sa.Float),
        sa.Column("metric_high_board", sa.Float),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sa.Column("processes", sa.Integer, nullable=False),
        sa.Column("latency_min_ns", sa.BigInteger, nullable=False),
        sa.Column("latency_p50_ns", sa.BigInteger, nullable=False),
        sa.Column("latency_p50_low_ns", sa.BigInteger),
        sa.Column("latency_p50_high_ns", sa.BigInteger),
        sa.Column("latency_p90_ns", sa.BigInteger),
        sa.Column("latency_p95_ns", sa.BigInteger),
        sa.Column("latency_p95_low_ns", sa.BigInteger),
        sa.Column("latency_p95_high_ns", sa.BigInteger),
        sa.Column("latency_p99_ns", sa.BigInteger),
        sa.Column("latency_max_ns", sa.BigInteger, nullable=False),
        sa.Column("process_spread", sa.Float),
        sa.Column("peak_rss_bytes", sa.BigInteger, nullable=False),
        sa.Column("model_rss_bytes", sa.BigInteger, nullable=False),
        sa.Column("output_check", sa.String),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("emulated", sa.Boolean, nullable=False),
        sa.Column("board_model", sa.String),
        sa.Column("kernel", sa.String),
        sa.Column("governor", sa.String),
        sa.Column("agent_version", sa.String, nullable=False),
        sa.Column("edgepress_version", sa.String, nullable=False),
        sa.Column("created_unix_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_edgepress_results"),
    )
    op.create_index("ix_edgepress_results_key", "edgepress_results", ["key"])
    op.create_index("ix_edgepress_results_device", "edgepress_results", ["device", "created_unix_ns"])
    op.create_index("ix_edgepress_results_created_unix_ns", "edgepress_results", ["created_unix_ns"])
    op.create_table(
        "edgepress_evidence",
        sa.Column("result_id", sa.String(64), nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["result_id"],
            ["edgepress_results.id"],
            name="fk_edgepress_evidence_result_id_edgepress_results",
        ),
        sa.PrimaryKeyConstraint("result_id", name="pk_edgepress_evidence"),
    )
