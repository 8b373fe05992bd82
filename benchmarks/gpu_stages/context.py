"""What a stage is given: the device, the remaining time, and where its rows are written."""

import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class Context:
    """The context of a stage. Rows are appended to NAME.jsonl as they are found, so a stopped stage keeps them.

    Args:
        name: name of the stage.
        folder: where everything is written.
        tiny: whether to run in miniature, on the CPU.
        data_root: folder that may hold data sets.
        deadline: deadline on the clock of `time.monotonic`.
    """

    def __init__(self, name: str, folder: Path, tiny: bool, data_root: Path, deadline: float):
        self.name, self.folder, self.tiny, self.data_root, self.deadline = name, folder, tiny, data_root, deadline
        self.cuda = torch.cuda.is_available() and not tiny
        self.device = torch.device("cuda", torch.cuda.current_device()) if self.cuda else torch.device("cpu")
        self.device_name = torch.cuda.get_device_name(self.device) if self.cuda else "CPU"

    def left(self) -> float:
        """Seconds left until the deadline."""
        return self.deadline - time.monotonic()

    def row(self, key, value, unit, *, numbers, note="", of=None, rate=None, ok=None):
        """Write a row with one figure.

        Args:
            key: what was measured; a unique description.
            value, unit: the figure.
            numbers: the number format of the computation: fp32, tf32 or bf16.
            note: what a reader must know in addition.
            of: name of the ceiling that `rate` is a share of, if any.
            rate: the rate in the ceiling's unit.
            ok: for checks, whether the figure is as required.
        """
        ceiling = self._ceilings().get(of) if rate else None
        line = {"stage": self.name, "what": key, "value": value, "unit": unit, "numbers": numbers,
                "share": rate / ceiling if ceiling and rate else None, "of": of if ceiling and rate else None,
                "note": note, "ok": ok, "device": self.device_name}  # fmt: skip
        self._write(line)
        share = f", {line['share']:.1%} of {of}" if line["share"] is not None else ""
        said = {None: "", True: "  holds", False: "  FAILS"}[ok]
        print(f"{self.name}: {key} ({numbers}): {value:.5g} {unit}{share}{'; ' + note if note else ''}{said}")

    def check(self, key, error, limit, *, numbers, note=""):
        """Write a difference that must be at most `limit`; NaN fails."""
        within = f"at most {limit:g}" if limit else "must be 0"
        self.row(key, error, "apart", numbers=numbers, note="; ".join(filter(None, [within, note])), ok=error <= limit)

    def left_out(self, key, why):
        """Write that a row is left out, and why."""
        self._write({"stage": self.name, "what": key, "value": None, "left_out": why, "device": self.device_name})
        print(f"{self.name}: {key}: left out, {why}")

    def has_time(self, key, seconds):
        """Whether `seconds` are left for `key`; if not, its row is left out."""
        if self.left() >= seconds:
            return True
        self.left_out(key, f"no time: {max(self.left(), 0):.0f} s left")
        return False

    @contextmanager
    def trying(self, key: str) -> Iterator[None]:
        """An exception inside the block becomes a row, and the stage goes on."""
        self._write({"stage": self.name, "began": key})
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            self._write({"stage": self.name, "what": key, "value": None, "ok": False, "device": self.device_name,
                         "note": f"{type(error).__name__}: {reason}"})  # fmt: skip
            print(f"{self.name}: {key}: FAILED, {type(error).__name__}: {reason}")
        finally:
            sys.stdout.flush()

    def _write(self, line):
        with (self.folder / f"{self.name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _ceilings(self):
        """{name: rate} of this device, as measured by the first stage."""
        path = self.folder / "ceilings.jsonl"
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        return {line["what"]: line["value"] for line in lines
                if line.get("value") and line.get("device") == self.device_name}  # fmt: skip
