"""Episodes: several cell lines per step, each as a support set and a query set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Episode:
    """Rows of one step, the rows of a cell line next to each other.

    Attributes
    ----------
    rows
        Positions of the rows, int.
    group
        Which sub-batch, hence which line, every row belongs to: 0, 1 …
    support
        Whether a row is in the support set, whose labels are not read; the others are the query.
    """

    rows: np.ndarray
    group: np.ndarray
    support: np.ndarray


class _Deck:
    """Rows dealt without replacement until they run out, then shuffled again."""

    def __init__(self, rows: np.ndarray, rng: np.random.Generator) -> None:
        self.rows, self.rng = rows, rng
        self.order = rng.permutation(rows)
        self.at = 0

    def deal(self, n: int) -> np.ndarray:
        if self.at + n > len(self.order):
            rest = self.order[self.at :]
            # what is left stays on top of the new deck, so that no row is left out and none comes twice in a deal
            fresh = self.rng.permutation(self.rows)
            held = np.isin(fresh, rest)
            self.order = np.concatenate([rest, fresh[~held], fresh[held]])
            self.at = 0
        hand = self.order[self.at : self.at + n]
        self.at += n
        return hand


class EpisodeSampler:
    """Deals episodes of several single-line sub-batches.

    Every line comes equally often, whatever its size, and no row is used twice before all rows of its line were
    used. A sub-batch is a support set, from which the environment of the line is read, and a query set.

    Parameters
    ----------
    lines
        Cell line of every training row, int codes.
    labels
        Label of every training row, NaN where it is not known. The query needs labels, the support does not. A line
        without any label is left out.
    n_support, n_query
        Rows of a sub-batch; a smaller line gives what it has, half of it as support.
    lines_per_episode
        Sub-batches per episode, at most the number of lines; 1 is one line per step.
    positive_share
        Share of positives in the query; ``None`` leaves it as it is in the data. The support always is as in the
        data.
    seed
        Two samplers with the same seed deal the same episodes; every epoch deals others.

    Raises
    ------
    ValueError
        No row has a label, a line has fewer than two rows, or a number is out of range.
    """

    def __init__(
        self,
        lines: Sequence[int] | np.ndarray,
        labels: Sequence[float] | np.ndarray,
        *,
        n_support: int = 32,
        n_query: int = 32,
        lines_per_episode: int = 4,
        positive_share: float | None = None,
        seed: int | None = 0,
    ) -> None:
        self.lines = np.asarray(lines, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.float64)
        for name, value in [
            ("n_support", n_support),
            ("n_query", n_query),
            ("lines_per_episode", lines_per_episode),
        ]:
            if value < 1:
                msg = f"{name}={value} must be at least 1."
                raise ValueError(msg)
        if positive_share is not None and not 0 < positive_share < 1:
            msg = f"positive_share={positive_share} must be between 0 and 1."
            raise ValueError(msg)
        labelled = ~np.isnan(self.labels)
        self.known_lines = np.unique(self.lines[labelled])
        if not len(self.known_lines):
            msg = "No training row has a label; nothing can be learnt."
            raise ValueError(msg)
        small = [int(c) for c in self.known_lines if (self.lines == c).sum() < 2]
        if small:
            msg = f"Cell line(s) with code {small} have a single training row; a support and a query set need two."
            raise ValueError(msg)
        self.n_support, self.n_query = n_support, n_query
        self.lines_per_episode = min(lines_per_episode, len(self.known_lines))
        self.positive_share = positive_share
        self.rng = np.random.default_rng(seed)
        n_rows = int(np.isin(self.lines, self.known_lines).sum())
        self.n_episodes = max(1, round(n_rows / ((n_support + n_query) * self.lines_per_episode)))
        self._turn = 0
        self._support_decks = {int(c): _Deck(np.flatnonzero(self.lines == c), self.rng) for c in self.known_lines}
        self._query_decks: dict[int, list[_Deck]] = {}
        for c in self.known_lines:
            parts = [labelled]
            if positive_share is not None:
                parts = [self.labels == 1, self.labels == 0]
            rows = [np.flatnonzero((self.lines == c) & part) for part in parts]
            self._query_decks[int(c)] = [_Deck(r, self.rng) for r in rows if len(r)]

    def __len__(self) -> int:
        return self.n_episodes

    def __iter__(self) -> Iterator[Episode]:
        for _ in range(self.n_episodes):
            parts = [self._sub_batch(line) for line in self._next_lines()]
            yield Episode(
                rows=np.concatenate([np.concatenate(part) for part in parts]),
                group=np.repeat(np.arange(len(parts)), [len(s) + len(q) for s, q in parts]),
                support=np.concatenate([np.repeat([True, False], [len(s), len(q)]) for s, q in parts]),
            )

    def _next_lines(self) -> list[int]:
        chosen = [
            int(self.known_lines[(self._turn + k) % len(self.known_lines)]) for k in range(self.lines_per_episode)
        ]
        self._turn = (self._turn + self.lines_per_episode) % len(self.known_lines)
        return chosen

    def _sub_batch(self, line: int) -> tuple[np.ndarray, np.ndarray]:
        decks = self._query_decks[line]
        n_rows = len(self._support_decks[line].rows)
        n_support = min(self.n_support, n_rows // 2)
        if len(decks) == 2:
            n_positive = max(1, round(self.n_query * float(self.positive_share or 0.0)))
            sizes = [min(n_positive, len(decks[0].rows)), min(self.n_query - n_positive, len(decks[1].rows))]
        else:
            sizes = [min(self.n_query, len(decks[0].rows))]
        if n_rows < self.n_support + self.n_query:
            room = max(n_rows - n_support, 1)
            sizes = [max(1, size * room // max(sum(sizes), 1)) if sum(sizes) > room else size for size in sizes]
        query = np.concatenate([deck.deal(size) for deck, size in zip(decks, sizes, strict=True)])
        deck = self._support_decks[line]
        # the support may hold rows that are queried in another step, never those of this one
        support = deck.deal(min(n_support + len(query), n_rows))
        support = support[~np.isin(support, query)][:n_support]
        return support, query
