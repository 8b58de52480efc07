"""The life of tracks: birth, confirmation, loss, end; ids; events. All windows are in seconds.

A track is `tentative` until it was seen for long enough or surely enough, `confirmed` while the
latest look found it, `lost` from the first look that missed it, and gone when missed for too long.
"""

import copy
from collections.abc import Mapping

import numpy as np

from edge.config import TrackingSettings
from edge.motion import MotionModel
from edge.saved import SavedTracks
from edge.types import Array, Carried, Event, EventType, Floats, Ints, Status, Track

TENTATIVE, CONFIRMED, LOST = 0, 1, 2
STATUS: tuple[Status, ...] = ("tentative", "confirmed", "lost")

_TENTATIVE_SEEN, _CONFIRMED_MISSED, _LOST_SEEN = 1, 2, 5  # twice the status, plus 1 if seen
_BORN_AT, _MATCHED_AT, _DETECTED_AT, _BELIEVED_AT, _SCORE, _PRESENCE = range(6)
_TIMES, _SHARES = slice(_MATCHED_AT, _SCORE), slice(_SCORE, _PRESENCE + 1)
_MOTION = 6
_BOX, _VELOCITY = slice(_MOTION, _MOTION + 4), slice(_MOTION + 4, _MOTION + 6)
_ID, _LABEL, _STATUS = 0, 1, 2


class TrackTable:
    """All live tracks: a row a property, a column a track, oldest first.

    Invariant: ids count up from 1, none is used twice, and a track keeps its label.
    """

    def __init__(self, settings: TrackingSettings, motion: MotionModel) -> None:
        self.events: list[Event] = []
        """What changed in the latest frame."""
        self._settings = settings
        unseen_s = settings.tentative_s, settings.max_lost_s, settings.max_lost_s
        self._longest_unseen_s = np.array(unseen_s)  # by status
        self._motion = motion
        self._floats = np.empty((_MOTION + motion.n_state, 0))  # as the names above say
        self._ints = np.empty((3, 0), np.int64)  # id, label, status
        self._next_id = 1
        self._farewell: list[Event] = []  # of tracks that could not be taken over
        self._all_confirmed = True
        self._all_seen = True  # in the latest frame
        self._placed: Array | None = None  # mask (n,): in the latest frame, by a tracker

    def __len__(self) -> int:
        return self._ints.shape[1]

    def copy(self) -> "TrackTable":
        """Return a table that goes its own way from here."""
        other = copy.copy(self)
        other._floats, other._ints = self._floats.copy(), self._ints.copy()
        other.events, other._farewell = self.events.copy(), self._farewell.copy()
        return other

    @property
    def boxes(self) -> Floats:
        """(4, n) centre x, centre y, width, height; a view."""
        return self._floats[_BOX]

    @property
    def matched_at(self) -> Floats:
        """(n,) when each was last seen, by a detector or by a tracker, seconds; a view."""
        return self._floats[_MATCHED_AT, :]

    @property
    def detected_at(self) -> Floats:
        """(n,) when a detector last saw each, seconds; a view."""
        return self._floats[_DETECTED_AT, :]

    @property
    def scores(self) -> Floats:
        """(n,) of the detection each was last seen as; a view."""
        return self._floats[_SCORE, :]

    @property
    def ids(self) -> Ints:
        """(n,); a view."""
        return self._ints[_ID, :]

    @property
    def labels(self) -> Ints:
        """(n,); a view."""
        return self._ints[_LABEL, :]

    @property
    def status(self) -> Ints:
        """(n,) TENTATIVE, CONFIRMED or LOST; a view."""
        return self._ints[_STATUS, :]

    @property
    def _state(self) -> Floats:
        return self._floats[_MOTION:]

    def begin_frame(self, dt: float) -> None:
        """Carry all tracks forward by dt seconds and forget the last frame's events.

        A gap longer than a lost track may last ends all tracks: none can be told from another.
        """
        self.events, self._farewell = self._farewell, []
        self._all_seen, self._placed = False, None
        if dt > self._settings.max_lost_s:
            self._keep(np.zeros(len(self), bool))
            self._all_confirmed = True
        elif dt > 0 and len(self):
            self._motion.predict(self._state, dt)

    def match(self, columns: Ints, boxes: Floats, scores: Floats, now: float) -> None:
        """Correct the tracks `columns` (m,), in order, by boxes (4, m) and scores (m,) seen now."""
        self._all_seen = len(columns) == len(self)
        if self._all_seen:
            self._motion.correct(self._state, boxes, None, scores)
            self._detected(np.s_[:], boxes, scores, now)
        elif len(columns):
            measured, seen = self.boxes.copy(), np.zeros(len(self), bool)
            measured[:, columns], seen[columns] = boxes, True
            sure = self.scores.copy()
            sure[columns] = scores
            self._motion.correct(self._state, measured, seen, sure)
            self._detected(columns, boxes, scores, now)

    def place(self, carried: Carried, now: float) -> Ints:
        """Put tracks where a recurrent tracker sees them now.

        Returns:
            the columns (m,) that it surely sees: between the two settings for presence, those it
            saw before; none that waits to be confirmed, or that no detector saw for too long.
        """
        columns, rows = common(self.ids, carried.ids)
        self._placed = np.zeros(len(self), bool)
        self._placed[columns] = True
        status, presence = self.status[columns], carried.presence[rows]
        low, high = self._settings.lost_presence, self._settings.found_presence
        present = presence >= np.where(status == LOST, high, low)
        trusted = now - self.detected_at[columns] <= self._settings.trust_s
        measured, seen = self.boxes.copy(), np.zeros(len(self), bool)
        measured[:, columns], seen[columns] = _centred(carried.boxes[rows]), present
        self._motion.correct(self._state, measured, seen, self.scores)
        self.boxes[:] = measured
        self._floats[_PRESENCE, columns], self._floats[_BELIEVED_AT, columns] = presence, now
        sure = columns[present & trusted & (status != TENTATIVE)]
        self._floats[_MATCHED_AT, sure] = now
        return sure

    def settle(self, columns: Ints, now: float) -> None:
        """Confirm, find, lose and end tracks after a look that saw the tracks `columns` (m,)."""
        if self._all_confirmed and len(columns) == len(self):
            return
        case = self.status * 2
        case[columns] += 1
        new, lost, found = (case == k for k in (_TENTATIVE_SEEN, _CONFIRMED_MISSED, _LOST_SEEN))
        if np.count_nonzero(new):
            new &= now - self._floats[_BORN_AT] >= self._settings.confirm_s
            self._change("new", new, CONFIRMED)
        self._change("found", found, CONFIRMED)
        self._change("lost", lost, LOST)
        if len(columns) < len(self):
            self._keep(now - self.matched_at <= self._longest_unseen_s.take(self.status))
        self._all_confirmed = np.count_nonzero(self.status == CONFIRMED) == len(self)

    def coast(self, now: float, followed: Ints | None = None) -> None:
        """Lose and end tracks after a frame that no detector looked at.

        Args:
            now: seconds.
            followed: the columns (m,) that a recurrent tracker saw of those that it follows; the
                clock alone tells of others, or of all without one.
        """
        unseen_s = now - self.matched_at
        gone = unseen_s > self._settings.coast_s
        if self._placed is not None:
            there = np.zeros(len(self), bool)
            there[followed] = True
            gone[self._placed] = ~there[self._placed]
            self._change("found", there & (self.status == LOST), CONFIRMED)
        self._change("lost", gone & (self.status == CONFIRMED), LOST)
        self._keep(unseen_s <= self._settings.max_lost_s)
        self._all_confirmed = np.count_nonzero(self.status == CONFIRMED) == len(self)

    def rescue(self, columns: Ints) -> None:
        """Take back that this frame's first look missed the tracks `columns` (m,)."""
        ids = set(self.ids[columns].tolist())
        just_lost = {e.id for e in self.events if e.type == "lost" and e.id in ids}
        self.events = [e for e in self.events if not (e.type == "lost" and e.id in ids)]
        self.events += [Event("found", i) for i in sorted(ids - just_lost)]
        self.status[columns] = CONFIRMED
        self._all_confirmed = np.count_nonzero(self.status == CONFIRMED) == len(self)

    def add(self, boxes: Floats, scores: Floats, labels: Ints, at_once: Array, now: float) -> None:
        """Begin a track for each of the boxes (4, n), scores (n,) and labels (n,).

        Those of the mask `at_once` (n,) are confirmed now, the others are tentative.
        """
        n = boxes.shape[1]
        ids = np.arange(self._next_id, self._next_id + n)
        self._next_id += n
        rows = np.full((_SCORE - _BORN_AT, n), now), np.broadcast_to(scores, (2, n))
        floats = np.concatenate((*rows, self._motion.start(boxes, scores)))
        ints = np.array((ids, labels, np.where(at_once, CONFIRMED, TENTATIVE)))
        self._floats = np.concatenate((self._floats, floats), axis=1)
        self._ints = np.concatenate((self._ints, ints), axis=1)
        self._all_confirmed &= bool(at_once.all())
        self._announce("new", ids[at_once])

    def overtake(self, other: "TrackTable") -> None:
        """Take the place of a table that went on from an earlier copy of this one.

        Its tracks that have ended stay so, and `events` is what changes thereby.
        """
        before = dict(zip(other.ids.tolist(), other.status.tolist(), strict=True))
        self._keep(np.isin(self.ids, other.ids) | (self.ids >= other._next_id))
        after = dict(zip(self.ids.tolist(), self.status.tolist(), strict=True))
        self.events = [
            Event("end", i) for i, s in before.items() if i not in after and s != TENTATIVE
        ]
        for i, status in after.items():
            was = before.get(i, TENTATIVE)
            if was == TENTATIVE != status:
                self.events.append(Event("new", i))
            if status == LOST != was:
                self.events.append(Event("lost", i))
            elif status == CONFIRMED and was == LOST:
                self.events.append(Event("found", i))

    def reach(self, now: float) -> Floats:
        """Return how far each may be from where it is expected (n,), in sizes."""
        return self._motion.reach(self._state, now - self.matched_at)

    def freshness(self, now: float) -> Floats:
        """Return what is left (n,), 0..1, of the worth each track had when it was last seen."""
        return self._left(now - self.matched_at)

    def tracks(
        self, now: float, at: float, names: Mapping[int, str], later: Carried | None = None
    ) -> list[Track]:
        """Return all tracks as they are now, `box_now` carried forward to the time `at`.

        Args:
            now: seconds.
            at: seconds.
            names: by label.
            later: where a recurrent tracker expects tracks at that time.
        """
        n = len(self)
        centre, half = self.boxes[:2], self.boxes[2:] * 0.5
        table = np.empty((8, n))
        np.subtract(centre, half, out=table[:2])
        np.add(centre, half, out=table[2:4])
        table[4:6] = self._floats[_VELOCITY]
        table[6:] = self._floats[_SHARES]
        if not self._all_seen:
            table[7] *= self._left(now - self._floats[_BELIEVED_AT])
        left, top, right, bottom, vx, vy, scores, presences = table.round(3).tolist()
        ids, labels, statuses = self._ints.tolist()
        boxes = boxes_now = list(zip(left, top, right, bottom, strict=True))
        if at > now:
            table[:4].reshape(2, 2, n)[...] += table[4:6] * (at - now)
            if later is not None:
                columns, rows = common(self.ids, later.ids)
                table[:4, columns] = later.boxes[rows].T
            boxes_now = list(zip(*table[:4].round(3).tolist(), strict=True))
        labels_text = map(names.__getitem__, labels)
        statuses_text = map(STATUS.__getitem__, statuses)
        columns_text = ids, labels_text, boxes, scores, presences, statuses_text
        return list(map(Track, *columns_text, zip(vx, vy, strict=True), boxes_now))

    def saved(self, at: float | None, names: Mapping[int, str]) -> SavedTracks:
        """Return all that is known, as plain values.

        Args:
            at: Of the latest frame, seconds; None: there was none.
            names: By label.
        """
        ids, labels, statuses = self._ints.tolist()
        return SavedTracks(
            next_id=self._next_id,
            at=at,
            motion=self._motion.name,
            ids=ids,
            labels=list(map(names.__getitem__, labels)),
            status=list(map(STATUS.__getitem__, statuses)),
            rows=self._floats.T.tolist(),
        )

    def restore(self, saved: SavedTracks, labels: Mapping[str, int]) -> None:
        """Go on from what a table knew, this one's or another's; tracks so far are forgotten.

        A track whose label is not known here ends with the next frame.

        Args:
            saved: Its next id is taken where this table's is smaller.
            labels: By name.
        """
        known = np.array([name in labels for name in saved.labels], bool)  # (n,)
        mine = [labels[name] for name in saved.labels if name in labels]
        ids, status = np.array((saved.ids, list(map(STATUS.index, saved.status))), np.int64)
        self._farewell = [Event("end", i) for i in ids[~known & (status != TENTATIVE)].tolist()]
        self._next_id = max(self._next_id, saved.next_id)
        self._ints = np.array((ids[known], mine, status[known]), np.int64)
        if mine:
            floats = np.array(saved.rows)[known].T  # (rows, n)
            self._floats = self._as_mine(floats, saved.motion)
        else:
            self._floats = self._floats[:, :0]
        self._all_confirmed = self._all_seen = False

    def _as_mine(self, floats: Floats, motion: str) -> Floats:
        """Return rows of a table whose state is of some motion model as this table's model has it.

        Of another model's state the box and its velocity are taken.
        """
        if motion == self._motion.name and len(floats) == _MOTION + self._motion.n_state:
            return floats.copy()
        state = self._motion.start(floats[_BOX], floats[_SCORE])
        state[_VELOCITY.start - _MOTION : _VELOCITY.stop - _MOTION] = floats[_VELOCITY]
        return np.concatenate((floats[:_MOTION], state))

    def _detected(self, columns: Ints | slice, boxes: Floats, scores: Floats, now: float) -> None:
        """Note what a detector saw now; a tracker's opinion of the same frame is corrected by it.

        The filter, which took that opinion for a measurement, would correct it too little: a
        tracker's error stays from frame to frame, a detector's does not.
        """
        self._floats[_TIMES, columns] = now
        self._floats[_SCORE, columns] = scores
        if self._placed is not None:
            self.boxes[:, columns] = boxes
            scores = np.maximum(scores, self._floats[_PRESENCE, columns])
        self._floats[_PRESENCE, columns] = scores

    def _left(self, unseen_s: Floats) -> Floats:
        """Return what is left (n,), 0..1, of a belief after so many seconds (n,)."""
        halvings: Floats = unseen_s * (-1.0 / self._settings.presence_half_life_s)
        return np.exp2(halvings)

    def _change(self, event: EventType, mask: Array, status: int) -> None:
        if np.count_nonzero(mask):
            self.status[mask] = status
            self._announce(event, self.ids[mask])

    def _keep(self, kept: Array) -> None:
        if np.count_nonzero(kept) < len(self):
            self._announce("end", self.ids[~kept & (self.status != TENTATIVE)])
            self._floats, self._ints = self._floats[:, kept], self._ints[:, kept]

    def _announce(self, event: EventType, ids: Ints) -> None:
        self.events += [Event(event, i) for i in ids.tolist()]


def common(ids: Ints, others: Ints) -> tuple[Ints, Ints]:
    """Return where the ids that both have stand in the one and in the other, both rising."""
    if np.array_equal(ids, others):
        everywhere = np.arange(len(ids))
        return everywhere, everywhere
    _, columns, rows = np.intersect1d(ids, others, assume_unique=True, return_indices=True)
    return columns, rows


def _centred(boxes: Floats) -> Floats:
    """Return centre x, centre y, width, height (4, n) of left, top, right, bottom (n, 4)."""
    low, high = boxes[:, :2].T, boxes[:, 2:].T
    return np.concatenate(((low + high) * 0.5, high - low))
