"""`fromnoise doctor`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fromnoise.system.progress import say

if TYPE_CHECKING:
    from fromnoise.app.doctor import Line

_MARKS = {"ok": "  ok ", "missing": "  -  ", "broken": "FAIL "}


@dataclass(frozen=True)
class Doctor:
    """Check the installation, hardware, extras and cache.

    examples:
      fromnoise doctor
          Show versions, devices, extras and the cache, with advice.

    details:
      Attach the output to a bug report (`fromnoise doctor > doctor.txt`).
      Every extra that is installed is imported in a process of its own, which
      takes some seconds. The exit status is 1 if one of them is broken.
    """

    def __call__(self) -> int:
        from fromnoise.app import doctor

        broken = _print("installation", doctor.installation()) + _print("hardware", doctor.hardware())
        say("importing the installed extras ...")
        broken += _print("extras", doctor.extras()) + _print("cache", doctor.cache())
        tips = list(doctor.advice())
        if tips:
            print("\nadvice")
        for tip in tips:
            print(f"  {tip}")
        return 1 if broken else 0


def _print(title: str, lines: "Iterable[Line]") -> int:
    """A section; returns how many lines of it are broken."""
    print(f"\n{title}")
    broken = 0
    for line in lines:
        mark = _MARKS[line.state] if title == "extras" else "  "
        print(f"{mark}{line.name:<12}{line.value}", flush=True)
        broken += line.state == "broken"
    return broken
