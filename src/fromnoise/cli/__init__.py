"""The command line: `fromnoise COMMAND ...`. Each command is one module with one dataclass.

Nothing here imports torch before a command runs, so that `--help` answers at once.
"""

from fromnoise.cli._main import main

__all__ = ["main"]
