"""What a measurement says besides latency and peak memory. Rows from before have none of it.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("pss_bytes", "file_bytes", "swap_bytes"):
        op.add_column("edgepress_results", sa.Column(name, sa.BigInteger))
    for name in ("excluded_share", "roofline_share", "retention", "energy_per_run_j"):
        op.add_column("edgepress_results", sa.Column(name, sa.Float))
