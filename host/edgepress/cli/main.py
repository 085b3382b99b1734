"""The command ``edgepress``."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from edgepress.errors import EdgepressError

# command -> (module, one line of help): modules are imported when their command is used, so that
# `edgepress --help` does not wait for any of them.
COMMANDS = {
    "run": ("edgepress.cli.run", "Compress, convert, deploy and measure; add rows to the table."),
    "compress": ("edgepress.cli.compress", "Make a smaller model and its TFLite file."),
    "convert": ("edgepress.cli.convert", "Turn a Keras model into a TFLite file."),
    "inspect": ("edgepress.cli.inspect", "Say what is in a TFLite file and which runtimes can load it."),
    "quantize": ("edgepress.cli.quantize", "Say which layers lose accuracy in int8, and why."),
    "bench": ("edgepress.cli.bench", "Measure TFLite files on a device."),
    "profile": ("edgepress.cli.profile", "Say where a model's time goes on a device, operator by operator."),
    "infer": ("edgepress.cli.infer", "Run one input through a TFLite file on a device."),
    "deploy": ("edgepress.cli.deploy", "Make a TFLite file an application's model on a device."),
    "releases": ("edgepress.cli.releases", "List the applications of a device and their releases."),
    "rollback": ("edgepress.cli.releases", "Let an application use an earlier release again."),
    "undeploy": ("edgepress.cli.releases", "Take an application from a device."),
    "gc": ("edgepress.cli.releases", "Delete what nothing on a device needs."),
    "fleet": ("edgepress.cli.fleet", "See what runs on many devices; bring up to date those that were off."),
    "jobs": ("edgepress.cli.jobs", "List, collect and cancel the jobs of devices."),
    "device": ("edgepress.cli.device", "Add, trust, provision, check and list devices."),
    "emulator": ("edgepress.cli.emulator", "Make, start and stop ARM boards in QEMU."),
    "recipe": ("edgepress.cli.recipe", "List and show recipes."),
    "table": ("edgepress.cli.table", "Print what was measured; history, export, import, clean up."),
    "compare": ("edgepress.cli.compare", "Say what changed between stored rows."),
    "regress": ("edgepress.cli.regress", "Fail when rows are worse than a baseline: for CI."),
    "report": ("edgepress.cli.report", "Write the table as one web page."),
    "plot": ("edgepress.cli.plot", "Draw a picture of the table for a paper."),
    "card": ("edgepress.cli.card", "Write a model card."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: edgepress run model.keras --data data.npz --recipe int8,prune50-int8 --device local",
)
@click.version_option(package_name="edgepress")
def cli() -> None:
    """Compress a Keras model, run it on your own board, believe the number."""


def main() -> None:
    """Entry point: runs a command and turns errors into one message and an exit code.

    Exit codes: 0 success; 1 an error that edgepress explains; 2 wrong usage; 3 a regression; 130 interrupted.
    """
    if sys.stdin.isatty():
        from edgepress.cli.console import ask_secret
        from edgepress.transport.secrets import SECRETS

        SECRETS.ask_with(ask_secret)
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        _print_if_json(error, error.format_message())
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        _print_if_json(click.Abort(), "interrupted")
        click.echo("interrupted", err=True)
        _show_notes(error.__cause__ or error)  # click raises its Abort from the interrupt
        code = 130
    except EdgepressError as error:
        _explain(error, str(error))
        code = 1
    except OSError as error:  # a full disk, a folder that is not ours
        _explain(error, f"{error.strerror}: {error.filename}" if error.filename else str(error))
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception, message: str) -> None:
    _print_if_json(error, message)
    click.echo(f"error: {message}", err=True)
    _show_notes(error)


def _show_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  {note}", err=True)


def _print_if_json(error: Exception, message: str) -> None:
    """With --json, stdout is one JSON document whatever happens."""
    if "--json" in sys.argv:
        from edgepress.cli.printing import print_json

        print_json({"schema": 1, "error": {"type": type(error).__name__, "message": message}})


if __name__ == "__main__":
    main()
