"""The error raised for text that is not a perturbation."""

from __future__ import annotations

# Characters shown on either side of the fault, so that the caret stays visible in a text of thousands of terms.
_REACH = 60


class PerturbationSyntaxError(ValueError):
    """Text that does not follow the perturbation grammar.

    Parameters
    ----------
    problem
        What is wrong, in one line.
    text
        The offending text.
    position
        0-based index into ``text`` of the character at fault; ``len(text)`` where something is missing at the end.
    remedy
        What to write instead.

    Examples
    --------
    >>> print(PerturbationSyntaxError("unknown operation 'koo'", "TP53:koo", 5, "write ko"))
    unknown operation 'koo'
      TP53:koo
           ^
    write ko
    """

    def __init__(self, problem: str, text: str, position: int, remedy: str) -> None:
        self.problem = problem
        self.text = text
        self.position = position
        self.remedy = remedy
        super().__init__(f"{problem}\n{_point_at(text, position)}\n{remedy}")

    def __reduce__(self) -> tuple[type[PerturbationSyntaxError], tuple[str, str, int, str]]:
        # Exceptions are rebuilt from ``args`` by default, which hold the finished message only.
        return type(self), (self.problem, self.text, self.position, self.remedy)


def _point_at(text: str, position: int) -> str:
    start, stop = max(0, position - _REACH), min(len(text), position + _REACH)
    before, after = "..." if start else "", "..." if stop < len(text) else ""
    # Line breaks and tabs would move the caret away from the fault.
    excerpt = "".join(char if char.isprintable() else " " for char in text[start:stop])
    return f"  {before}{excerpt}{after}\n  {' ' * (len(before) + position - start)}^"
