"""Implementations with one bug each, of which real losses have had every one."""
