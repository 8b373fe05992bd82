"""A bounded fuzzer guided by coverage: what reaches a new line of fromnoise is kept and mutated further."""

import random
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from faults.damage import mutated
from faults.judge import deadline

Line = tuple[str, int]


@dataclass
class Fuzzer:
    """Executions of a reader on ever other bytes.

    Args:
        read: what is attacked; it returns, or raises one of `allowed`.
        corpus: right files to begin with.
        allowed: kinds of exceptions with one line.
        mutate: (bytes, random) -> other bytes.
        package: only lines of files with this in their path count.
        slow: seconds from which an execution is wrong.
    """

    read: Callable[[bytes], Any]
    corpus: list[bytes]
    allowed: tuple[type[Exception], ...]
    mutate: Callable[[bytes, random.Random], bytes] = mutated
    package: str = "fromnoise"
    slow: float = 5.0
    seen: set[Line] = field(default_factory=set)

    def run(self, executions: int, rng: random.Random, seconds: float = 60.0) -> list[str]:
        """What was wrong, each kind once, with the bytes that showed it; no new execution after so many seconds."""
        wrong: dict[str, bytes] = {}
        until = time.monotonic() + seconds
        for content in list(self.corpus):
            self._one(content, wrong)
        for _ in range(executions):
            if time.monotonic() > until:
                break
            content = self.mutate(rng.choice(self.corpus), rng)
            if self._one(content, wrong):
                self.corpus.append(content)
        return [f"{kind} on {content[:200]!r} ({len(content)} bytes)" for kind, content in wrong.items()]

    def _one(self, content: bytes, wrong: dict[str, bytes]) -> bool:
        """Whether it reached a new line."""
        lines: set[Line] = set()
        with _Tracing(lines, self.package):
            try:
                with deadline(self.slow):
                    self.read(content)
                kind = ""
            except self.allowed as error:
                kind = "a message of more than a line" if "\n" in str(error).strip() else ""
            except Exception as error:
                kind = f"{type(error).__name__}: {str(error)[:100]}"
        if kind:
            wrong.setdefault(kind, content)
        new = lines - self.seen
        self.seen |= new
        return bool(new)


class _Tracing:
    """Collects the lines of one package that are executed; of other files nothing is traced, which costs little."""

    def __init__(self, lines: set[Line], package: str):
        self.lines, self.part = lines, f"/{package}/"

    def __enter__(self) -> None:
        self.before = sys.gettrace()
        sys.settrace(self._called)

    def __exit__(self, *error: object) -> None:
        sys.settrace(self.before)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if self.part in frame.f_code.co_filename else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def of_words(content: bytes, rng: random.Random, words: Iterable[bytes]) -> bytes:
    """Mutation for texts: a word of a list put somewhere, else bytes as anywhere."""
    if rng.random() < 0.5:
        return mutated(content, rng)
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(list(words)) + content[place + rng.choice((0, 0, 1, 5)) :]
