"""The README's examples, for the tests of the rooms to run."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def examples(room: str) -> list[str]:
    """Those that import this room."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    found = [block for block in blocks if f"from multismooth.{room} import" in block]
    assert found, room
    return found
