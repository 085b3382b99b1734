"""Where a row comes from: the user's commit, the source model, the board's software, and rows of other tools.

What the board said of itself is in the evidence already; rows of 0001 get it from there.

Revision ID: 0002
"""

import json
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NEW = ("source_sha256", "cpu_model", "os", "libc", "python_version", "numpy_version", "project_commit")


def upgrade() -> None:
    for name in _NEW:
        op.add_column("edgepress_results", sa.Column(name, sa.String(64) if name == "source_sha256" else sa.String))
    op.add_column("edgepress_results", sa.Column("project_dirty", sa.Boolean))
    op.add_column("edgepress_results", sa.Column("origin", sa.String, nullable=False, server_default="edgepress"))
    op.create_index("ix_edgepress_results_recipe", "edgepress_results", ["recipe", "created_unix_ns"])
    op.create_index("ix_edgepress_results_project_commit", "edgepress_results", ["project_commit", "created_unix_ns"])
    op.create_index("ix_edgepress_results_session", "edgepress_results", ["session"])
    op.create_index("ix_edgepress_results_model_sha256", "edgepress_results", ["model_sha256"])
    _fill_from_evidence(op.get_bind())


def _fill_from_evidence(connection: sa.Connection) -> None:
    results = sa.table("edgepress_results", sa.column("id"), *(sa.column(name) for name in _NEW))
    evidence = sa.table("edgepress_evidence", sa.column("result_id"), sa.column("document"))
    ids = connection.execute(sa.select(evidence.c.result_id)).scalars().all()
    for result_id in ids:  # one by one: the samples of all rows together need not fit into memory
        packed = connection.execute(
            sa.select(evidence.c.document).where(evidence.c.result_id == result_id)
        ).scalar_one()
        try:
            document = json.loads(zlib.decompress(packed))
        except (zlib.error, ValueError):
            continue  # damaged evidence stays what it is; reading it says so
        facts, runtime = document.get("facts") or {}, document["run"]["runtime"]
        values = {
            "source_sha256": (document.get("compression") or {}).get("model_sha256"),
            "cpu_model": facts.get("cpu_model"),
            "os": " ".join(filter(None, (facts.get("os_id"), facts.get("os_version")))) or None,
            "libc": facts.get("libc"),
            "python_version": runtime["python_version"],
            "numpy_version": runtime["numpy_version"],
        }
        connection.execute(results.update().where(results.c.id == result_id).values(values))
