"""Cut an agent's every state-changing call and every frame of its link, and count what is in a bad state afterwards.

    python benchmarks/cut_points.py [--scenarios deploy,gc] [--cuts kill,EIO] [--output benchmarks/results/cut_points]

Scenarios are in tests/support/cut_scenarios.py, the library that makes calls fail in tests/support/cuts.c. Needs a C
compiler. A bad state is anything but the old or the new release with its own content, the old one after "done" or the
new one after an error, a next call that fails, or something left over after it.

OUTPUT.jsonl has a line for each scenario and kind of cut, the newest of its kind; OUTPUT.md is made of all of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import cutting  # noqa: E402
from support.cut_scenarios import SCENARIOS  # noqa: E402

Rows = dict[tuple[str, str], dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--cuts", default=",".join((*cutting.CALL_CUTS, *cutting.LINK_CUTS)))
    parser.add_argument("--output", type=Path, help="without an ending; default: only printed")
    parser.add_argument("--folder", type=Path, help="where homes are made; default: the folder for temporary files")
    options = parser.parse_args()
    rows: Rows = {}
    lines = options.output.with_suffix(".jsonl") if options.output else None
    if lines is not None and lines.exists():
        rows = {(row["scenario"], row["cut"]): row for row in map(json.loads, lines.read_text().splitlines())}
    failed = False
    for scenario in options.scenarios.split(","):
        with tempfile.TemporaryDirectory(prefix="edgepress-cuts-", dir=options.folder) as folder:
            found = cutting.run(Path(folder), scenario, options.cuts)
        for row in found:
            rows[row["scenario"], row["cut"]] = row
            print(f"{scenario}, {row['cut']}: {row['points']} points, {len(row['bad'])} bad", *row["bad"], sep="\n  ")
            failed |= bool(row["bad"])
    text = report([row for row in rows.values() if row["points"]])
    print(text)
    if lines is not None:
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
        lines.with_suffix(".md").write_text(text)
    return 1 if failed else 0


def report(rows: list[dict[str, Any]]) -> str:
    points, bad = sum(row["points"] for row in rows), sum(len(row["bad"]) for row in rows)
    longest = max(row["longest_recovery_s"] for row in rows)
    lines = [
        "# Cut points",
        "",
        f"`python benchmarks/cut_points.py`, Python {platform.python_version()}, {platform.machine()}.",
        "",
        f"**{points:,} points, {bad} bad states, longest recovery {longest * 1000:.0f} ms** (at the next call: "
        "Python's start is not counted).",
        "",
        "| scenario | what is cut | points | bad | longest recovery | what the host was told, and what was in use |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in sorted(rows, key=lambda row: [*SCENARIOS].index(row["scenario"])):
        outcomes = "; ".join(f"{what} ({count})" for what, count in row["outcomes"].items())
        lines.append(
            f"| {row['scenario']} | {row['cut']} | {row['points']} | {len(row['bad'])} "
            f"| {row['longest_recovery_s'] * 1000:.0f} ms | {outcomes} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
