"""Releases: which model an application on the board uses.

::

    apps/<app>/releases/<number>-<model>/   model.tflite, manifest.json, release.json
    apps/<app>/current -> releases/...      switched by one rename
    apps/<app>/previous -> releases/...     what current was before
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Optional, Tuple

from edgepress_agent.content import ContentStore
from edgepress_agent.durable import only_one, replace_file, switch_link, sync_directory, sync_file
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import dumps, loads
from edgepress_agent.protocol.messages import ReleaseSpec, ReleaseState

_APP = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RELEASE = re.compile(r"([0-9]{6})-[0-9a-f]{12}")


class ReleaseStore:
    """The applications under one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._content = ContentStore(home)

    def state(self, app: str) -> ReleaseState:
        """Say what an application uses.

        Raises:
            Fault: "not-found".
        """
        folder = self._folder(app)
        if not folder.is_dir():
            raise Fault("not-found", f"no application {app!r} on this board")
        return ReleaseState(
            app=app,
            current=_target(folder / "current"),
            previous=_target(folder / "previous"),
            releases=_releases(folder),
            path=str(folder / "current" / "model.tflite") if _target(folder / "current") else None,
        )

    def activate(self, spec: ReleaseSpec) -> ReleaseState:
        """Make a model the current release. Activating again what is current changes nothing.

        Until the last step the application uses the old release; a failure leaves it so.

        Raises:
            Fault: "not-found" for a model that is not in the store; "bad-request" for a name that is none.
        """
        model = self._content.path(spec.model_sha256)
        folder = self._folder(spec.app)
        (folder / "releases").mkdir(parents=True, exist_ok=True)
        with only_one(folder):
            for debris in (folder / "releases").glob(".new-*"):
                shutil.rmtree(debris)
            old = _target(folder / "current")
            if old is not None and self._is(folder / "releases" / old, spec):
                return self.state(spec.app)
            release = self._make(folder / "releases", model, spec)
            if old is not None:
                switch_link(folder / "previous", f"releases/{old}")
            switch_link(folder / "current", f"releases/{release}")
        return self.state(spec.app)

    def _make(self, releases: Path, model: Path, spec: ReleaseSpec) -> str:
        numbers = [int(name[:6]) for name in _releases(releases.parent)]
        release = f"{max(numbers, default=0) + 1:06d}-{spec.model_sha256[:12]}"
        new = releases / f".new-{release}"
        new.mkdir()
        try:
            os.link(model, new / "model.tflite")
        except OSError:  # a file system without hard links
            shutil.copyfile(model, new / "model.tflite")
            sync_file(new / "model.tflite")
        replace_file(new / "manifest.json", dumps(spec.manifest))
        origin = {"model_sha256": spec.model_sha256, "activated_unix_ns": time.time_ns()}
        replace_file(new / "release.json", dumps(origin))
        new.rename(releases / release)
        sync_directory(releases)
        return release

    def _is(self, release: Path, spec: ReleaseSpec) -> bool:
        origin, manifest = loads((release / "release.json").read_bytes()), (release / "manifest.json").read_bytes()
        return bool(origin["model_sha256"] == spec.model_sha256) and manifest == dumps(spec.manifest)

    def _folder(self, app: str) -> Path:
        if not _APP.fullmatch(app):
            raise Fault(
                "bad-request",
                f"an application's name has lower case letters, digits, '.', '_' and '-', at most 64; got {app[:80]!r}",
            )
        return self._home.apps / app


def _target(link: Path) -> Optional[str]:
    try:
        return link.readlink().name
    except FileNotFoundError:
        return None


def _releases(folder: Path) -> Tuple[str, ...]:
    names = [path.name for path in (folder / "releases").glob("*")]
    return tuple(sorted(name for name in names if _RELEASE.fullmatch(name)))
