"""What planted_answers.py found, kept as lines of JSON and written as a page."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepress.verification.goldens import MOST_GOLDENS
from edgepress.verification.output_check import OutputCheckLevel

RESULT = Path(__file__).parent / "results" / "planted_answers.md"
CHANGED = 0.01
COUNTS = (8, 16, 32, 64, 128, 256, 512)


class Findings:
    """Lines of JSON by key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def add(self, key: str, **values: Any) -> None:
        self.rows[key] = {"key": key, **values}
        with self._path.open("a") as file:
            file.write(json.dumps(self.rows[key]) + "\n")

    def of(self, part: str) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if row["part"] == part]


def write(findings: Findings) -> None:
    """Write what is known so far."""
    nets = len({row["key"].split(" | ")[1] for row in findings.of("honest")})
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("edgepress", "tensorflow", "keras", "ai-edge-litert")
    )
    lines = [
        "# Planted wrong answers, and honest deployments",
        "",
        f"    python {' '.join(sys.argv)}",
        "",
        f"- {platform.machine()}, Python {platform.python_version()}, {versions} (runs files here)",
        f"- {nets} networks, {MOST_GOLDENS} goldens a file",
        "",
        *_honest_lines(findings.of("honest")),
        *_planted_lines(findings.of("planted"), findings.of("deployed")),
        *_int4_lines(findings.of("int4")),
        *_golden_lines(findings.of("planted")),
    ]
    RESULT.write_text("\n".join(lines) + "\n")


def _honest_lines(rows: list[dict[str, Any]]) -> list[str]:
    levels = [*map(str, OutputCheckLevel), "refused", "not compatible"]
    lines = [
        "## Honest deployments",
        "",
        f"| device | runtime | known | {' | '.join(levels)} |",
        "|---" * (3 + len(levels)) + "|",
    ]
    ways = sorted({(row["board"], row["runtime"], row["known"]) for row in rows})
    for board, runtime, known in ways:
        found = Counter(
            row["level"] for row in rows if (row["board"], row["runtime"], row["known"]) == (board, runtime, known)
        )
        lines.append(f"| {board} | {runtime} | {known} | {' | '.join(str(found[level]) for level in levels)} |")
    ran = [row for row in rows if row["level"] in list(map(str, OutputCheckLevel))]
    wrong = [row for row in ran if row["level"] == "wrong"]
    lines += ["", f"{len(ran)} deployments ran; false alarms: {len(wrong)}.", ""]
    lines += [f"- {row['key']}: {row['said']}" for row in rows if row["level"] in ("wrong", "refused")]
    return [*lines, ""]


def _planted_lines(rows: list[dict[str, Any]], deployments: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Planted",
        "",
        "Found: `wrong`. Deployed: the mildest fault of each kind and file; refused: by the output check, with the old",
        "release still in use.",
        "",
        "| fault | format | planted | not run | change 1 % | found | change less | found | deployed | refused |",
        "|---" * 10 + "|",
    ]
    for fault, kind in sorted({(row["fault"], row["kind"]) for row in rows}):
        own = [row for row in rows if (row["fault"], row["kind"]) == (fault, kind)]
        ran = [row for row in own if row["changed"] is not None]
        much, little = ([r for r in ran if (r["changed"] >= CHANGED) is is_much] for is_much in (True, False))
        sent = [row for row in deployments if (row["fault"], row["kind"]) == (fault, kind)]
        numbers = (len(own), len(own) - len(ran), len(much), _wrong(much), len(little), _wrong(little), len(sent))
        refused = sum(row["level"] == "wrong" and row["kept"] for row in sent)
        lines.append(f"| {fault} | {kind} | {' | '.join(map(str, numbers))} | {refused} |")
    much = [row for row in rows if row["changed"] is not None and row["changed"] >= CHANGED]
    lines += ["", f"Of {len(much)} faults that change 1 % and more, {_wrong(much)} were found; missed:", ""]
    lines += [f"- {row['key']} ({row['changed']:.1%}): {row['said']}" for row in much if row["level"] != "wrong"]
    lines += [f"- {row['key']}: {row['level']}" for row in deployments if row["level"] != "wrong"]
    return [*lines, ""]


def _int4_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## int4 weights on tflite-runtime 2.14",
        "",
        "| file | the guard | past it | largest entry changes | |",
        "|---" * 5 + "|",
    ]
    for row in rows:
        changed = "" if row["changed"] is None else f"{row['changed']:.1%}"
        file = row["key"].removeprefix("int4 | ").partition(" | ")[0]
        lines.append(f"| {file} | {row['guard']} | {row['level']} | {changed} | {row['said'][:160]} |")
    return [*lines, ""]


def _golden_lines(rows: list[dict[str, Any]]) -> list[str]:
    """How many goldens find the faults that change 1 to 3 % of the largest entries."""
    mild = [row for row in rows if row["changed"] is not None and CHANGED <= row["changed"] < 3 * CHANGED]
    lines = [
        "## How many goldens",
        "",
        f"Found of the {len(mild)} faults that change the largest entry on 1 to 3 % of {MOST_GOLDENS} goldens:",
        "",
        f"| goldens | {' | '.join(map(str, COUNTS))} |",
        "|---" * (1 + len(COUNTS)) + "|",
    ]
    for name, title in (("drawn", "drawn at random"), ("hardest", "the nearest ties of the float model first")):
        found = [sum(row["seen"][name][position] for row in mild) for position in range(len(COUNTS))]
        lines.append(f"| {title} | {' | '.join(map(str, found))} |")
    missed = " | ".join(f"{0.99**count:.1%}" for count in COUNTS)
    lines.append(f"| a fault that shows on 1 % of inputs and nowhere else is missed with | {missed} |")
    return lines


def _wrong(rows: list[dict[str, Any]]) -> int:
    return sum(row["level"] == "wrong" for row in rows)
