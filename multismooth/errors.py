"""The one error of the library."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, told in one sentence: the call, the fact, the remedy.

    ``reason`` is a short, permanent, machine-readable name of the fact, the same in every room.

    >>> from multismooth import Spec
    >>> try:
    ...     Spec(label_smoothing=1.5)
    ... except ValueError as error:
    ...     print(error.reason)
    label_smoothing_out_of_range
    """

    # No __init__ of its own: without one it pickles, and torch.compile can trace where it is raised.
    args: tuple[str, str, str, str]

    # TensorFlow's AutoGraph replaces the errors of traced code, but for those that have this attribute.
    ag_pass_through = True

    @property
    def reason(self) -> str:
        return self.args[0]

    def __str__(self) -> str:
        _, call, fact, remedy = self.args
        return f"{call}: {fact}. {remedy}."
