"""What another tool did not say is null, no longer 0; and the memory that it did say is what came after its start.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TABLE = "edgepress_results"
_MAY_BE_NULL = {"delegate_nodes": sa.Integer, "peak_rss_bytes": sa.BigInteger, "model_rss_bytes": sa.BigInteger}


def upgrade() -> None:
    # SQLite cannot change a column, and to copy the table would break off the evidence that refers to it.
    for name, kind in _MAY_BE_NULL.items():
        op.add_column(_TABLE, sa.Column(f"new_{name}", kind))
    op.execute(
        "UPDATE edgepress_results SET new_delegate_nodes = delegate_nodes, new_peak_rss_bytes = peak_rss_bytes, "
        "new_model_rss_bytes = model_rss_bytes"
    )
    op.execute(
        "UPDATE edgepress_results SET new_delegate_nodes = NULL, new_peak_rss_bytes = NULL, "
        "new_model_rss_bytes = NULLIF(peak_rss_bytes, 0) WHERE origin <> 'edgepress'"
    )
    for name in _MAY_BE_NULL:
        op.drop_column(_TABLE, name)
        op.alter_column(_TABLE, f"new_{name}", new_column_name=name)
