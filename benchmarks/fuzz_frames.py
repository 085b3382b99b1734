"""Hand an agent frames that are damaged in every way that comes to mind.

    python benchmarks/fuzz_frames.py --frames 1000000 [--output benchmarks/results/fuzz_frames.md]

Frames are those of tests/support/frame_fuzz.py, seeded. Counted: exceptions that leave the server, answers "internal"
(the agent did not expect it), writes outside its home (by an audit hook, which sees every open, mkdir, rename, link,
remove and process of Python), the slowest frame, and memory at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import frame_fuzz  # noqa: E402

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime"}


def watch(root: Path, seen: list[str]) -> None:
    """Note what Python changes outside of ``root``, and every process that it starts."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            places = [arguments[0]]
        elif event in _CHANGES:
            places = [str(place) for place in arguments[: 2 if event in ("os.rename", "os.link") else 1]]
            if event == "os.symlink":
                places = [str(arguments[1])]
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            places = [f"process {arguments[0]}"]
        else:
            return
        seen.extend(
            place for place in places if not place.startswith(f"{root}/") and place.startswith(("/", "process"))
        )

    sys.addaudithook(hook)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    codes: Counter[str] = Counter()
    escaped: Counter[str] = Counter()
    outside: list[str] = []
    slowest_s, memory = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="edgepress-fuzz-") as folder:
        root = Path(folder, "home")
        root.mkdir()
        os.environ["EDGEPRESS_LOCK"] = str(root / "lock")
        sys.stderr = (root / "stderr").open("w")
        descriptor = os.open(os.devnull, os.O_RDONLY)
        watch(root, outside)
        begun = time.monotonic()
        for number, frame in enumerate(islice(frame_fuzz.frames(options.seed), options.frames)):
            if number == options.frames // 10:
                memory = resident_bytes()
            started = time.monotonic()
            try:
                codes.update(frame_fuzz.answers(root, frame, descriptor))
            except Exception:
                escaped[traceback.format_exc().splitlines()[-1][:200]] += 1
            slowest_s = max(slowest_s, time.monotonic() - started)
        took_s, grown = time.monotonic() - begun, resident_bytes() - memory
        internal, changed_outside = (root / "stderr").read_text()[-3000:], list(outside)
    text = "\n".join(
        (
            "# Fuzzed frames",
            "",
            f"`python benchmarks/fuzz_frames.py --frames {options.frames} --seed {options.seed}`, Python "
            f"{platform.python_version()}, {platform.machine()}.",
            "",
            f"**{options.frames:,} frames in {took_s:.0f} s: {sum(escaped.values())} exceptions left the server, "
            f'{codes["internal"]} answers were "internal", {len(changed_outside)} changes beside its home.** The '
            f"slowest took {slowest_s * 1000:.0f} ms; memory grew by {grown / 2**20:.1f} MiB over the last 90 %.",
            "",
            "Answers: " + ", ".join(f"{code}: {count:,}" for code, count in codes.most_common()) + ". Frames that are "
            "cut short are not answered.",
            "",
        )
    )
    print(text)
    print(*escaped.most_common(20), *changed_outside[:20], internal, sep="\n", file=sys.__stderr__)
    if options.output:
        options.output.write_text(text)
    return 1 if escaped or codes["internal"] or changed_outside else 0


if __name__ == "__main__":
    sys.exit(main())
