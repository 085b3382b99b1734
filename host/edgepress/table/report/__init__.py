"""``report.html``: the table as one file that people open, send and put beside a release.

Everything is inside the file: styles, script, plotly.js and the data. Names come from boards, models and users: they
reach the page as JSON that no HTML parser reads, and the script shows them as text.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgepress.errors import MissingPackageError
from edgepress.table.report.contents import page_contents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore


def render_report(store: ResultStore, rows: Sequence[Result], title: str = "edgepress") -> str:
    """Return the page for rows of a store.

    Raises:
        MissingPackageError: without the extra ``edgepress[report]``.
        TableError: the evidence of a row is damaged.
    """
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"the report needs {error.name}; install it with: pip install 'edgepress[report]'"
        ) from error
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_file("page.html.j2"))
    return template.render(
        title=title,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("edgepress"),
        style=_file("report.css"),
        charts=_file("charts.js"),
        script=_file("report.js"),
        plotly=_inside_script(get_plotlyjs()),
        data=_as_json(page_contents(store, rows)),
    )


def _file(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf-8")


def _inside_script(text: str) -> str:
    """Script text that ends no ``<script>`` early."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _as_json(value: Any) -> str:
    """JSON in which no character means anything to an HTML parser."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
