"""Batches of several identities with several rows each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

_DEFAULT_IDENTITIES = 16


class PKSampler:
    r"""Deals batches of :math:`P` identities with :math:`K` distinct rows each.

    Rows of an identity in one batch come from different exams where it has several. Every row that can be an anchor is
    dealt at least once per epoch, and no row twice in a batch. An identity with fewer than :math:`K` rows gives all it
    has. An identity with one row, or seen in one exam only, has no positive and is left out.

    An epoch is decided by ``seed`` and its number alone (:meth:`set_epoch`, which Lightning calls). Several processes
    share the identities out anew in each epoch, so that no row is dealt by two of them, and deal equally many batches.

    Parameters
    ----------
    identities
        Identity of every row, integer codes.
    n_identities
        :math:`P`; ``None`` is 16, or all there are for each process.
    n_per_identity
        :math:`K`, at least 2.
    exams
        Exam of every row, integer codes; ``None`` lets any two rows be a pair.
    rows
        Positions that may be dealt; all by default.
    seed
        ``None`` draws one.
    rank, world_size
        Which of how many processes this is.

    Raises
    ------
    ValueError
        A number is out of range, lengths differ, fewer than two identities have a pair, or there are fewer than
        ``n_identities``.
    TypeError
        Identities or exams are not integers.

    Examples
    --------
    >>> import scwhatif as wi
    >>> sampler = wi.train.PKSampler([0, 0, 0, 0, 1, 1, 2, 2, 3], n_identities=2, n_per_identity=2, seed=0)
    >>> [len(rows) for rows in sampler], sampler.eligible.tolist()
    ([4, 4], [0, 1, 2, 3, 4, 5, 6, 7])
    """

    def __init__(
        self,
        identities: ArrayLike,
        *,
        n_identities: int | None = None,
        n_per_identity: int = 4,
        exams: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        seed: int | None = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        codes = _integers(identities, "identities")
        seen_in = None if exams is None else _integers(exams, "exams")
        if seen_in is not None and seen_in.shape != codes.shape:
            msg = f"exams must hold one code for each of the {len(codes)} rows, not {len(seen_in)}."
            raise ValueError(msg)
        for name, value, least in (
            ("n_identities", n_identities, 2),
            ("n_per_identity", n_per_identity, 2),
            ("world_size", world_size, 1),
        ):
            if value is not None and value < least:
                msg = f"{name}={value} must be at least {least}."
                raise ValueError(msg)
        if not 0 <= rank < world_size:
            msg = f"rank={rank} must be from 0 to {world_size - 1}."
            raise ValueError(msg)
        dealt = np.arange(len(codes)) if rows is None else _integers(rows, "rows")
        own = codes[dealt]
        self.eligible = np.sort(dealt[has_positive(own, None if seen_in is None else seen_in[dealt])])
        order = self.eligible[np.argsort(codes[self.eligible], kind="stable")]
        self._rows = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
        self._exams = [None if seen_in is None else seen_in[each] for each in self._rows]
        available = len(self._rows) // world_size
        self.n_identities = min(_DEFAULT_IDENTITIES, available) if n_identities is None else n_identities
        if available < max(self.n_identities, 2):
            what = "two rows" if seen_in is None else "rows in two exams"
            msg = (
                f"{len(self._rows)} of {len(np.unique(own))} identities have {what}, which is fewer than the "
                f"{max(self.n_identities, 2)} identities of a batch"
                + (f" in each of {world_size} processes" if world_size > 1 else "")
                + "; lower n_identities, or give more identities (an identity_key with repeats, another exam_key)."
            )
            raise ValueError(msg)
        self.n_per_identity = n_per_identity
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._n_batches = self._longest_epoch()

    def __len__(self) -> int:
        return self._n_batches

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next.

        Parameters
        ----------
        epoch
            Its number.
        """
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        mine = np.sort(rng.permutation(len(self._rows))[self.rank :: self.world_size])
        rng = np.random.default_rng([self.seed, self.epoch, self.rank])
        hands = [self._deal(int(identity), rng) for identity in mine]
        # what fills up a batch once an identity has dealt all its rows
        spare: list[list[NDArray[np.int64]]] = [[] for _ in mine]
        for _ in range(self._n_batches):
            left = np.array([len(each) for each in hands])
            # the most hands first, so that all run out together; ties at random
            batch = []
            for place in np.lexsort((rng.random(len(left)), -left))[: self.n_identities]:
                if not hands[place] and not spare[place]:
                    spare[place] = self._deal(int(mine[place]), rng)
                batch.append((hands[place] or spare[place]).pop())
            yield np.concatenate(batch).tolist()

    def _deal(self, identity: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Hands of ``n_per_identity`` rows that together are all rows of an identity."""
        rows, exams = self._rows[identity], self._exams[identity]
        if exams is None:
            return [self._full(hand, rows, rng) for hand in _chunks(rng.permutation(rows), self.n_per_identity)]
        order = rng.permutation(len(rows))
        order = order[_interleaved(exams[order])]
        hands, at = [], 0
        while at < len(order):
            hand = order[at : at + self.n_per_identity]
            if (exams[hand] == exams[hand[0]]).all():
                # one place for a row of another exam, so that every row has a positive
                hand = hand[: self.n_per_identity - 1]
                at += len(hand)
                hand = np.append(hand, rng.choice(np.flatnonzero(exams != exams[hand[0]])))
            else:
                at += len(hand)
            hands.append(self._full(rows[hand], rows, rng))
        return [hands[i] for i in rng.permutation(len(hands))]

    def _full(self, hand: NDArray, rows: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
        missing = min(self.n_per_identity, len(rows)) - len(hand)
        if missing <= 0:
            return hand
        return np.concatenate([hand, rng.choice(rows[~np.isin(rows, hand)], missing, replace=False)])

    def _longest_epoch(self) -> int:
        """Batches that suffice however the identities are shared out."""
        rng = np.random.default_rng(0)
        # how many hands an identity needs does not depend on which of its rows lie where
        n_hands = np.sort([len(self._deal(i, rng)) for i in range(len(self._rows))])[::-1]
        share = -(-len(n_hands) // self.world_size)
        return max(int(n_hands[0]), -(-int(n_hands[:share].sum()) // self.n_identities))


def has_positive(identities: NDArray, exams: NDArray | None) -> NDArray[np.bool_]:
    """Which rows have another row of their identity, in another exam if there are exams.

    Parameters
    ----------
    identities
        Identity of every row, integer codes.
    exams
        Exam of every row, integer codes, or ``None``.

    Returns
    -------
    ``(n_rows,)``.
    """
    frame = pd.DataFrame({"identity": identities})
    n_rows = frame.groupby("identity")["identity"].transform("size").to_numpy()
    if exams is None:
        return n_rows > 1
    n_same = frame.assign(exam=exams).groupby(["identity", "exam"])["exam"].transform("size").to_numpy()
    return n_rows > n_same


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    codes = np.asarray(values)
    if codes.dtype.kind not in "iu":
        msg = f"{name} must be integer codes, not {codes.dtype}: pandas.factorize gives such codes of anything."
        raise TypeError(msg)
    if codes.ndim != 1:
        msg = f"{name} must have one dimension, not {codes.ndim}."
        raise ValueError(msg)
    return codes.astype(np.int64)


def _chunks(rows: NDArray, size: int) -> list[NDArray]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _interleaved(exams: NDArray) -> NDArray[np.int64]:
    """Order in which the rows of every exam are spread evenly."""
    order = np.argsort(exams, kind="stable")
    ordered = exams[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[first, len(exams)])
    place = (np.arange(len(exams)) - np.repeat(first, sizes) + 0.5) / np.repeat(sizes, sizes)
    return order[np.argsort(place, kind="stable")]
