from __future__ import annotations

import copy
import pickle

import pytest

from scwhatif.perturbation import PerturbationSyntaxError


def test_message_points_at_the_position():
    error = PerturbationSyntaxError("unknown operation 'koo'", "TP53:koo", 5, "write ko")
    assert str(error) == "unknown operation 'koo'\n  TP53:koo\n       ^\nwrite ko"
    assert (error.problem, error.text, error.position, error.remedy) == (
        "unknown operation 'koo'",
        "TP53:koo",
        5,
        "write ko",
    )
    assert isinstance(error, ValueError)


def test_position_may_lie_just_behind_the_text():
    assert str(PerturbationSyntaxError("p", "AB", 2, "r")) == "p\n  AB\n    ^\nr"


def test_long_text_is_cut_around_the_position():
    text = "a" * 100 + "!" + "b" * 100
    _, excerpt, caret, _ = str(PerturbationSyntaxError("p", text, 100, "r")).split("\n")
    assert excerpt == "  ..." + "a" * 60 + "!" + "b" * 59 + "..."
    assert excerpt[caret.index("^")] == "!"


@pytest.mark.parametrize("blank", ["\n", "\t", "\u2028"])
def test_line_breaks_and_tabs_do_not_move_the_caret(blank):
    _, excerpt, caret, _ = str(PerturbationSyntaxError("p", f"A{blank}:kk", 3, "r")).split("\n")
    assert (excerpt, caret) == ("  A :kk", "     ^")


def test_pickle_and_copy_keep_everything():
    error = PerturbationSyntaxError("p", "A:kk", 2, "r")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is PerturbationSyntaxError
        assert (str(twin), twin.text, twin.position, twin.remedy) == (str(error), "A:kk", 2, "r")
