"""``python -m multismooth_conformance FILE …``: see ``report``."""

import sys

from multismooth_conformance.report import main

sys.exit(main())
