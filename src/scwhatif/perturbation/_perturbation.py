"""The value that says what changes in a what-if experiment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scwhatif.perturbation._apply_columns import MatrixT, apply_columns, n_columns_of
from scwhatif.perturbation._canonical_order import canonical_order
from scwhatif.perturbation._edit import KINDS, Edit, Kind, feature_edit
from scwhatif.perturbation._grammar import Sets, read_perturbation, read_terms
from scwhatif.perturbation._read_frame import read_frame
from scwhatif.perturbation._resolve import resolve_features, resolve_latent

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Perturbation:
    """What changes: an ordered, immutable, hashable sequence of edits.

    Perturbations add up: ``a + b`` carries out the edits of ``a``, then those of ``b``. Two that differ only in the
    order of edits on different targets are equal; edits that share a target, also through a set, keep their order.
    ``Perturbation()`` changes nothing and is falsy. ``str`` writes the canonical text, which is read back.

    Parameters
    ----------
    edits
        Text, as for :meth:`parse` without ``sets``; or the edits, in the order they are carried out. Stored in
        canonical order.

    Raises
    ------
    PerturbationSyntaxError
        If the text does not follow the grammar.
    TypeError
        If something is neither text nor an :class:`Edit`.

    Examples
    --------
    >>> knockout = Perturbation("TP53:ko")
    >>> knockout + Perturbation("MYC:x2")
    Perturbation('MYC:x2 + TP53:ko')
    >>> Perturbation("MYC:x2") + knockout == knockout + Perturbation("MYC:x2")
    True
    """

    edits: tuple[Edit, ...]

    def __init__(self, edits: Iterable[Edit] | str = ()) -> None:
        found = tuple(read_perturbation(edits, None) if isinstance(edits, str) else edits)
        for edit in found:
            if not isinstance(edit, Edit):
                msg = f"a Perturbation is made of text such as 'TP53:ko', or of Edit; got {edit!r}"
                raise TypeError(msg)
        object.__setattr__(self, "edits", canonical_order(found))

    @classmethod
    def parse(cls, text: str, *, sets: Sets | None = None) -> Perturbation:
        """Read a perturbation from text; :mod:`scwhatif.perturbation` describes the grammar.

        Parameters
        ----------
        text
            Terms, or blank text for the perturbation that changes nothing.
        sets
            Feature sets by name. A bare name found here stands for the set, also where a feature has that name; a
            quoted name is always a feature. The members become part of the value, so its text is self-contained.

        Returns
        -------
        The perturbation.

        Raises
        ------
        PerturbationSyntaxError
            If the text does not follow the grammar; it shows where and says what to write.

        Examples
        --------
        >>> Perturbation.parse("z3:+2 + ALS_down:x0.5", sets={"ALS_down": ["STMN2", "NEFL"]})
        Perturbation('ALS_down{NEFL,STMN2}:x0.5 + z3:+2')
        """
        return cls(tuple(read_perturbation(text, sets)))

    @classmethod
    def from_dict(cls, terms: Mapping[str, str | float], *, sets: Sets | None = None) -> Perturbation:
        """Build from targets and what happens to them.

        Parameters
        ----------
        terms
            Keys are targets and values operations, both written as in :meth:`parse`. A number is a factor. Quote a
            key that needs it, or use :meth:`from_frame`, :meth:`knockout` or :meth:`scale`, which take names as is.
        sets
            As in :meth:`parse`.

        Returns
        -------
        The perturbation.

        Raises
        ------
        PerturbationSyntaxError, TypeError
            If a key or value does not follow the grammar, or is neither text nor a number.

        Examples
        --------
        >>> Perturbation.from_dict({"TP53": "ko", "MYC": 2.0, "z3": "+2"})
        Perturbation('MYC:x2 + TP53:ko + z3:+2')
        """
        return cls(tuple(read_terms(terms, sets)))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, gene: str = "gene", factor: str = "factor") -> Perturbation:
        """Build from a table with one factor per row, such as dosage effects.

        Parameters
        ----------
        frame
            One edit per row; a feature in several rows is scaled once for each.
        gene, factor
            Columns of feature names, taken as they are, and of factors.

        Returns
        -------
        The perturbation.

        Raises
        ------
        KeyError
            If a column is missing.
        ValueError, TypeError
            If a factor is negative, infinite, missing or no number, or a name is empty, missing or no str.

        Examples
        --------
        >>> import pandas as pd
        >>> Perturbation.from_frame(pd.DataFrame({"gene": ["NEFL", "STMN2"], "factor": [0.5, 1.5]}))
        Perturbation('NEFL:x0.5 + STMN2:x1.5')
        """
        return cls(tuple(read_frame(frame, gene=gene, factor=factor)))

    @classmethod
    def knockout(cls, features: str | Iterable[str]) -> Perturbation:
        """Set features to 0, together.

        Parameters
        ----------
        features
            A name or several, taken as they are; several form one set.

        Returns
        -------
        The perturbation, of one edit.

        Examples
        --------
        >>> Perturbation.knockout(["TP53", "MDM2"])
        Perturbation('{MDM2,TP53}:ko')
        """
        return cls((feature_edit(features, "ko"),))

    @classmethod
    def scale(cls, features: str | Iterable[str], factor: float) -> Perturbation:
        """Multiply features by one factor, together.

        Parameters
        ----------
        features
            A name or several, taken as they are; several form one set.
        factor
            At least 0.

        Returns
        -------
        The perturbation, of one edit.

        Examples
        --------
        >>> Perturbation.scale("MYC", 2)
        Perturbation('MYC:x2')
        """
        return cls((feature_edit(features, "x", factor),))

    @classmethod
    def latent(cls, dim: int, delta: float) -> Perturbation:
        """Move one latent dimension.

        Parameters
        ----------
        dim
            The dimension, counted from 0.
        delta
            What is added to it.

        Returns
        -------
        The perturbation, of one edit.

        Examples
        --------
        >>> Perturbation.latent(3, -1.5)
        Perturbation('z3:-1.5')
        """
        return cls((Edit("latent", (f"z{dim}",), "+", delta),))

    @classmethod
    def coerce(
        cls, perturbation: Perturbation | str | Mapping[str, str | float], *, sets: Sets | None = None
    ) -> Perturbation:
        """Accept what a user may pass where a perturbation is wanted.

        Parameters
        ----------
        perturbation
            A perturbation, returned as it is; text for :meth:`parse`; or a mapping for :meth:`from_dict`.
        sets
            As in :meth:`parse`.

        Returns
        -------
        The perturbation.

        Raises
        ------
        TypeError
            If it is none of these.

        Examples
        --------
        >>> Perturbation.coerce("TP53:ko") == Perturbation.coerce({"TP53": "ko"})
        True
        """
        if isinstance(perturbation, Perturbation):
            return perturbation
        if isinstance(perturbation, str):
            return cls.parse(perturbation, sets=sets)
        if isinstance(perturbation, Mapping):
            return cls.from_dict(perturbation, sets=sets)
        msg = f"expected a Perturbation, text such as 'TP53:ko' or a mapping, got {type(perturbation).__name__}"
        raise TypeError(msg)

    def __add__(self, other: Perturbation) -> Perturbation:
        return Perturbation(self.edits + other.edits) if isinstance(other, Perturbation) else NotImplemented

    def __len__(self) -> int:
        return len(self.edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    def __str__(self) -> str:
        return " + ".join(map(str, self.edits))

    def __repr__(self) -> str:
        return f"Perturbation({str(self)!r})"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of target touched, each once, in the order feature, latent, modality, context."""
        found = {edit.kind for edit in self.edits}
        return tuple(kind for kind in KINDS if kind in found)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features touched, each once, sets expanded."""
        return tuple(dict.fromkeys(name for edit in self.edits for name in edit.features))

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets as the grammar writes them, each once."""
        return tuple(dict.fromkeys(edit.target for edit in self.edits))

    def feature_edits(self, var_names: Sequence[str] | pd.Index) -> list[tuple[int, Edit]]:
        """Pair every feature that is edited with its column.

        Parameters
        ----------
        var_names
            Feature names of the data.

        Returns
        -------
        ``(column, edit)`` in order, one pair per member of a set. Edits of other kinds are left out.

        Raises
        ------
        KeyError
            If features are not in ``var_names``; lists all of them, the first ten with close matches.
        ValueError
            If an edited name occurs more than once in ``var_names``.

        Examples
        --------
        >>> for column, edit in Perturbation.parse("{TP53,MYC}:ko").feature_edits(["MYC", "ACTB", "TP53"]):
        ...     print(column, edit)
        0 {MYC,TP53}:ko
        2 {MYC,TP53}:ko
        """
        return resolve_features(self.edits, var_names)

    def latent_edits(self, n_latent: int) -> list[tuple[int, Edit]]:
        """Pair every latent edit with its dimension.

        Parameters
        ----------
        n_latent
            Number of latent dimensions.

        Returns
        -------
        ``(dimension, edit)`` in order. Edits of other kinds are left out.

        Raises
        ------
        ValueError
            If a dimension is out of range; lists all that are.

        Examples
        --------
        >>> [(dim, str(edit)) for dim, edit in Perturbation.parse("z3:+2").latent_edits(10)]
        [(3, 'z3:+2')]
        """
        return resolve_latent(self.edits, n_latent)

    def apply_features(
        self,
        x: MatrixT,
        var_names: Sequence[str] | pd.Index,
        rng: np.random.Generator | int | None = None,
        *,
        clip: bool = True,
    ) -> MatrixT:
        """Carry out the feature edits on a matrix; edits of other kinds are about other arrays.

        Parameters
        ----------
        x
            Observations by features: array, CSR or CSC. Never changed.
        var_names
            Name of each column.
        rng
            Generator or seed; needed if an edit thins. Dense and sparse data draw the same.
        clip
            Whether values are amounts that cannot fall below 0, as in :meth:`Edit.apply`.

        Returns
        -------
        An edited copy of the same format; sparse stays sparse. Integers become ``float64`` only where an edit turns
        them into fractions.

        Raises
        ------
        KeyError
            If features are not in ``var_names``.
        ValueError, TypeError
            If ``x`` is of another type or ``var_names`` does not fit it, or as in :meth:`Edit.apply`.

        Examples
        --------
        >>> import numpy as np
        >>> Perturbation.parse("MYC:x2 + TP53:ko").apply_features(np.array([[1, 2], [3, 4]]), ["TP53", "MYC"])
        array([[0, 4],
               [0, 8]])
        """
        if n_columns_of(x) != len(var_names):
            msg = f"the matrix has {n_columns_of(x)} columns but var_names has {len(var_names)} names"
            raise ValueError(msg)
        return apply_columns(x, self.feature_edits(var_names), rng, clip=clip)

    def apply_latent(self, z: MatrixT) -> MatrixT:
        """Carry out the latent edits on a matrix; edits of other kinds are about other arrays.

        Parameters
        ----------
        z
            Observations by latent dimensions. Never changed.

        Returns
        -------
        An edited copy.

        Raises
        ------
        ValueError
            If ``z`` is not a matrix or lacks a dimension that is edited.

        Examples
        --------
        >>> import numpy as np
        >>> Perturbation.parse("z0:=0 + z1:+2").apply_latent(np.array([[0.5, 1.0]]))
        array([[0., 3.]])
        """
        return apply_columns(z, self.latent_edits(n_columns_of(z)))
