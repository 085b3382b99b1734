"""What each board is meant to use: ``fleet.json`` beside the inventory.

It is written when a deployment or a rollback has taken place, and for boards that were off while it took place on
others. Like the inventory it can be kept in git. A board that uses something else has to catch up, or has drifted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgepress.devices.inventory import Inventory
from edgepress.errors import InventoryError
from edgepress.transport.atomic_file import locked, write_atomically
from edgepress_agent.protocol.messages import HealthCheck

# SCHEMA history. A change to what fleet.json may say needs a line:
#   1  first version
SCHEMA = 1


class Intent(BaseModel):
    """What an application on a board is meant to use, and how it gets there.

    Attributes:
        model_sha256: of the model.
        file: where this machine has it; relative to the folder of ``fleet.json``, or absolute. None: nobody said.
        runtime, health: as they were given to the deployment.
        before: what was meant before it: where a rollback leads.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    model_sha256: str
    file: str | None = None
    runtime: str | None = None
    health: HealthCheck | None = None
    before: Intent | None = None


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: int = Field(alias="schema", default=SCHEMA)
    devices: dict[str, dict[str, Intent]] = Field(default_factory=dict)


class Intents:
    """The intents of an inventory's boards. Each change is written at once, under a lock, to the file as it is then."""

    def __init__(self, inventory: Inventory) -> None:
        self.path = inventory.path.with_name("fleet.json")

    def of(self, device: str) -> Mapping[str, Intent]:
        """Return what each application of a board is meant to use.

        Raises:
            InventoryError: the file cannot be understood.
        """
        return self._read().devices.get(device, {})

    def file_of(self, intent: Intent) -> Path | None:
        """Return where this machine has an intent's model."""
        return None if intent.file is None else self.path.parent / intent.file

    def deployed(
        self, device: str, app: str, model_sha256: str, file: Path, runtime: str | None, health: HealthCheck | None
    ) -> None:
        """An application is meant to use a model from now on."""
        place = file.resolve()
        inside = place.is_relative_to(self.path.parent)
        shown = str(place.relative_to(self.path.parent) if inside else place)

        def change(apps: dict[str, Intent]) -> None:
            old = apps.get(app)
            before = old.before if old is not None and old.model_sha256 == model_sha256 else old
            apps[app] = Intent(
                model_sha256=model_sha256,
                file=shown,
                runtime=runtime,
                health=health,
                before=before and before.model_copy(update={"before": None}),  # one step back is known, not more
            )

        self._change(device, change)

    def rolled_back(self, device: str, app: str, model_sha256: str | None = None) -> bool:
        """An application is meant to use an earlier model again.

        Args:
            model_sha256: which one; None: the one that was meant before, for a board that cannot be asked.

        Returns:
            False if nobody knows what was meant before: then nothing changes.
        """
        known = True

        def change(apps: dict[str, Intent]) -> None:
            nonlocal known
            old = apps.get(app)
            before = old.before if old is not None else None
            if before is not None and model_sha256 in (None, before.model_sha256):
                apps[app] = before
            elif model_sha256 is not None:
                apps[app] = Intent(model_sha256=model_sha256)
            else:
                known = False

        self._change(device, change)
        return known

    def forget(self, device: str, app: str) -> None:
        """An application is not meant to use anything."""
        self._change(device, lambda apps: apps.pop(app, None))

    def _read(self) -> _Document:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return _Document()
        except (OSError, UnicodeDecodeError) as error:
            raise InventoryError(f"{self.path} cannot be read: {error}") from error
        try:
            document = _Document.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise InventoryError(
                f"{self.path}: {'.'.join(map(str, first['loc']))}: {first['msg']}. Correct it, or delete it: what "
                "boards use is then nobody's intent, until the next deployment"
            ) from None
        if document.schema_ != SCHEMA:
            raise InventoryError(
                f"{self.path} has schema {document.schema_}; this edgepress knows {SCHEMA}. Upgrade it: pip install -U "
                "edgepress"
            )
        return document

    def _change(self, device: str, change: Callable[[dict[str, Intent]], object]) -> None:
        with locked(self.path):
            document = self._read()
            apps = document.devices.setdefault(device, {})
            change(apps)
            if not apps:
                del document.devices[device]
            write_atomically(self.path, document.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
