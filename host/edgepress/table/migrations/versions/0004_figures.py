"""Figures of the parts of a model, as of its operators; and rows are found by model, and by board and recipe at once.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "edgepress_figures",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("created_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_edgepress_figures"),
    )
    op.create_index("ix_edgepress_figures_model_sha256", "edgepress_figures", ["model_sha256"])
    columns = ["device", "recipe", "created_unix_ns"]
    op.create_index("ix_edgepress_results_device_recipe", "edgepress_results", columns)
    op.create_index("ix_edgepress_results_model", "edgepress_results", ["model", "created_unix_ns"])
