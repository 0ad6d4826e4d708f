"""What differs between releases of MuData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def without_pulling() -> AbstractContextManager[Any]:
    """Let MuData be built inside the block without copying columns of its modalities, and without a warning about it.

    Returns
    -------
    The block.
    """
    import mudata

    # mudata 0.4 replaced set_options by settings
    settings: Any = getattr(mudata, "settings", None)
    options: Any = mudata.set_options if settings is None else settings.override
    block: AbstractContextManager[Any] = options(pull_on_update=False)
    return block
