"""What the scripts of Debian's packages and an installer would have done, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgepress.emulator.recipe import USER

USER_ID = 1000

_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": f"root:x:0:\ntty:x:5:\nvideo:x:44:{USER}\n{USER}:x:{USER_ID}:\nnogroup:x:65534:\n",
    # No password fits "*". Without PAM, sshd would refuse an account with "!" even to those who have the key.
    "etc/shadow": f"root:*:19700:0:99999:7:::\nsshd:*:19700::::::\n{USER}:*:19700:0:99999:7:::\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
}


def write_configuration(root: Path, guest: Mapping[str, bytes]) -> None:
    """Make unpacked packages a system that starts.

    Args:
        root: where they were unpacked.
        guest: the files of :func:`edgepress.emulator.recipe.guest_files`.
    """
    for name in ("dev", "proc", "sys", "run", "tmp", "root", f"home/{USER}", "etc/ssh", "usr/sbin", "sbin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / "etc/shadow").chmod(0o600)
    (root / "etc/ssh/sshd_config").write_bytes(guest["sshd_config"])
    init = root / "sbin/init"
    init.write_bytes(guest["init"])
    init.chmod(0o755)
    awk = root / "usr/bin/awk"
    if not awk.is_symlink():
        awk.symlink_to("mawk")
