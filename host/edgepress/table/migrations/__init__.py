"""How databases of older versions become new ones. Imported by Alembic only."""
