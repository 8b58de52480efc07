"""Is a picture worth a step? A frozen, black or repeated one never reaches the recurrent state."""

import numpy as np

from edge.types import Condition, Image

_STRIDE = 16
_BLACK_MEAN = 16.0
_BLACK_SPREAD = 4.0


class ConditionCheck:
    """Compares each picture of one camera with the one before it.

    Holds the previous picture, not a copy: sources deliver fresh arrays (see `FrameSource.read`).
    """

    def __init__(self, frozen_after_s: float = 1.0) -> None:
        """Set after how many seconds a repeated picture counts as frozen."""
        self._frozen_after_s = frozen_after_s
        self._previous: Image | None = None
        self._sample = np.empty((0, 0, 3), np.uint8)
        self._changed_at = 0.0

    def judge(self, image: Image, captured_at: float) -> Condition:
        """Tell whether a picture is new and shows anything.

        Args:
            image: (height, width, 3); may differ in size from the one before.
            captured_at: Seconds, on the clock of the frames.

        Returns:
            `black` for a dark, even picture without signal; `repeated` for one identical to the
            byte to its predecessor; `frozen` once that lasts; else `good`.
        """
        sample = image[::_STRIDE, ::_STRIDE].copy()
        same = self._same(image, sample)
        self._previous, self._sample = image, sample
        if not same:
            self._changed_at = captured_at
        if sample.mean() < _BLACK_MEAN and sample.std() < _BLACK_SPREAD:
            return "black"
        if not same:
            return "good"
        return "frozen" if captured_at - self._changed_at > self._frozen_after_s else "repeated"

    def _same(self, image: Image, sample: Image) -> bool:
        """Compare a fraction first: noise tells nearly all pictures apart there."""
        return (
            self._previous is not None
            and np.array_equal(sample, self._sample)
            and np.array_equal(image, self._previous)
        )
