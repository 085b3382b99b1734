"""The requests of an :class:`AgentClient` that bring content to a board.

Pieces are on the way before those ahead of them have been answered, so that a long link costs no round trip for each;
only so many, that a cut link costs less than 1 MiB. On a long link more are underway, on the wire and not on the board.
"""

from __future__ import annotations

import io
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

from edgepress.errors import AgentError
from edgepress.progress import Task
from edgepress.transport.conversation import Conversation
from edgepress_agent.protocol.messages import BlobState

PIECE_BYTES = 1 << 18
PIECES_ON_THE_WAY = 3
LONG_ROUND_TRIP_S = 0.01
PIECES_ON_A_LONG_WAY = 8  # all that the window of OpenSSH's server takes
COMMIT_TIMEOUT_S = 300.0  # a slow card hashes and syncs some MB a second


class UploadRequests(Conversation):
    """Bringing content into the board's store."""

    def push(self, source: Path | bytes, sha256: str, progress_task: Task | None = None) -> None:
        """Bring content into the board's store, unless it is there; an interrupted upload is resumed.

        Raises:
            DiskFullError: it does not fit.
            AgentError: what arrived does not have this hash, or the file became shorter meanwhile.
        """
        total = len(source) if isinstance(source, bytes) else source.stat().st_size
        asked = time.monotonic()
        state = self._ask("stat", BlobState, {"sha256": sha256})
        is_long = time.monotonic() - asked > LONG_ROUND_TRIP_S
        pieces = PIECES_ON_A_LONG_WAY if is_long else PIECES_ON_THE_WAY
        resumed = not state.present and state.received_bytes > 0
        try:
            self._upload(source, total, pieces, progress_task, state)
        except AgentError as error:
            if error.code != "hash-mismatch" or not resumed:
                raise
            # The part that was there was damaged, as by a power cut. The board has thrown it away: all of it again.
            state = self._ask("stat", BlobState, {"sha256": sha256})
            self._upload(source, total, pieces, progress_task, state)

    def _upload(
        self, source: Path | bytes, total: int, pieces: int, progress_task: Task | None, state: BlobState
    ) -> None:
        if not state.present:
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
                state = self._send_pieces(stream, total, pieces, progress_task, state)
        if not state.present:
            params = {"sha256": state.sha256, "total_bytes": total}
            state = self._ask("commit", BlobState, params, waits_s=COMMIT_TIMEOUT_S)
        if not state.present:
            raise self._violation("commit answered without the blob being present")
        if progress_task is not None:
            progress_task.update(total, total)

    def _send_pieces(
        self, stream: BinaryIO, total: int, pieces: int, progress_task: Task | None, state: BlobState
    ) -> BlobState:
        sent = min(state.received_bytes, total)
        stream.seek(sent)
        unanswered: deque[tuple[int, int]] = deque()  # request, where its piece ends
        if progress_task is not None:
            progress_task.update(sent, total)
        while not state.present and (sent < total or unanswered):
            if sent < total and len(unanswered) < pieces:
                piece = stream.read(min(PIECE_BYTES, total - sent))
                if not piece:
                    raise AgentError(
                        f"what is sent was {total} bytes long and has {sent} now: it changed meanwhile",
                        code="hash-mismatch",
                    )
                params = {"sha256": state.sha256, "offset": sent, "total_bytes": total}
                sent += len(piece)
                unanswered.append((self._begin("upload", params, piece), sent))
                continue
            request, end = unanswered.popleft()
            state = self._finish("upload", BlobState, request)
            if not (state.present or end <= state.received_bytes <= total):
                raise self._violation(f"upload up to {end} answered {state.received_bytes} bytes")
            if progress_task is not None:
                progress_task.update(end, total)
        return state
