"""Who may import whom, and what may be loaded when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("edgepress", "edgepress_agent", "edgepress_converters")


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def _imports_of(package: Path) -> dict[str, set[str]]:
    return {str(file.relative_to(ROOT)): _imports(file) for file in sorted(package.rglob("*.py"))}


def _is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_the_host_uses_of_the_agent_only_its_protocol_and_version() -> None:
    for file, names in _imports_of(ROOT / "host").items():
        agents = {n for n in names if _is_under(n, "edgepress_agent")}
        beyond = {n for n in agents if n != "edgepress_agent" and not _is_under(n, "edgepress_agent.protocol")}
        assert not beyond, f"{file} imports {beyond}"


@pytest.mark.parametrize(("folder", "package"), [("agent", "edgepress_agent"), ("converters", "edgepress_converters")])
def test_agent_and_converters_import_nothing_of_ours(folder: str, package: str) -> None:
    for file, names in _imports_of(ROOT / folder / package).items():
        foreign = {n for n in names for ours in OURS if ours != package and _is_under(n, ours)}
        assert not foreign, f"{file} imports {foreign}"


def test_the_agent_never_imports_what_belongs_on_the_host() -> None:
    for file, names in _imports_of(ROOT / "agent/edgepress_agent").items():
        forbidden = {n for n in names if n.split(".")[0] in ("tensorflow", "keras", "paramiko", "pydantic", "click")}
        assert not forbidden, f"{file} imports {forbidden}"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["table"], ["recipe", "list"], ["device", "list"]],
    ids=" ".join,
)
def test_commands_that_need_no_model_load_neither_tensorflow_nor_paramiko_nor_alembic(
    arguments: list[str], tmp_path: Path
) -> None:
    database = str(tmp_path / "table.db")
    program = (
        "import sys\n"
        f"sys.argv = ['edgepress', *{arguments!r}]\n"
        "from edgepress.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    environment = {"EDGEPRESS_DB": database, "EDGEPRESS_DEVICES": str(tmp_path / "devices.toml"), "PATH": "/usr/bin"}
    # The first call makes the database, with Alembic; every later one must do without.
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
    loaded = set(ast.literal_eval(done.stderr.strip().splitlines()[-1]))
    assert not loaded & {"tensorflow", "keras", "paramiko", "alembic"}


def test_importing_the_public_api_loads_nothing_heavy() -> None:
    program = "import sys, edgepress; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & {"tensorflow", "keras", "paramiko", "alembic", "sqlalchemy", "numpy", "pydantic", "rich"}


def test_no_module_is_longer_than_400_lines_or_named_utils() -> None:
    for folder in ("host", "agent", "converters"):
        for file in (ROOT / folder).rglob("*.py"):
            assert file.stem not in ("utils", "helpers", "common"), file
            assert len(file.read_text().splitlines()) <= 400, file
