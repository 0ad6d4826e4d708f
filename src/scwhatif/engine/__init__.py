"""Encoders and decoders taken apart, and the screens that run on them; nothing here knows AnnData."""

from __future__ import annotations

from scwhatif.engine._decoder_plan import DecoderPlan
from scwhatif.engine._encoder_plan import CellStates, EncoderPlan, encoder_plan
from scwhatif.engine._feature_counts import FeatureCounts
from scwhatif.engine._fused_tail import FusedTail
from scwhatif.engine._item_table import Item, ItemTable
from scwhatif.engine._loading_rotation import RotationMethod, loading_rotation
from scwhatif.engine._orthomax import orthomax
from scwhatif.engine._pair_edits import PairEdits
from scwhatif.engine._pair_epistasis import EpistasisSums, pair_epistasis
from scwhatif.engine._read_rows import by_rows, read_rows
from scwhatif.engine._readout import DistanceReadout, LinearReadout, Readout
from scwhatif.engine._readout_plan import ReadoutPlan
from scwhatif.engine._screen import Screen, ScreenSums
from scwhatif.engine._screen_store import ScreenStore

__all__ = [
    "CellStates",
    "DecoderPlan",
    "DistanceReadout",
    "EncoderPlan",
    "EpistasisSums",
    "FeatureCounts",
    "FusedTail",
    "Item",
    "ItemTable",
    "LinearReadout",
    "PairEdits",
    "Readout",
    "ReadoutPlan",
    "RotationMethod",
    "Screen",
    "ScreenStore",
    "ScreenSums",
    "by_rows",
    "encoder_plan",
    "loading_rotation",
    "orthomax",
    "pair_epistasis",
    "read_rows",
]
