r"""What changes in a what-if experiment: the :class:`Perturbation` value, its edits and its text grammar.

Text is made of terms ``TARGET:OP`` joined by ``+``; blanks around ``+`` and ``:`` are free, and blank text changes
nothing.

======================== ===================================================================
term                     meaning
======================== ===================================================================
``TP53:ko``              set to 0
``MYC:x2``, ``MYC:x0.5`` multiply
``MYC:=5``               set to 5
``MYC:+3``, ``MYC:-3``   add, subtract; counts stop at 0
``MYC:thin0.5``          keep each molecule with probability 0.5; counts only, needs a seed
``{TP53,MDM2}:ko``       the same for every member of a feature set
``down{NEFL,STMN2}:x0``  the same with a name
``z3:+2``, ``z3:-1.5``   move latent dimension 3, counted from 0
``z3:=0``, ``z3:x0.5``   set it, scale it
``phospho:hide``         hide a modality
``cell_line:swap(HMEC)`` swap a context
======================== ===================================================================

*Names.* A bare name holds anything but blanks and ``+ , { } ( ) "``. The operation follows the last single colon (one
that is not part of ``::``), so ``BCR::ABL1:ko``, ``HLA-DRA:ko`` and ``chr1:10-20:ko`` need no quotes. Other names, and
features called like a latent dimension, are written in double quotes: ``"z3":ko``; inside, ``\"`` and ``\\`` stand for
``"`` and ``\``.

*Sets.* A bare name found in ``sets=`` stands for that set, also where a feature has that name; a quoted name is always
a feature. The value keeps the members, so its text is self-contained.

*Plus signs.* Where an operation must start, ``+`` adds; after an operation, it joins: ``MYC:+3 + TP53:ko``. A number
runs as far as it can: ``MYC:x1e+3`` multiplies by 1000.

*Equality.* Terms on different targets may be written in any order. Terms that share a target, also through a set, are
carried out in the order written. ``ko``, ``x0`` and ``=0`` are different values that do the same to counts.
"""

from __future__ import annotations

from scwhatif.perturbation._edit import Edit
from scwhatif.perturbation._perturbation import Perturbation
from scwhatif.perturbation._syntax_error import PerturbationSyntaxError

__all__ = ["Edit", "Perturbation", "PerturbationSyntaxError"]
