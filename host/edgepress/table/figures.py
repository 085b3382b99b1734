"""What is known of the parts of a model: one figure for each operator or layer, whatever took it.

They are kept beside the rows and not in them: they were taken apart from them, and hold for every row of the same file
that was measured in the same way on the same board.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from edgepress.errors import TableError
from edgepress.table.inert import printable
from edgepress.table.result import content_hash, physical_device_of
from edgepress.table.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import TypeAdapter

    from edgepress.benchmarking.operators import OperatorProfile
    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore
    from edgepress.training.classes import ClassScores
    from edgepress_agent.protocol.messages import DeviceFacts
    from edgepress_converters.model import TFLiteModel

OPERATOR_TIME = "time by operator"
CLASS_F1 = "F1 by class"

# What a row and figures must share; figures that do not depend on one of these have None there.
_SHARED = ("model_sha256", "physical_device", "runtime", "runtime_version", "delegate", "threads")


@dataclass(frozen=True)
class Part:
    """An operator or a layer. ``value`` None: it is not known, and ``why`` says why."""

    kind: str
    name: str
    value: float | None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One figure for each part of a model.

    Attributes:
        what: what the figures are, such as :data:`OPERATOR_TIME`.
        unit: of every value: ``ns``, or empty for a ratio.
        source: the command that took them, and its version.
        model, model_sha256: the .tflite file.
        device, physical_device, runtime, runtime_version, delegate, threads: as in a row; None where no board had a
            part in them.
        created_unix_ns: when they were taken.
        whole: the same figure of the whole model, where there is one.
        parts: in the order in which they run.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    what: str
    unit: str
    source: str
    model: str
    model_sha256: str
    device: str | None
    physical_device: str | None
    runtime: str | None
    runtime_version: str | None
    delegate: str | None
    threads: int | None
    created_unix_ns: int
    whole: float | None
    parts: tuple[Part, ...]

    @property
    def id(self) -> str:
        """Hash of all of it: recording the same figures twice changes nothing."""
        return content_hash(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def hold_for(self, row: Result) -> bool:
        """Whether a row is of the same file, and measured in the same way where that counts."""
        return all(getattr(self, name) in (None, getattr(row, name)) for name in _SHARED)

    @property
    def origin(self) -> str:
        """Where they come from, for people."""
        where = f" on {self.device}, {self.runtime} {self.runtime_version}" if self.device else ""
        taken = datetime.fromtimestamp(self.created_unix_ns / 1e9, UTC)
        return f"by {self.source}{where}, {taken:%Y-%m-%d}"

    @property
    def agreement(self) -> str:
        """How the times of the parts agree with the time of the whole, for people; empty for other figures."""
        known = [part.value for part in self.parts if part.value is not None]
        if self.unit != "ns" or not self.whole or not known:
            return ""
        alone = "" if len(known) == len(self.parts) else f" ({len(known)} of {len(self.parts)}; the others cannot be)"
        return (
            f"Parts run one by one{alone}: {format_duration(round(sum(known)))}, the whole model: "
            f"{format_duration(round(self.whole))} ({sum(known) / self.whole - 1:+.1%})"
        )


def figures_of_profile(profile: OperatorProfile, facts: DeviceFacts) -> Figures:
    """Return what is kept of a profile that was taken on the board with these facts."""
    return Figures(
        what=OPERATOR_TIME,
        unit="ns",
        source=f"edgepress profile {version('edgepress')}",
        model=profile.model,
        model_sha256=profile.model_sha256,
        device=profile.device,
        physical_device=physical_device_of(facts, profile.device),
        runtime=profile.runtime,
        runtime_version=profile.runtime_version,
        delegate=profile.delegate,
        threads=profile.threads,
        created_unix_ns=profile.ended_unix_ns,
        whole=float(profile.whole_ns),
        parts=tuple(
            Part(one.kind, one.output, None if one.time_ns is None else float(one.time_ns), one.failure or "")
            for one in profile.operators
        ),
    )


def figures_of_classes(scores: Sequence[ClassScores], file: TFLiteModel, model: str) -> Figures:
    """Return what is kept of how well a file tells each class, judged on this machine."""
    parts = tuple(
        Part(
            "class",
            one.label,
            one.f1,
            f"precision {one.precision:.4g}, recall {one.recall:.4g}, {one.samples} samples",
        )
        for one in scores
    )
    return figures_of_file(file, parts, CLASS_F1, f"the test split, edgepress {version('edgepress')}", model)


def figures_of_file(file: TFLiteModel, parts: tuple[Part, ...], what: str, source: str, model: str) -> Figures:
    """Return ratios that this machine took now, and that hold for a file on every board."""
    return Figures(
        what=what,
        unit="",
        source=source,
        model=model,
        model_sha256=file.sha256,
        device=None,
        physical_device=None,
        runtime=None,
        runtime_version=None,
        delegate=None,
        threads=None,
        created_unix_ns=time.time_ns(),
        whole=None,
        parts=parts,
    )


def figures_from_json(values: Any) -> Figures:
    """Read what :meth:`Figures.as_json` gave; it may come from an archive, and is not trusted.

    Raises:
        TableError: it is something else.
    """
    from pydantic import ValidationError

    try:
        # As JSON text, because only there does strict mode take arrays for tuples.
        figures: Figures = _validator().validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TableError(
            f"figures of a model are damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
    return figures


@cache
def _validator() -> TypeAdapter[Figures]:
    from pydantic import TypeAdapter

    return TypeAdapter(Figures)


def figures_of_rows(store: ResultStore, rows: Sequence[Result]) -> list[tuple[Figures, list[Result]]]:
    """Return what is known of the parts of rows' models, the newest of each kind, with the rows that it holds for."""
    newest: dict[tuple[object, ...], tuple[Figures, list[Result]]] = {}
    for one in store.figures(row.model_sha256 for row in rows):
        its = [row for row in rows if one.hold_for(row)]
        if its:
            newest[(one.what, *(getattr(one, name) for name in _SHARED))] = (one, its)
    return list(newest.values())


def mentioned(known: Sequence[tuple[Figures, Sequence[Result]]]) -> list[str]:
    """Return a line for each kind of figures, for below a table: of how many files, from where, and who prints them."""
    by_kind: dict[str, list[Figures]] = {}
    for one, _ in known:
        by_kind.setdefault(one.what, []).append(one)
    return [
        printable(f"{what}: known of {len(its)} file{'s' * (len(its) > 1)}, the newest {its[-1].origin}")
        + "; `edgepress table figures` prints it, `edgepress report` draws it"
        for what, its in by_kind.items()
    ]


def figures_as_text(one: Figures) -> str:
    """Return a line for each part, with its share of all where parts of a whole are meant."""
    total = sum(part.value for part in one.parts if part.value is not None) if one.unit == "ns" else 0.0
    width = max((len(printable(part.kind)) for part in one.parts), default=0)
    lines = [f"{one.what} of {one.model}, {one.origin}", one.agreement]
    for index, part in enumerate(one.parts):
        if part.value is None:
            value, share = "-", ""
        elif one.unit == "ns":
            value, share = format_duration(round(part.value)), f"{part.value / total:.1%}" if total else ""
        else:
            value, share = f"{part.value:.4g} {one.unit}".strip(), ""
        name = f"{part.name}: {part.why}" if part.why else part.name
        lines.append(f"{index:4}  {printable(part.kind):{width}}  {value:>10}  {share:>6}  {name[:80]}")
    return "\n".join(printable(line).rstrip() for line in lines if line)
