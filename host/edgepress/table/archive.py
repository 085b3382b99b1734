"""Rows with all of their evidence as a file: JSON Lines, or a bundle with the models and recipes.

The first line says what follows; then come rows, and what is known of the parts of their models::

    {"edgepress_archive": 3, "edgepress_version": "0.1.0", "rows": 2, "figures": 1}
    {"row": {"id": ..., "latency_p50_ns": ...}, "evidence": {"run": {...}, ...}}
    {"figures": {"what": "time by operator", "parts": [...], ...}}

A name that ends with ``.gz`` is compressed. A bundle is a zip file of ``rows.jsonl``, ``models/<sha256>.tflite`` and
``recipes/<name>-<id>.toml``.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from edgepress.errors import TableError
from edgepress.table.evidence import FOREIGN_SCHEMA, evidence_of
from edgepress.table.figures import figures_from_json
from edgepress.table.result import COLUMNS, ForeignSource, Result
from edgepress_agent.protocol.codec import WireError, loads
from edgepress_agent.protocol.messages import MeasurementWarning

if TYPE_CHECKING:
    from edgepress.table.store import ResultStore

# ARCHIVE history. A change to the form needs a line:
#   1  first version
#   2  "figures" behind the rows
#   3  rows of other tools have null where they had 0 for unknown, and their memory in "model_rss_bytes"
ARCHIVE = 3
_READABLE = (1, 2, ARCHIVE)
_ROWS_FILE = "rows.jsonl"
_MODEL_FILE = re.compile(r"models/([0-9a-f]{64})\.tflite")
_MOST_MODEL_BYTES = 1 << 31  # flatbuffers end there
_BATCH = 200  # rows a transaction


@dataclass(frozen=True)
class Exported:
    """What an export wrote. ``missing``: models (sha256) whose file is not kept here."""

    rows: int
    models: int = 0
    recipes: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """What an import did: rows that were new, of how many, and model files."""

    new: int
    rows: int
    models: int = 0


def export_rows(store: ResultStore, rows: Sequence[Result], target: Path) -> Exported:
    """Write rows and their evidence as JSON Lines.

    Raises:
        TableError: the file cannot be written.
    """
    with _explained(target):
        with _open_text(target, "wt") as file:
            _write_rows(store, rows, file)
        return Exported(len(rows))


def export_bundle(store: ResultStore, rows: Sequence[Result], target: Path) -> Exported:
    """Write rows, their evidence, their models and their recipes as one zip file.

    Raises:
        TableError: the file cannot be written.
    """
    import tomlkit

    models = sorted({row.model_sha256 for row in rows})
    kept = [sha256 for sha256 in models if store.models.path(sha256).exists()]
    recipes: dict[str, str] = {}
    with _explained(target), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        with bundle.open(_ROWS_FILE, "w", force_zip64=True) as raw:
            for document in _documents(store, rows):
                raw.write((json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n").encode())
                recipe = ((document.get("evidence") or {}).get("compression") or {}).get("recipe")
                if recipe and document["row"]["recipe"]:
                    name = re.sub(r"[^A-Za-z0-9._-]", "_", document["row"]["recipe"])
                    text = tomlkit.dumps(_without_none(recipe))
                    recipes[f"recipes/{name}-{document['row']['recipe_id']}.toml"] = text
        for name, text in sorted(recipes.items()):
            bundle.writestr(name, text)
        for sha256 in kept:
            bundle.write(store.models.path(sha256), f"models/{sha256}.tflite")
    return Exported(len(rows), len(kept), len(recipes), tuple(set(models) - set(kept)))


def import_archive(store: ResultStore, source: Path) -> Imported:
    """Add the rows of an archive or a bundle; those that are there already stay as they are.

    Raises:
        TableError: it is no archive, from a newer edgepress, or damaged: rows before the damage may have been added.
    """
    if zipfile.is_zipfile(source):
        return _import_bundle(store, source)
    with _explained(source), _open_text(source, "rt") as file:
        return _import_lines(store, file, source)


@contextmanager
def opened_archive(source: Path) -> Iterator[ResultStore]:
    """Give an archive as a store of its own, which is gone with its models when the block ends."""
    from edgepress.table.models import ModelShelf
    from edgepress.table.store import ResultStore

    with tempfile.TemporaryDirectory() as folder, ResultStore.open(str(Path(folder) / "archive.db")) as store:
        store.models = ModelShelf(Path(folder) / "models")  # whatever $EDGEPRESS_MODELS says
        import_archive(store, source)
        yield store


def _documents(store: ResultStore, rows: Sequence[Result]) -> Iterator[dict[str, Any]]:
    figures = store.figures(row.model_sha256 for row in rows)
    counts = {"rows": len(rows), "figures": len(figures)}
    yield {"edgepress_archive": ARCHIVE, "edgepress_version": version("edgepress"), **counts}
    for row in rows:
        yield {"row": row.as_row(), "evidence": store.document(row.id)}
    for one in figures:
        yield {"figures": one.as_json()}


def _write_rows(store: ResultStore, rows: Sequence[Result], file: IO[str]) -> None:
    for document in _documents(store, rows):
        file.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def _import_bundle(store: ResultStore, source: Path) -> Imported:
    models = 0
    with _explained(source), zipfile.ZipFile(source) as bundle:
        for info in bundle.infolist():
            match = _MODEL_FILE.fullmatch(info.filename)  # names with .. or / before them match nothing
            if match is None or info.file_size > _MOST_MODEL_BYTES:
                continue
            if not store.models.path(match[1]).exists():
                store.models.put(bundle.read(info), match[1])
                models += 1
        try:
            lines = bundle.open(_ROWS_FILE)
        except KeyError:
            raise TableError(f"{source} is a zip file without {_ROWS_FILE}: no bundle of edgepress") from None
        with lines:
            imported = _import_lines(store, (line.decode() for line in lines), source)
    return Imported(imported.new, imported.rows, models)


def _import_lines(store: ResultStore, lines: Iterator[str] | IO[str], source: Path) -> Imported:
    form, promised = ARCHIVE, None
    batch: list[Result] = []
    new = count = figures = 0
    for number, line in enumerate(lines, 1):
        try:
            document = loads(line)
            if promised is None:
                form, promised = _promise(document, source)
                continue
            if "figures" in document:
                store.record_figures(figures_from_json(document["figures"]))
                figures += 1
                continue
            batch.append(_row(document, form))
        except (WireError, KeyError, TypeError, ValueError) as error:
            raise TableError(f"line {number} of {source} is no row of an archive: {error}") from error
        count += 1
        if len(batch) == _BATCH:
            new += store.record(batch)
            batch.clear()
    if promised is None:
        raise TableError(f"{source} is empty")
    new += store.record(batch)
    if (count, figures) != promised:
        what, found, wanted = (
            ("rows", count, promised[0]) if count != promised[0] else ("figures", figures, promised[1])
        )
        raise TableError(f"{source} ends after {found} of {wanted} {what}: it was cut off; those {found} were added")
    return Imported(new, count)


def _promise(document: Any, source: Path) -> tuple[int, tuple[int, int]]:
    """The form of an archive, and how many rows and figures it holds."""
    form = document.get("edgepress_archive") if isinstance(document, dict) else None
    if form is None:
        raise TableError(
            f"{source} is no archive of edgepress; results of TFLite's own tools need --from benchmark_model"
        )
    if form not in _READABLE:
        raise TableError(f"{source} is an archive of form {form}; this edgepress reads {ARCHIVE}: upgrade it")
    return form, (int(document["rows"]), int(document.get("figures", 0)))


def _row(document: dict[str, Any], form: int) -> Result:
    values, evidence = document["row"], document["evidence"]
    fields = {name: values[name] for name in COLUMNS if name in values}
    is_foreign = evidence["schema"] == FOREIGN_SCHEMA
    if is_foreign and form < 3:
        fields |= {"delegate_nodes": None, "peak_rss_bytes": None, "model_rss_bytes": fields["peak_rss_bytes"] or None}
    row = Result(
        **fields,
        warnings=tuple(MeasurementWarning(**warning) for warning in values["warnings"]),
        evidence=None if is_foreign else evidence_of(evidence),
        source=ForeignSource(evidence["foreign"]["tool"], evidence["foreign"]["text"]) if is_foreign else None,
    )
    if (row.id, row.key) != (values["id"], values["key"]):
        raise ValueError(
            f"row {values['id'][:12]} was changed after it was exported: its fields give another id or key"
        )
    return row


def _without_none(value: Any) -> Any:
    """TOML has no null; a key that is missing says the same in a recipe."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value


def _open_text(path: Path, mode: str) -> IO[str]:
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, mode, encoding="utf-8"))
    return cast("IO[str]", path.open(mode, encoding="utf-8"))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise TableError(f"{path}: {error}") from error
