"""Alembic runs this file. The connection comes from ``migrate.py``; there is no alembic.ini and no offline mode."""

from alembic import context

from edgepress.table.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite cannot alter a table in place
    # All of it or nothing, on SQLite too: migrate.py has begun the transaction.
    transactional_ddl=True,
)
context.run_migrations()
