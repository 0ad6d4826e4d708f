"""Silence for what other packages log once per model where many are fitted or read."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet(package: str) -> Iterator[None]:
    """Let a package log nothing below warnings inside the block.

    Parameters
    ----------
    package
        Name of its logger, such as ``"scvi"``.
    """
    logger = logging.getLogger(package)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
