"""The command line: `fromnoise COMMAND ...`. Each command is one module with one dataclass.

Nothing here imports torch before a command runs, so that `--help` answers at once.
"""

from fromnoise.app.cli.entry import main

__all__ = ["main"]
