"""Write the conformance vectors, or check that the stored ones are what this would write.

    python conformance/generate.py            writes vectors/v1/*.json and its schema
    python conformance/generate.py --check    exits 1 and names every difference

The vectors that were worked out by hand, or found by fuzzing, are never written, and always checked. The
numbers come from mpmath and the definitions in generator/oracle.py, from no implementation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from generator.files import differences, write

FOLDER = Path(__file__).parent / "multismooth_conformance" / "vectors" / "v1"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when all is well."""
    parser = argparse.ArgumentParser(description="Write or check the conformance vectors.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if not parser.parse_args(arguments).check:
        print("\n".join(write(FOLDER)))
        return 0
    found = differences(FOLDER)
    print("\n".join(found) if found else "the vectors are up to date")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
