"""The table of results: what a row is, where rows are kept, how they are shown.

- ``result``: :class:`~edgepress.table.result.Result`, a row, and the evidence behind it.
- ``recording``: a measured run becomes a row.
- ``store``: the database. ``schema`` and ``migrations`` say how it looks.
- ``render``: rows for the terminal and as text, markdown, csv and json.
"""
