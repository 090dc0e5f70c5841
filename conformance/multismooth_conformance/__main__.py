"""``python -m multismooth_conformance report|validate …``: see these modules."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from multismooth_conformance import report, validate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m multismooth_conformance")
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("report", help="one table, and a page, from the results of any implementations")
    table.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what --multismooth-report wrote")
    table.add_argument("--html", type=Path, metavar="PAGE", help="where to write the page")
    check = commands.add_parser("validate", help="what is wrong with files of vectors")
    check.add_argument("paths", nargs="*", type=Path, metavar="FILE|FOLDER", help="the package's own, if there is none")
    given = parser.parse_args(arguments)
    return report.main(given.files, given.html) if given.command == "report" else validate.main(given.paths)


if __name__ == "__main__":
    # A file may hold what the terminal cannot show.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
