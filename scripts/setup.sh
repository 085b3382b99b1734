#!/bin/sh
# Makes .venv with this checkout in it: setup.sh demo|dev. What emulated boards need besides: setup.sh emulator
# System packages that are missing are installed when we are root, else named in one line.
set -eu
extra=$1
venv=.venv
python=${PYTHON:-python3}

command -v "$python" >/dev/null || { echo "edgepress needs python3 >= 3.11; there is no '$python' on PATH" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "edgepress needs Python >= 3.11; '$python' is $("$python" -V 2>&1). Set PYTHON=/path/to/another." >&2; exit 1; }

apt_install() { # package, what it is for
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $1 ($2)"
        apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1 || {
            apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1" >/dev/null; }
    else
        echo "$1 is missing ($2): sudo apt-get install $1" >&2
        return 1
    fi
}

emulator_programs() { # those of host/edgepress/emulator/programs.py
    status=0
    PATH=$PATH:/usr/sbin:/sbin
    while read -r program package; do
        command -v "$program" >/dev/null || apt_install "$package" "emulates ARM boards" </dev/null || status=1
    done <<-END
	qemu-system-aarch64 qemu-system-arm
	qemu-img qemu-utils
	fakeroot fakeroot
	mke2fs e2fsprogs
	ssh-keygen openssh-client
	END
    return $status
}
if [ "$extra" = emulator ]; then
    emulator_programs
    exit
fi

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    apt_install "$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')" "makes virtual environments"
# What the tests need besides; a test that misses one says so and is left out.
if [ "$extra" = dev ]; then
    [ -x /usr/bin/chromedriver ] || apt_install chromium-driver "tests of the report in a browser; left out without it" || true
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ||
        apt_install postgresql "tests on PostgreSQL; left out without it" || true
    [ -x /usr/sbin/sshd ] || apt_install openssh-server "tests over real SSH; left out without it" || true
    # The loopback board makes its own virtual environments with the system's Python, as a Pi does.
    ! [ -x /usr/bin/python3 ] || /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null ||
        apt_install python3-venv "provisioning tests; left out without it" || true
    emulator_programs || echo "tests on an emulated ARM board are left out" >&2
fi

[ -x $venv/bin/pip ] || "$python" -m venv $venv
echo "installing edgepress[$extra] into $venv (TensorFlow is large: a minute or two)"
$venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
touch $venv/.$extra
