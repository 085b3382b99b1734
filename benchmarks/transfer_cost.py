"""What does bringing a model to a board cost, beside OpenSSH's own sftp?

    flock /tmp/heavy.lock python benchmarks/transfer_cost.py --rounds 6 --directory /dev/shm

A real OpenSSH server on loopback is reached through a proxy that counts bytes (``counting_proxy.py``, a process of its
own); edgepress and OpenSSH take turns. A push is timed from before the connection to the board's answer that the
content is whole, hashed and durable; sftp from its start to its end, which includes neither hash nor fsync. All is done
again with a delay in the proxy. Writes ``results/transfer_cost.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from counting_proxy import Proxy

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.errors import LinkLostError
from support.sshd import Board, start_board

HERE = Path(__file__).parent
MIB = 1 << 20
COMMANDS = 200
CUT_AT = 0.9


class Bench:
    """One way to a board: through a proxy with a delay."""

    def __init__(self, board: Board, proxy: Proxy, folder: Path, size_bytes: int) -> None:
        self.proxy = proxy
        self.folder = folder
        self.size_bytes = size_bytes
        folder.mkdir()
        self.inventory: Inventory = board.inventory(folder, port=proxy.port)
        (folder / "user_known_hosts").write_text(board.known_hosts_line(proxy.port))
        self.board = board
        Device.open("board", self.inventory).close()  # brings the agent there

    def content(self) -> tuple[Path, str]:
        """Return a file that the board has not seen, and its hash."""
        file = self.folder / "content"
        data = os.urandom(self.size_bytes)
        file.write_bytes(data)
        return file, hashlib.sha256(data).hexdigest()

    def push_s(self) -> tuple[float, float, int]:
        """Time a push with its connection, and the same push again on the open one; say what that one sent."""
        file, sha256 = self.content()
        begun = time.perf_counter()
        with Device.open("board", self.inventory) as device:
            device.client.push(file, sha256)
            first = time.perf_counter() - begun
            before, begun = self.proxy.sent_bytes(), time.perf_counter()
            device.client.push(file, sha256)
            again = time.perf_counter() - begun
            sent = self.proxy.sent_bytes() - before
        self._forget(sha256)
        return first, again, sent

    def sftp_s(self) -> float:
        """Time OpenSSH's sftp for as much."""
        file, _ = self.content()
        target = self.board.directory / "by_sftp"
        argv = ["sftp", "-q", "-F", str(self.folder / "ssh_config"), "-b", "-", "board"]
        begun = time.perf_counter()
        subprocess.run(argv, input=f"put {file} {target}\n", text=True, check=True, stdout=subprocess.DEVNULL)
        taken = time.perf_counter() - begun
        target.unlink()
        return taken

    def resent_bytes(self) -> int:
        """Cut a push when 90 % have gone through, push again, and say what went through beyond once everything."""
        file, sha256 = self.content()
        device = Device.open("board", self.inventory)
        before = self.proxy.sent_bytes()
        self.proxy.cut_after(round(CUT_AT * self.size_bytes))
        try:
            device.client.push(file, sha256)
        except LinkLostError:
            pass
        else:
            raise AssertionError("the link was not cut")
        finally:
            device.close()
        with Device.open("board", self.inventory) as device:
            login = self.proxy.sent_bytes()
            device.client.push(file, sha256)
            after = self.proxy.sent_bytes()
        self._forget(sha256)
        # What logging in again took is not content.
        cut = before + round(CUT_AT * self.size_bytes)
        return (cut - before) + (after - login) - self.size_bytes

    def commands_s(self) -> tuple[list[float], list[float]]:
        """Time commands, and requests to the agent, on an open connection."""
        with Device.open("board", self.inventory) as device:
            commands = [_taken_s(lambda: device.transport.run(["true"])) for _ in range(COMMANDS)]
            return commands, [_taken_s(device.client.lock) for _ in range(COMMANDS)]

    def openssh_commands_s(self) -> list[float]:
        """Time commands of OpenSSH over its ControlMaster."""
        socket = self.folder / "master"
        ssh = ["ssh", "-F", str(self.folder / "ssh_config"), "-S", str(socket)]
        subprocess.run([*ssh, "-M", "-f", "-N", "board"], check=True, stderr=subprocess.DEVNULL)
        try:
            argv = [*ssh, "board", "true"]
            return [_taken_s(lambda: subprocess.run(argv, check=True)) for _ in range(COMMANDS // 4)]
        finally:
            subprocess.run([*ssh, "-O", "exit", "board"], check=False, stderr=subprocess.DEVNULL)

    def _forget(self, sha256: str) -> None:
        for file in self.board.home.glob(f"*/{sha256}*"):
            file.unlink()


def measure(board: Board, folder: Path, delay_ms: float, rounds: int, size_bytes: int) -> list[str]:
    """Return the lines of the report for one delay."""
    with Proxy(board.port, delay_ms) as proxy:
        bench = Bench(board, proxy, folder / f"delay-{delay_ms:g}", size_bytes)
        pushes, agains, payloads, sftps = [], [], [], []
        for _ in range(rounds):
            first, again, sent = bench.push_s()
            pushes.append(first)
            agains.append(again)
            payloads.append(sent)
            sftps.append(bench.sftp_s())
        resent = [bench.resent_bytes() for _ in range(max(2, rounds // 2))]
        (commands, requests), masters = bench.commands_s(), bench.openssh_commands_s()
    mib = size_bytes / MIB
    ratios = [theirs / ours for ours, theirs in zip(pushes, sftps, strict=True)]
    return [
        f"\n## {'No delay' if not delay_ms else f'{2 * delay_ms:g} ms of round trip added'}\n",
        "| | edgepress | OpenSSH | goal |",
        "|---|---|---|---|",
        f"| {mib:g} MiB with its connection, median of {rounds} | {_s(pushes)} ({mib / _median(pushes):.0f} MiB/s) | "
        f"{_s(sftps)} ({mib / _median(sftps):.0f} MiB/s) | 1.0x; got {_median(ratios):.2f}x "
        f"({min(ratios):.2f} to {max(ratios):.2f}) |",
        f"| the same again on the open connection | {1e3 * _median(agains):.1f} ms, {max(payloads):,} bytes sent for "
        "the question | | 50 ms, no payload |",
        f"| cut at {CUT_AT:.0%}, then again: bytes sent twice, most of {len(resent)} | {max(resent):,} | | 1,048,576 |",
        f"| a command on an open connection, p50 of {len(commands)} | {1e3 * _median(commands):.1f} ms | "
        f"{1e3 * _median(masters):.1f} ms (ControlMaster) | 5 ms{' beside the round trip' if delay_ms else ''} |",
        f"| a request to the agent, p50 of {len(requests)} | {1e3 * _median(requests):.1f} ms | | |",
    ]


def _taken_s(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _s(values: Sequence[float]) -> str:
    return f"{_median(values):.2f} s"


@contextmanager
def running_board(parent: Path | None) -> Iterator[tuple[Board, Path]]:
    """Give a board and a folder to work in."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        board = start_board(Path(name) / "board")
        try:
            yield board, Path(name)
        finally:
            board.stop()


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--size-mib", type=float, default=64)
    parser.add_argument("--delays-ms", type=float, nargs="+", default=[0, 10], help="in each direction")
    parser.add_argument("--directory", type=Path, help="where the board has its files; default: the temporary folder")
    options = parser.parse_args()
    openssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    lines = [
        "# What bringing content to a board costs\n",
        f"`{shlex.join(['python', *sys.argv])}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs of "
        f"{platform.machine()}, {openssh}, load {os.getloadavg()[0]:.1f} at the start. Board, proxy and host share the "
        "CPUs. edgepress's figure includes hashing on the board and fsync, sftp's does not.",
    ]
    with running_board(options.directory) as (board, folder):
        for delay_ms in options.delays_ms:
            lines += measure(board, folder, delay_ms, options.rounds, round(options.size_mib * MIB))
    text = "\n".join(lines) + "\n"
    print(text)
    (HERE / "results" / "transfer_cost.md").write_text(text)


if __name__ == "__main__":
    main()
