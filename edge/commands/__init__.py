"""The commands, one file each: `add` declares its words, the rest does the work."""

from argparse import ArgumentParser, _SubParsersAction
from typing import TypeAlias

Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"  # generic for type checkers only
