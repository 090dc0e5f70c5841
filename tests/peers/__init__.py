"""The real packages beside the dialects: each module runs one package's own loss, ``__main__`` compares.

``python -m nox -s dialects`` installs what ``environments.toml`` lists and runs them all.
"""
