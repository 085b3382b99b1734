"""A part of benchmarks/fuzz_frames.py: whatever comes, the server answers with a code that it knows, or ends."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from edgepress_agent.protocol.messages import ERROR_CODES
from support import frame_fuzz


@pytest.mark.parametrize("seed", [11, 12])
def test_no_damaged_frame_surprises_the_server_or_changes_anything_beside_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("EDGEPRESS_LOCK", str(tmp_path / "lock"))
    (tmp_path / "home").mkdir()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    codes: Counter[str] = Counter()
    try:
        for frame in islice(frame_fuzz.frames(seed), 4000):
            codes.update(frame_fuzz.answers(tmp_path / "home", frame, descriptor))
    finally:
        os.close(descriptor)
    assert set(codes) <= {"ok", *ERROR_CODES} - {"internal"}
    assert min(codes["ok"], codes["bad-request"], codes["not-found"], codes["unknown-verb"]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
