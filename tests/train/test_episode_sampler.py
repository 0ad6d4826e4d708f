import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.train import EpisodeSampler


def data(sizes=(200, 150, 90), share=0.2, unlabelled=0.0, seed=0):
    rng = np.random.default_rng(seed)
    lines = np.repeat(np.arange(len(sizes)), sizes)
    labels = (rng.uniform(size=len(lines)) < share).astype(float)
    labels[rng.uniform(size=len(lines)) < unlabelled] = np.nan
    return lines, labels


def sub_batches(sampler):
    for episode in sampler:
        for g in np.unique(episode.group):
            own = episode.group == g
            yield episode.rows[own & episode.support], episode.rows[own & ~episode.support]


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(3, 120), min_size=1, max_size=5),
    n_support=st.integers(1, 40),
    n_query=st.integers(1, 40),
    per_episode=st.integers(1, 4),
)
def test_every_sub_batch_is_one_line_with_support_apart_from_query(sizes, n_support, n_query, per_episode):
    lines, labels = data(sizes)
    sampler = EpisodeSampler(lines, labels, n_support=n_support, n_query=n_query, lines_per_episode=per_episode)
    for support, query in sub_batches(sampler):
        assert len(np.unique(lines[np.concatenate([support, query])])) == 1
        assert 1 <= len(support) <= n_support
        assert 1 <= len(query) <= n_query
        assert not set(support) & set(query)
        assert len(set(query)) == len(query)
        assert len(set(support)) == len(support)


def test_sizes_of_the_source_and_lines_next_to_each_other():
    lines, labels = data((400, 400))
    for episode in EpisodeSampler(lines, labels, lines_per_episode=2):
        assert len(episode.rows) == 128
        assert (np.diff(episode.group) >= 0).all()
        assert episode.support.sum() == 64


def test_lines_come_equally_often():
    lines, labels = data((900, 300, 130))
    sampler = EpisodeSampler(lines, labels, lines_per_episode=2)
    counts = np.zeros(3)
    for _ in range(3):
        for support, _query in sub_batches(sampler):
            counts[lines[support[0]]] += 1
    assert np.ptp(counts) <= 1


def test_epoch_has_as_many_steps_as_rows_fill():
    lines, labels = data((640, 640))
    assert len(EpisodeSampler(lines, labels, lines_per_episode=2)) == 10


def test_no_query_row_twice_before_all_rows_were_used():
    lines, labels = data((96,))
    sampler = EpisodeSampler(lines, labels, n_support=8, n_query=32, lines_per_episode=1)
    queries = [query for _ in range(3) for _, query in sub_batches(sampler)][:3]
    assert len(np.unique(np.concatenate(queries))) == 96


def test_same_seed_same_episodes_and_epochs_differ():
    lines, labels = data()

    def rows(seed):
        sampler = EpisodeSampler(lines, labels, seed=seed)
        return [np.concatenate([e.rows for e in sampler]) for _ in range(2)]

    first, again, other = rows(1), rows(1), rows(2)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_unlabelled_rows_are_support_only_and_unlabelled_lines_left_out():
    lines, labels = data((200, 200, 200), unlabelled=0.6)
    labels[lines == 2] = np.nan
    seen = set()
    for support, query in sub_batches(EpisodeSampler(lines, labels, lines_per_episode=4)):
        assert not np.isnan(labels[query]).any()
        seen |= set(lines[query])
        assert np.isnan(labels[support]).any()
    assert seen == {0, 1}


def test_positive_share_holds_for_the_query_and_never_for_the_support():
    lines, labels = data((2000, 2000), share=0.05)
    sampler = EpisodeSampler(lines, labels, positive_share=0.5, lines_per_episode=2)
    queries, supports = zip(*[(labels[q].mean(), labels[s].mean()) for s, q in sub_batches(sampler)], strict=True)
    np.testing.assert_allclose(queries, 0.5)
    assert np.mean(supports) < 0.1


def test_small_line_gives_half_of_itself():
    lines, labels = data((200, 20))
    sampler = EpisodeSampler(lines, labels, lines_per_episode=2)
    support, query = next(s for s in sub_batches(sampler) if lines[s[0][0]] == 1)
    assert len(support) == 10
    assert len(query) == 10


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [({"n_support": 0}, "n_support=0"), ({"positive_share": 1.0}, "positive_share"), ({"n_query": 0}, "n_query=0")],
)
def test_bad_numbers(kwargs, match):
    with pytest.raises(ValueError, match=match):
        EpisodeSampler(*data(), **kwargs)


def test_bad_rows():
    with pytest.raises(ValueError, match="No training row has a label"):
        EpisodeSampler([0, 0], [np.nan, np.nan])
    with pytest.raises(ValueError, match=r"\[1\] have a single training row"):
        EpisodeSampler([0, 0, 0, 1], [0, 1, 0, 1])
