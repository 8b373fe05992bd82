"""`fromnoise verify`."""

import json
from dataclasses import dataclass
from typing import Annotated

from fromnoise.app.cli._options import File, Off, option
from fromnoise.app.cli._words import writable
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.progress import Bar


@dataclass(frozen=True)
class Verify:
    """Check the equations of the theory against the code.

    examples:
      fromnoise verify
          Compute every identity with the code that is installed.
      fromnoise verify --topic samplers
          Check the samplers only.
      fromnoise verify --quiet --out report.html
          Print failures only, and write a page with figures.

    details:
      This takes about a minute and needs no model, no weights and no data. Each
      row is one equation of the texts: the value by mathematics, the value by
      the code, and how far they are apart. Where a text misprints an equation,
      the code must also differ from the printed form. The exit status is 1 if
      any row fails.
    """

    out: Annotated[File, option(default="none")] = None
    """Report to write: .html is one page with figures, .json the rows."""
    topic: str = "all"
    """Check one topic only, such as levels, bound or samplers."""
    quiet: Off = False
    """Print only the failures and the last line."""

    def __call__(self) -> int:
        if self.out is not None and self.out.suffix.lower() not in (".html", ".json"):
            raise FromNoiseError(f"--out {self.out}: the report must be a .html or a .json file")
        from fromnoise import verify
        from fromnoise.errors import unknown

        chosen = verify.checks()
        topics = sorted({c.topic for c in chosen})
        if self.topic not in ("all", *topics):
            raise unknown("topic", self.topic, ["all", *topics])
        if self.out is not None:
            writable(self.out)
            if self.out.suffix.lower() == ".html":
                verify.check_figures()
        chosen = [c for c in chosen if self.topic in ("all", c.topic)]
        rows = []
        with Bar("verifying", len(chosen)) as bar:
            for row in verify.rows(chosen):
                rows.append(row)
                bar.advance(1, f"{sum(not r.passed for r in rows)} failed" if any(not r.passed for r in rows) else "")
        _print(rows, self.quiet)
        failed = [r for r in rows if not r.passed]
        if self.out is not None:
            if self.out.suffix.lower() == ".json":
                text = json.dumps([r.as_json() for r in rows], indent=1) + "\n"
            else:
                text = verify.html(rows)
            files.write_text(self.out, text)
            print(f"{self.out}   the report")
        print(f"{len(rows)} identities, {len(rows) - len(failed)} hold" + (f", {len(failed)} FAIL" if failed else ""))
        return 1 if failed else 0


def _print(rows: list, quiet: bool) -> None:
    topic = None
    for row in rows:
        if quiet and row.passed:
            continue
        if row.topic != topic:
            topic = row.topic
            print(f"\n{topic}")
        mark = "ok  " if row.passed else "FAIL"
        print(f"  {mark} {row.error:8.1e} (<= {row.tolerance:.0e})  {row.name}   [{row.source}]")
        if row.printed is not None:
            print(f"{'':28}{row.practice:.6g} here, {row.printed:.6g} as printed")
        if not row.passed:
            print(f"{'':28}theory {row.theory:.12g}, practice {row.practice:.12g}{'; ' + row.why if row.why else ''}")
    if not quiet or any(not r.passed for r in rows):
        print()
