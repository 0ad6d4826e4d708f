"""Logging inside and after a quiet block."""

from __future__ import annotations

import logging

import pytest

from scwhatif._quiet import quiet


def test_only_warnings_are_logged_inside_the_block(caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("scwhatif_test")
    logger.setLevel(logging.INFO)
    with quiet("scwhatif_test"):
        logger.info("read a file")
        logger.warning("the file is old")
    logger.info("done")
    assert caplog.messages == ["the file is old", "done"]


def test_the_level_is_put_back_after_an_error():
    logger = logging.getLogger("scwhatif_test")
    logger.setLevel(logging.DEBUG)
    with pytest.raises(OSError, match="unreadable"), quiet("scwhatif_test"):
        raise OSError("unreadable")
    assert logger.level == logging.DEBUG
