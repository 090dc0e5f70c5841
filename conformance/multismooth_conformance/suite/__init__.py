"""The tests; collected by ``pytest --pyargs multismooth_conformance.suite``."""
