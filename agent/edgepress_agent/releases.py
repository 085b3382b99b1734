"""Releases: which model an application on the board uses.

::

    apps/<app>/releases/<number>-<model>/   model.tflite, manifest.json, release.json: written once, never changed
    apps/<app>/current -> releases/...      switched by one rename
    apps/<app>/trial -> releases/...        only during a switch: where to go back to, unless it ends well

What a release replaced is written in it, so that nothing but ``current`` says what is in use. A switch whose process
died, or whose board lost power, is taken back by the next call that finds ``trial``. Both are links because a link
needs no block of the disk: going back works on a full one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

from edgepress_agent import health
from edgepress_agent.content import ContentStore
from edgepress_agent.durable import (
    only_one,
    remove_debris,
    remove_folder,
    replace_file,
    sha256_of,
    switch_link,
    sync_directory,
    sync_file,
    unfinished_link,
)
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import WireError, dumps, loads
from edgepress_agent.protocol.messages import HealthCheck, Release, ReleaseSpec, ReleaseState, RollbackSpec
from edgepress_agent.protocol.releases import APP_NAME, APP_NAME_RULE

MODEL = "model.tflite"
MANIFEST = "manifest.json"
_ORIGIN = "release.json"
_RELEASE = re.compile(r"([0-9]{6})-[0-9a-f]{12}")
_NOTHING = "nothing"  # what `trial` leads to when there was no release before


class ReleaseStore:
    """The applications under one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._content = ContentStore(home)

    def apps(self) -> Tuple[str, ...]:
        """Return the names of all applications."""
        return tuple(sorted(path.name for path in self._home.apps.glob("*") if APP_NAME.fullmatch(path.name)))

    def states(self) -> Tuple[ReleaseState, ...]:
        """Say what each application uses."""
        states = []
        for app in self.apps():
            with contextlib.suppress(Fault):  # undeployed meanwhile
                states.append(self.state(app))
        return tuple(states)

    def state(self, app: str) -> ReleaseState:
        """Say what an application uses.

        Raises:
            Fault: "not-found".
        """
        folder = self._existing(app)
        with contextlib.suppress(OSError), only_one(folder, wait=False):  # somebody is at it; a disk that is read-only
            _recover(folder)
        return _state(folder)

    def activate(self, spec: ReleaseSpec) -> ReleaseState:
        """Make a model the current release. Activating again what is current changes nothing.

        Raises:
            Fault: "not-found" for a model that is not in the store; "hash-mismatch" for one that is damaged there;
                "bad-request" for a name that is none; "unhealthy". Whatever is raised, the application uses what it
                used before.
        """
        folder = self._folder(spec.app)
        if spec.health is not None:
            health.check(spec.health)
        model = self._content.verified(spec.model_sha256)
        with self._alone(folder):
            old = _target(folder / "current")
            if old is not None and _is(folder / "releases" / old, spec):
                return _state(folder)
            release = _make(folder, model, spec, old)
            if old is None:  # the folders above may be as new
                for parent in (self._home.apps, self._home.root):
                    sync_directory(parent)
            try:
                _switch(folder, release, spec.health)
            except BaseException as error:
                if _target(folder / "current") != release:  # it is where going back has failed, too
                    with contextlib.suppress(OSError):
                        remove_folder(folder / "releases" / release)  # nobody is to go back to it
                if not isinstance(error, Fault) or spec.health is None:
                    raise
                if spec.health.restart_unit is not None and old is not None:
                    with contextlib.suppress(Fault):
                        health.restart(spec.health.restart_unit, spec.health.deadline_s)
                reason = f"{error}; {spec.app} uses {old or 'nothing'} again"
                raise Fault(error.failure.code, reason, **error.failure.details) from error
            return _state(folder)

    def rollback(self, spec: RollbackSpec) -> ReleaseState:
        """Make a release that is still there the current one.

        Raises:
            Fault: "not-found" names what is there; "hash-mismatch" for a release that is damaged. Nothing was changed
                then. "unhealthy": the switch took place, but the unit did not restart.
        """
        folder = self._existing(spec.app)
        if spec.restart_unit is not None:
            health.check(HealthCheck(spec.restart_unit))
        with self._alone(folder):
            found = {release.release: release for release in _releases(folder)}.get(spec.release)
            if found is None:
                there = ", ".join(release.release for release in _releases(folder)) or "none"
                raise Fault("not-found", f"{spec.app} has no release {spec.release[:80]!r}; there is {there}")
            if sha256_of(folder / "releases" / found.release / MODEL) != found.model_sha256:
                raise Fault("hash-mismatch", f"release {found.release} of {spec.app} is damaged: deploy its file again")
            if _target(folder / "current") != found.release:
                _switch(folder, found.release, None)
            state = _state(folder)
        if spec.restart_unit is not None:
            health.restart(spec.restart_unit, HealthCheck().deadline_s)
        return state

    def undeploy(self, app: str) -> None:
        """Take all releases from an application.

        Raises:
            Fault: "not-found".
        """
        folder = self._existing(app)
        with self._alone(folder):
            remove_folder(folder)

    def trim(self, app: str, keep: int, remove: Callable[[Path], None]) -> Tuple[str, ...]:
        """Hand all releases to ``remove`` but the current one, what it replaced and the ``keep`` newest others.

        Returns:
            the ids of those handed over.
        """
        folder = self._existing(app)
        with self._alone(folder):
            state = _state(folder)
            others = [r.release for r in state.releases if r.release not in (state.current, state.previous)]
            superfluous = tuple(others[: max(0, len(others) - keep)])
            for release in superfluous:
                remove(folder / "releases" / release)
        return superfluous

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Be the only one who changes an application, after what others left half done was cleared away."""
        with contextlib.ExitStack() as stack:
            while True:
                (folder / "releases").mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(only_one(folder))
                    break
                except FileNotFoundError:  # undeployed while this waited
                    continue
            remove_debris(self._home.apps)
            _recover(folder)
            yield

    def _existing(self, app: str) -> Path:
        folder = self._folder(app)
        if not folder.is_dir():
            there = ", ".join(self.apps()) or "none"
            raise Fault("not-found", f"no application {app!r} on this board; there is {there}")
        return folder

    def _folder(self, app: str) -> Path:
        if not APP_NAME.fullmatch(app):
            raise Fault("bad-request", f"{APP_NAME_RULE}; got {app[:80]!r}")
        return self._home.apps / app


def _make(folder: Path, model: Path, spec: ReleaseSpec, old: Optional[str]) -> str:
    releases = folder / "releases"
    numbers = [int(name[:6]) for name in _names(folder)]
    release = f"{max(numbers, default=0) + 1:06d}-{spec.model_sha256[:12]}"
    new = releases / f".new-{release}"
    new.mkdir()
    try:
        os.link(model, new / MODEL)
    except OSError:  # a file system without hard links
        shutil.copyfile(model, new / MODEL)
        sync_file(new / MODEL)
    replace_file(new / MANIFEST, dumps(spec.manifest))
    origin = {"model_sha256": spec.model_sha256, "activated_unix_ns": time.time_ns(), "replaced": old}
    replace_file(new / _ORIGIN, dumps(origin))
    new.rename(releases / release)
    sync_directory(releases)
    return release


def _switch(folder: Path, release: str, check: Optional[HealthCheck]) -> None:
    """Let ``current`` lead to a release; whatever goes wrong, it leads where it led before."""
    old = _target(folder / "current")
    switch_link(folder / "trial", f"releases/{old or _NOTHING}")
    try:
        switch_link(folder / "current", f"releases/{release}")
        if check is not None:
            health.try_out(check, folder.name, folder / "releases" / release)
        (folder / "trial").unlink()
        sync_directory(folder)
    except BaseException:
        _go_back(folder, old)
        raise


def _go_back(folder: Path, old: Optional[str]) -> None:
    if old is not None and (folder / "releases" / old).is_dir():
        switch_link(folder / "current", f"releases/{old}")
    else:
        (folder / "current").unlink(missing_ok=True)
    (folder / "trial").unlink(missing_ok=True)
    sync_directory(folder)


def _recover(folder: Path) -> None:
    """Bring to its end what a call that was cut off has begun. Changes nothing where all is well."""
    for debris in (folder / "releases").glob(".new-*"):
        shutil.rmtree(debris, ignore_errors=True)
    remove_debris(folder / "releases")
    for link in (folder / "current", folder / "trial"):
        unfinished_link(link).unlink(missing_ok=True)
    back = _target(folder / "trial")
    if back is not None:
        _go_back(folder, back)


def _state(folder: Path) -> ReleaseState:
    current = _target(folder / "current")
    releases = _releases(folder)
    replaced = {release.release: release.replaced for release in releases}
    previous = replaced.get(current) if current is not None else None
    return ReleaseState(
        app=folder.name,
        current=current,
        previous=previous if previous in replaced else None,
        releases=releases,
        path=str(folder / "current" / MODEL) if current else None,
        on_trial=(folder / "trial").is_symlink(),
    )


def _releases(folder: Path) -> Tuple[Release, ...]:
    read = [_read(folder / "releases" / name) for name in _names(folder)]
    return tuple(release for release in read if release is not None)


def _read(folder: Path) -> Optional[Release]:
    """Return what a release says of itself; None for one that is damaged, or was removed meanwhile."""
    try:
        origin, manifest = loads((folder / _ORIGIN).read_bytes()), loads((folder / MANIFEST).read_bytes())
        recipe_id = manifest.get("recipe_id")
        return Release(
            release=folder.name,
            model_sha256=origin["model_sha256"],
            size_bytes=(folder / MODEL).stat().st_size,
            activated_unix_ns=origin["activated_unix_ns"],
            replaced=origin["replaced"],
            recipe_id=recipe_id if isinstance(recipe_id, str) else None,
        )
    except (OSError, WireError, KeyError, TypeError, AttributeError):
        return None


def _is(folder: Path, spec: ReleaseSpec) -> bool:
    found = _read(folder)
    return (
        found is not None
        and found.model_sha256 == spec.model_sha256 == sha256_of(folder / MODEL)
        and (folder / MANIFEST).read_bytes() == dumps(spec.manifest)
    )


def _target(link: Path) -> Optional[str]:
    try:
        return link.readlink().name
    except FileNotFoundError:
        return None


def _names(folder: Path) -> Tuple[str, ...]:
    names = [path.name for path in (folder / "releases").glob("*")]
    return tuple(sorted(name for name in names if _RELEASE.fullmatch(name)))
