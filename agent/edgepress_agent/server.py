"""The request loop: frames in, frames out, one verb at a time.

Standard output carries frames and nothing else: the descriptor is moved away, and whatever else writes to descriptor 1,
Python or C, ends up on standard error.
"""

from __future__ import annotations

import os
import platform
import select
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Dict, Optional, Tuple

from edgepress_agent import __version__, garbage, governor, launch
from edgepress_agent.captures import read_captures
from edgepress_agent.content import ContentStore
from edgepress_agent.durable import sha256_of
from edgepress_agent.facts import read_facts
from edgepress_agent.faults import Fault, failure_of
from edgepress_agent.home import Home
from edgepress_agent.job_spec import check_spec
from edgepress_agent.jobs import JobStore
from edgepress_agent.lock import lock_path, read_lock
from edgepress_agent.protocol.codec import WireError, from_wire, to_wire
from edgepress_agent.protocol.frames import Frame, StreamEnded, read_frame, write_frame
from edgepress_agent.protocol.messages import (
    PROTOCOL_VERSION,
    Collected,
    Failure,
    Hello,
    JobSpec,
    JobState,
    ReleaseSpec,
    RollbackSpec,
)
from edgepress_agent.releases import ReleaseStore

Answer = Tuple[Any, Optional[bytes]]  # a message or a dictionary; its blob


@dataclass(frozen=True)
class _Nothing:
    pass


@dataclass(frozen=True)
class _Blob:
    sha256: str


@dataclass(frozen=True)
class _Upload:
    sha256: str
    offset: int
    total_bytes: int


@dataclass(frozen=True)
class _Commit:
    sha256: str
    total_bytes: int


@dataclass(frozen=True)
class _Job:
    job_id: str


@dataclass(frozen=True)
class _Wait:
    job_id: str
    seen: int
    timeout_s: float


@dataclass(frozen=True)
class _Fetch:
    job_id: str
    name: str
    offset: int
    max_bytes: int


@dataclass(frozen=True)
class _App:
    app: str


@dataclass(frozen=True)
class _Apps:
    app: Optional[str] = None


@dataclass(frozen=True)
class _Garbage:
    keep: int
    dry_run: bool


class Server:
    """Answers the requests of one host."""

    def __init__(self, home: Home, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._home = home
        self._incoming = incoming
        self._outgoing = outgoing
        self._content = ContentStore(home)
        self._jobs = JobStore(home)
        self._releases = ReleaseStore(home)
        self._hang_up = select.poll()
        self._hang_up.register(incoming.fileno(), 0)
        # Verb -> class of its parameters, and what it does with them and the request's blob.
        self._verbs: Dict[str, Tuple[Any, Callable[[Any, Optional[bytes]], Answer]]] = {
            "hello": (_Nothing, lambda _, __: (self._hello(), None)),
            "facts": (_Nothing, lambda _, __: (read_facts(home), None)),
            "stat": (_Blob, lambda p, _: (self._content.state(p.sha256), None)),
            "upload": (_Upload, self._upload),
            "commit": (_Commit, lambda p, _: (self._content.commit(p.sha256, p.total_bytes), None)),
            "start": (JobSpec, lambda p, _: (self._start(p), None)),
            "jobs": (_Nothing, lambda _, __: ({"jobs": [to_wire(s) for s in self._jobs.states()]}, None)),
            "wait": (_Wait, lambda p, _: (self._jobs.wait(p.job_id, p.seen, p.timeout_s, self._link_is_up), None)),
            "fetch": (_Fetch, lambda p, _: self._jobs.chunk(p.job_id, p.name, p.offset, p.max_bytes)),
            "cancel": (_Job, lambda p, _: (self._jobs.cancel(p.job_id), None)),
            "acknowledge": (_Job, lambda p, _: (self._acknowledge(p), None)),
            "lock": (_Nothing, lambda _, __: (read_lock(lock_path(os.environ)), None)),
            "activate": (ReleaseSpec, lambda p, _: (self._releases.activate(p), None)),
            "releases": (_Apps, lambda p, _: (self._list_releases(p), None)),
            "rollback": (RollbackSpec, lambda p, _: (self._releases.rollback(p), None)),
            "undeploy": (_App, lambda p, _: (self._undeploy(p), None)),
            "gc": (_Garbage, lambda p, _: (self._collect_garbage(p), None)),
            "captures": (_Nothing, lambda _, __: (read_captures(home.system), None)),
        }

    def serve(self) -> int:
        """Answer until the host closes the stream; the exit status is 0 if it did so between two frames."""
        while True:
            try:
                frame = read_frame(self._incoming)
            except StreamEnded as ended:
                return 1 if ended.mid_frame else 0
            except WireError as error:  # the stream is out of step: say so and end
                self._send({"id": None, "error": to_wire(Failure("bad-request", str(error)))}, None)
                return 1
            if not self._answer(frame):
                return 0

    def _answer(self, frame: Frame) -> bool:
        number = frame.header.get("id")
        header: Dict[str, Any] = {"id": number if type(number) is int else None}
        blob = None
        try:
            result, blob = self._dispatch(frame)
            header["result"] = result if isinstance(result, dict) else to_wire(result)
        except WireError as error:
            header["error"] = to_wire(Failure("bad-request", str(error)[:2000]))
        except Exception as error:
            header["error"] = to_wire(failure_of(error))
        return self._send(header, blob)

    def _dispatch(self, frame: Frame) -> Answer:
        header = frame.header
        if type(header.get("id")) is not int or type(header.get("verb")) is not str:
            raise Fault("bad-request", 'a request has "id" (integer), "verb" (string) and "params" (object)')
        unknown = set(header) - {"id", "verb", "params"}
        if unknown:
            raise Fault("bad-request", f"unknown key {sorted(unknown)[0][:80]!r} in a request")
        if header["verb"] not in self._verbs:
            known = ", ".join(sorted(self._verbs))
            raise Fault("unknown-verb", f"verb {header['verb'][:80]!r} is not known; known are {known}")
        params, verb = self._verbs[header["verb"]]
        return verb(from_wire(params, header.get("params", {}), "params"), frame.blob)

    def _send(self, header: Dict[str, Any], blob: Optional[bytes]) -> bool:
        try:
            write_frame(self._outgoing, header, blob)
        except BrokenPipeError:
            return False
        except (WireError, ValueError) as error:
            failure = Failure("internal", f"the answer cannot be sent: {error}")
            write_frame(self._outgoing, {"id": header["id"], "error": to_wire(failure)})
        return True

    def _link_is_up(self, seconds: float) -> bool:
        return not self._hang_up.poll(int(seconds * 1000))

    def _hello(self) -> Hello:
        root = launch.package_root()
        return Hello(
            protocol=PROTOCOL_VERSION,
            agent_version=__version__,
            agent_sha256=sha256_of(root) if root.is_file() else None,
            python_version=platform.python_version(),
            home=str(self._home.root),
            pid=os.getpid(),
        )

    def _upload(self, params: _Upload, blob: Optional[bytes]) -> Answer:
        if blob is None:
            raise Fault("bad-request", "upload needs a blob: the piece")
        return self._content.upload(params.sha256, params.offset, params.total_bytes, blob), None

    def _start(self, spec: JobSpec) -> JobState:
        check_spec(spec, self._content)
        return self._jobs.start(spec)

    def _acknowledge(self, params: _Job) -> Dict[str, Any]:
        self._jobs.acknowledge(params.job_id)
        return {}

    def _list_releases(self, params: _Apps) -> Dict[str, Any]:
        states = self._releases.states() if params.app is None else (self._releases.state(params.app),)
        return {"apps": [to_wire(state) for state in states]}

    def _undeploy(self, params: _App) -> Dict[str, Any]:
        self._releases.undeploy(params.app)
        return {}

    def _collect_garbage(self, params: _Garbage) -> Collected:
        if not params.dry_run:
            self._jobs.tidy_up()
        return garbage.collect(self._home, params.keep, params.dry_run)


def serve(home: Home) -> int:
    """Serve the host at the other end of standard input and output."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=0)
    outgoing = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    if not read_lock(lock_path(os.environ)).held:
        governor.undo(home, home.system)  # that a killed job has left
    try:
        return Server(home, incoming, outgoing).serve()
    except KeyboardInterrupt:
        return 130
    finally:
        sys.stderr.flush()
