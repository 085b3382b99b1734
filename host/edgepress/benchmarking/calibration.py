"""How much a board differs from itself: the same file against itself, in one session and from session to session.

Kept in ``calibrations.json`` beside the inventory, by the device's name and with the board's own identity: a board that
was exchanged behind a name is not calibrated.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking import session
from edgepress.benchmarking.comparison import LEAST_ROUNDS, compare_runs
from edgepress.benchmarking.interference import fixed_clock_hz
from edgepress.benchmarking.session import Way
from edgepress.benchmarking.statistics import headline_ns
from edgepress.devices.inventory import Inventory
from edgepress.errors import InventoryError
from edgepress.progress import Progress, Silent
from edgepress.transport.atomic_file import locked, write_atomically

if TYPE_CHECKING:
    from edgepress.devices.device import Device
    from edgepress_agent.protocol.messages import BenchmarkPlan
    from edgepress_converters.model import TFLiteModel

SCHEMA = 1
FILE_NAME = "calibrations.json"
SESSIONS = 5


@dataclass(frozen=True)
class Calibration:
    """What a board showed. Fractions.

    Attributes:
        floor: the largest |ratio - 1| of the file against itself inside a session.
        between: the largest difference between the medians of two sessions.
        sessions: how many there were, each with two runs.
        physical_device, model_sha256, taken_unix_ns: what was measured where and when.
    """

    floor: float
    between: float
    sessions: int
    device: str
    physical_device: str | None
    model_sha256: str
    latency_p50_ns: int
    taken_unix_ns: int


def calibrate(
    device: Device,
    model: TFLiteModel,
    plan: BenchmarkPlan,
    *,
    sessions: int = SESSIONS,
    progress: Progress | None = None,
) -> Calibration:
    """Measure a file against itself in several sessions and store what the board showed.

    Raises:
        AgentError: a session gave no sample. InventoryError: the result cannot be written.
    """
    shown = progress or Silent()
    way = Way(device.runtime())
    longer = replace(plan, processes=max(plan.processes, LEAST_ROUNDS), max_processes=None, target_half_width=None)
    ratios, medians = [], []
    with shown.task(f"{device.name}: the file against itself", sessions) as task:
        for number in range(sessions):
            task.update(number)
            report = session.measure_setups(device, [(model, way)] * 2, replace(longer, seed=number), progress=shown)
            first, second = (session.require_samples(run, device.name, report) for run in report.runs)
            seen = report.states, fixed_clock_hz(report.facts)
            ratios.append(compare_runs(first, second, None, *seen).ratio.value)
            medians.append(headline_ns(first, *seen))
            session.acknowledge(device, report)
    found = Calibration(
        floor=max(abs(ratio - 1) for ratio in ratios),
        between=max(medians) / min(medians) - 1,
        sessions=sessions,
        device=device.name,
        physical_device=device.physical_id,
        model_sha256=model.sha256,
        latency_p50_ns=sorted(medians)[(len(medians) - 1) // 2],
        taken_unix_ns=time.time_ns(),
    )
    _store(found)
    return found


def load_calibration(name: str, physical_device: str | None = None) -> Calibration | None:
    """Return what is known of a device; None if nothing is, or if it was another board then.

    Args:
        physical_device: the board's identity; None: whichever board has the name.
    """
    values = _read(_path()).get(name)
    if values is None:
        return None
    found = Calibration(**values)
    is_other = physical_device is not None and found.physical_device not in (None, physical_device)
    return None if is_other else found


def _path() -> Path:
    return Inventory.load().path.with_name(FILE_NAME)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise InventoryError(f"{path} has schema {document['schema']}; this edgepress reads {SCHEMA}")
        devices: dict[str, dict[str, Any]] = document["devices"]
        return devices
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InventoryError(f"{path} cannot be read: {error}; remove it and calibrate again") from error


def _store(calibration: Calibration) -> None:
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            devices = {**_read(path), calibration.device: asdict(calibration)}
            write_atomically(path, json.dumps({"schema": SCHEMA, "devices": devices}, indent=2) + "\n")
    except OSError as error:
        raise InventoryError(f"{path} cannot be written: {error.strerror}") from error
