"""The words of the grammar, shared by the reader and the writer so that text round-trips."""

from __future__ import annotations

import re
from typing import Final

BARE_NAME: Final = re.compile(r'[^\s+,{}()"]+')
LATENT_NAME: Final = re.compile(r"z[0-9]+")
NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

# From here on not every integer is a float, and writing all digits would claim a precision that is not there.
_EXACT_INTEGERS = 1e16


def format_name(name: str) -> str:
    r"""Write a name as the grammar reads it: bare where that is unambiguous, else in double quotes.

    Examples
    --------
    >>> print(format_name("BCR::ABL1"), format_name("z3"), format_name("HLA A"))
    BCR::ABL1 "z3" "HLA A"
    """
    if BARE_NAME.fullmatch(name) and not LATENT_NAME.fullmatch(name) and name[0] != ":" and name[-1] != ":":
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def format_number(value: float) -> str:
    """Write a number in its shortest exact form, integers without a decimal point.

    Examples
    --------
    >>> print(format_number(2.0), format_number(0.1), format_number(1e20))
    2 0.1 1e+20
    """
    if value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return str(int(value))
    return repr(value)
