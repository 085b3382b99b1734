"""A board, connected: the one object that deployment and benchmarking work with."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import Self

from edgepress.devices.adoption import start_agent
from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.devices.profiles import DeviceProfile, load_profile
from edgepress.devices.reach import connect
from edgepress.devices.runtimes import choose_runtime
from edgepress.errors import ProvisioningError
from edgepress.transport.base import Transport
from edgepress_agent.protocol.messages import DeviceFacts, LockState, Runtime


class Device:
    """A device of the inventory with a conversation with its agent.

    ::

        with Device.open("pi4") as device:
            print(device.facts.model, device.runtimes)

    Attributes:
        name, config: from the inventory.
        transport: the connection that it goes over, for what the agent does not do.
        client: the conversation with the agent.
        hello: the agent's first answer: its versions and where its home is on the board.
    """

    def __init__(self, config: DeviceConfig, transport: Transport) -> None:
        """Make sure that the board has this host's agent, and start it. Most callers want :meth:`open`."""
        self.name = config.name
        self.config = config
        self.transport = transport
        self.client, self.hello = start_agent(config, transport)

    @classmethod
    def open(cls, name: str, inventory: Inventory | None = None) -> Self:
        """Connect to a device. An agent that is missing there, or is of another version, is replaced.

        Raises:
            UnknownDeviceError: not in the inventory.
            TransportError: it cannot be reached; the subclass says why.
            ProvisioningError: no agent can run there.
        """
        inventory = inventory or Inventory.load()
        config = inventory.device(name)
        transport = connect(config, inventory)
        try:
            return cls(config, transport)
        except BaseException:
            transport.close()
            raise

    @cached_property
    def profile(self) -> DeviceProfile | None:
        """What its kind of board promises; None when the inventory names none."""
        return load_profile(self.config.profile) if self.config.profile else None

    @property
    def facts(self) -> DeviceFacts:
        """What the agent read on the board: read once, and again after :meth:`refresh`."""
        return self._facts

    @cached_property
    def _facts(self) -> DeviceFacts:
        return self.client.facts()

    def refresh(self) -> None:
        """Read the facts anew when they are next asked for: after an installation."""
        self.__dict__.pop("_facts", None)

    @property
    def physical_id(self) -> str | None:
        """What tells this very board from another of its kind; None when the board says nothing of the sort."""
        return self.facts.physical_id

    @property
    def runtimes(self) -> tuple[Runtime, ...]:
        """The TFLite runtimes on the board, the one that is used by default first."""
        runtimes = self.facts.runtimes
        default = choose_runtime(runtimes, self.config.runtime) or choose_runtime(runtimes, None)
        return tuple(sorted(runtimes, key=lambda runtime: runtime != default))

    def runtime(self, wanted: str | None = None) -> Runtime:
        """Return a runtime of the board.

        Args:
            wanted: ``NAME``, ``NAME==VERSION`` or None: what the inventory wants, else the first of ``runtimes``.

        Raises:
            ProvisioningError: the board has none such. Says what it has and how to install one.
        """
        wanted = wanted or self.config.runtime
        found = choose_runtime(self.facts.runtimes, wanted)
        if found is None:
            has = ", ".join(f"{r.name} {r.version}" for r in self.facts.runtimes) or "none"
            raise ProvisioningError(
                f"{self.name} has no TFLite runtime {wanted or 'at all'}; it has {has}. Install it with "
                f"`edgepress device provision {self.name}" + (f" --runtime {wanted}`" if wanted else "`"),
                self.name,
            )
        return found

    def lock(self) -> LockState:
        """Ask who is using the board."""
        return self.client.lock()

    def close(self) -> None:
        """End the conversation and the connection; jobs go on. May be called twice."""
        self.client.close()
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
