from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scwhatif.perturbation import Edit
from scwhatif.perturbation._canonical_order import canonical_order

MEMBERS = st.sets(st.sampled_from("ABCD"), min_size=1, max_size=3).map(tuple)
EDITS = st.one_of(
    st.builds(Edit, st.just("feature"), MEMBERS, st.just("x"), st.integers(0, 2)),
    st.builds(Edit, st.just("feature"), MEMBERS, st.just("ko"), set_name=st.sampled_from(["", "S"])),
    st.builds(Edit, st.just("latent"), st.sampled_from([("z1",), ("z2",), ("z10",)]), st.just("+"), st.integers(0, 2)),
    st.just(Edit("modality", ("A",), "hide")),
)
SEQUENCES = st.lists(EDITS, max_size=6)


def histories(edits):
    """What happens to each thing in turn: all that an effect can depend on."""
    seen: dict[tuple[str, str], list[Edit]] = {}
    for edit in edits:
        for name in edit.members:
            seen.setdefault((edit.kind, name), []).append(edit)
    return seen


@given(SEQUENCES)
def test_what_happens_to_each_thing_stays_the_same(edits):
    ordered = canonical_order(edits)
    assert len(ordered) == len(edits)
    assert histories(ordered) == histories(edits)


@given(SEQUENCES, st.randoms(use_true_random=False))
def test_orders_agree_exactly_where_histories_do(edits, random):
    shuffled = random.sample(edits, len(edits))
    same = histories(edits) == histories(shuffled)
    assert (canonical_order(edits) == canonical_order(shuffled)) == same


@given(SEQUENCES)
def test_is_idempotent(edits):
    assert canonical_order(canonical_order(edits)) == canonical_order(edits)


def test_sorts_by_kind_and_target():
    edits = [
        Edit("context", ("c",), "swap", "d"),
        Edit("modality", ("m",), "hide"),
        Edit("latent", ("z10",), "+", 1),
        Edit("latent", ("z2",), "+", 1),
        Edit("feature", ("B",), "ko"),
        Edit("feature", ("A", "C"), "ko"),
    ]
    assert [str(edit) for edit in canonical_order(edits)] == [
        "{A,C}:ko",
        "B:ko",
        "z2:+1",
        "z10:+1",
        "m:hide",
        "c:swap(d)",
    ]


def test_many_edits_are_sorted_fast_and_right():
    names = [f"g{i:05d}" for i in range(20_000)]
    edits = [Edit("feature", (name,), "ko") for name in reversed(names)]
    assert [edit.members[0] for edit in canonical_order(edits)] == names
