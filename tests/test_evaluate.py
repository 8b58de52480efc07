"""Following one target, measured: sequences that are made here, followers that are known."""

from dataclasses import replace

import numpy as np
import pytest

from edge.evaluation import evaluate
from edge.evaluation.metrics import Found, judge, presence_auc
from edge.evaluation.passes import HORIZONS_S, Pass, covered, run_pass
from edge.evaluation.protocols import frames_since_given, jittered, named
from edge.evaluation.sequences import AnnotatedSequence, find_sequences
from edge.follower import Followed, Stays

NAN = (np.nan,) * 4


class Knows:
    """Says the truth of each frame by its time, and forecasts it if told to."""

    name = "knows"

    def __init__(self, truth, ahead=False):
        self.truth, self.ahead = truth, ahead
        self.calls = []

    def start(self, *given):
        self.calls.append(("start", round(given[-1] * 30)))

    def anchor(self, *given):
        self.calls.append(("anchor", round(given[-1] * 30)))

    def step(self, *given):
        frame = round(given[-1] * 30)
        self.calls.append(("step", frame))

        def forecast(seconds):
            return tuple(self.truth[min(round(frame + seconds * 30), len(self.truth) - 1)])

        return Followed(tuple(self.truth[frame]), 1.0, forecast if self.ahead else None)


def moving(frames, step=2.0):
    """A box of 20x10 that goes to the right."""
    return np.array([(10 + step * k, 20, 30 + step * k, 30) for k in range(frames)], np.float64)


def sequence(truth):
    return AnnotatedSequence("made", tuple(range(len(truth))), np.array(truth, np.float64), 30.0)


def pictures(frames):
    return [np.zeros((60, 80, 3), np.uint8)] * frames


def said(truth, boxes, presence=None, since=None, hidden=None):
    """A pass in which the follower said these boxes of these frames, after one given box."""
    n = len(truth)
    boxes = np.array(boxes, np.float64)
    return Pass(
        0,
        np.arange(n),
        np.arange(n) if since is None else np.array(since),
        np.zeros(n, bool) if hidden is None else np.array(hidden),
        boxes,
        np.ones(n) if presence is None else np.array(presence, np.float64),
        np.repeat(boxes[:, None], len(HORIZONS_S), axis=1),
    )


def test_who_says_the_truth_scores_full_marks_in_every_protocol():
    truth = moving(40)
    protocols = named(["ope", "r10", "r30", "s3"])
    results = evaluate([Knows(truth, ahead=True)], [made(truth)], protocols, seeds=2)
    for protocol in protocols:
        summary = results.summary("knows", protocol.name)
        assert summary["iou"].mean == 1.0
        assert summary["p20"].mean == summary["np"].mean == 1.0
        assert summary["auc"].mean == pytest.approx(20 / 21)  # an overlap of 1 is not over 1
        assert summary["f33"].mean == summary["f100"].mean == summary["f333"].mean == 0.0


def made(truth):
    """A sequence whose pictures need no disk."""

    class InMemory(AnnotatedSequence):
        def decode(self):
            return pictures(len(self))

    return InMemory("made", tuple(range(len(truth))), truth, 30.0)


def test_a_box_that_stays_falls_behind_by_what_the_target_moves():
    truth = moving(12)
    boxes = np.array([NAN, *([truth[0]] * 11)])
    scores = judge(said(truth, boxes), sequence(truth))
    overlaps = [max(20 - 2 * k, 0) / (20 + 2 * min(k, 10)) for k in range(1, 12)]
    assert scores.scored == 11
    assert scores.means["iou"] == pytest.approx(np.mean(overlaps))
    assert scores.means["p20"] == pytest.approx(10 / 11)  # after 11 frames it is 22 px off


def test_success_counts_overlaps_over_each_of_21_thresholds():
    truth = np.tile([0.0, 0, 10, 10], (2, 1))
    scores = judge(said(truth, [NAN, (0, 0, 5.2, 10)]), sequence(truth))
    assert scores.means["auc"] == pytest.approx(11 / 21)  # 0, .05 ... .5 are under .52


def test_a_box_held_where_a_forecast_is_missing_errs_by_the_motion_in_sizes():
    truth = moving(30, step=1.0)
    scores = judge(said(truth, np.vstack([[NAN], truth[1:]])), sequence(truth))
    size = np.sqrt(20 * 10)
    for name, frames in (("f33", 1), ("f100", 3), ("f333", 10)):
        assert scores.means[name] == pytest.approx(frames / size)


def test_forecasts_are_judged_in_seconds_also_between_frames():
    truth = moving(30, step=3.0)
    slow = replace(sequence(truth), fps=15.0)
    scores = judge(said(truth, np.vstack([[NAN], truth[1:]])), slow)
    assert scores.means["f33"] == pytest.approx(1.5 / np.sqrt(200))  # half a frame


def test_forecasts_of_a_follower_off_its_target_do_not_count():
    truth = moving(30)
    scores = judge(said(truth, np.vstack([[NAN], truth[1:] + 100])), sequence(truth))
    assert np.isnan(scores.means["f33"])


def test_a_box_that_is_no_number_overlaps_nothing():
    truth = moving(3)
    scores = judge(said(truth, [NAN, truth[1], NAN]), sequence(truth))
    assert scores.means["iou"] == 0.5
    assert scores.means["p20"] == 0.5


def test_presence_is_compared_between_frames_on_and_off_the_target():
    truth = np.tile([0.0, 0, 10, 10], (5, 1))
    boxes = [NAN, truth[0], truth[0], truth[0] + 50, (0, 0, 10, 2)]
    scores = judge(said(truth, boxes, [0, 0.9, 0.4, 0.5, 0.7]), sequence(truth))
    assert scores.on.tolist() == [0.9, 0.4]
    assert scores.off.tolist() == [0.5]  # an overlap of .2 is neither
    assert presence_auc(scores.on, scores.off) == 0.5


@pytest.mark.parametrize(
    ("on", "off", "auc"),
    [([0.9, 0.8], [0.1, 0.2], 1.0), ([0.1], [0.9], 0.0), ([0.5, 0.5], [0.5], 0.5)],
)
def test_presence_auc_is_the_chance_of_the_right_order(on, off, auc):
    assert presence_auc(np.array(on), np.array(off)) == auc


def test_presence_auc_of_one_kind_of_frame_alone_is_not_there():
    assert np.isnan(presence_auc(np.array([0.5]), np.empty(0)))


def test_a_target_out_of_view_counts_as_recovered_if_it_is_found_within_a_second():
    truth = np.tile([0.0, 0, 10, 10], (50, 1))
    truth[5:8] = np.nan
    there, away = (0, 0, 10, 10), (50, 50, 60, 60)
    early = [NAN, *[there] * 4, *[away] * 20, *[there] * 25]
    late = [NAN, *[there] * 4, *[away] * 34, *[there] * 11]
    assert judge(said(truth, early), sequence(truth)).recovered == Found(1, 1)
    assert judge(said(truth, late), sequence(truth)).recovered == Found(0, 1)


def test_a_target_that_was_lost_before_it_left_or_never_comes_back_is_no_recovery():
    truth = np.tile([0.0, 0, 10, 10], (20, 1))
    truth[5:8] = np.nan
    lost = [NAN, *[(50, 50, 60, 60)] * 19]
    assert judge(said(truth, lost), sequence(truth)).recovered == Found(0, 0)
    truth[8:] = np.nan
    assert judge(said(truth, [NAN, *[truth[0]] * 19]), sequence(truth)).recovered == Found(0, 0)


def test_a_lost_target_counts_as_found_again_only_before_a_box_is_given():
    truth = np.tile([0.0, 0, 10, 10], (8, 1))
    there, away = (0, 0, 10, 10), (50, 50, 60, 60)
    alone = said(truth, [NAN, there, away, away, there, away, there, there])
    assert judge(alone, sequence(truth)).refound == Found(2, 2)
    helped = said(
        truth, [NAN, there, away, NAN, there, away, there, there], since=[*range(3), *range(5)]
    )
    assert judge(helped, sequence(truth)).refound == Found(1, 2)


def test_a_box_is_given_every_so_many_frames_and_waits_for_the_truth():
    truth = moving(8)
    truth[[0, 4, 5]] = np.nan
    assert frames_since_given(truth, 3).tolist() == [-1, 0, 1, 2, 3, 4, 0, 1]
    assert frames_since_given(truth, 0).tolist() == [-1, 0, 1, 2, 3, 4, 5, 6]


def test_given_boxes_are_off_by_a_tenth_and_the_same_for_the_same_seed():
    box = np.array([100.0, 100, 120, 140])
    boxes = np.array([jittered(box, "a", frame, 0) for frame in range(500)])
    off = ((boxes[:, :2] + boxes[:, 2:]) / 2 - (110, 120)) / (20, 40)
    grown = np.log((boxes[:, 2:] - boxes[:, :2]) / (20, 40))
    for noise in (off, grown):
        assert 0.095 < np.abs(noise).max() <= 0.1
        assert np.abs(noise.mean(axis=0)).max() < 0.01
    assert jittered(box, "a", 3, 0) == tuple(boxes[3])
    assert len({jittered(box, name, 3, seed) for name in "ab" for seed in range(3)}) == 6


def test_a_fresh_start_forgets_and_a_kept_state_is_anchored_after_the_step():
    truth = moving(21)
    fresh, kept = Knows(truth), Knows(truth)
    run_pass(fresh, pictures(21), sequence(truth), named(["r10"])[0], 0)
    run_pass(kept, pictures(21), sequence(truth), named(["r10"], keep_state=True)[0], 0)
    assert [call for call in fresh.calls if call[0] == "start"] == [
        ("start", k) for k in (0, 10, 20)
    ]
    assert ("step", 10) not in fresh.calls
    assert kept.calls[:2] == [("start", 0), ("step", 1)]
    assert kept.calls[10:12] == [("step", 10), ("anchor", 10)]
    assert ("start", 10) not in kept.calls


def test_every_third_frame_is_three_frames_apart_in_time():
    truth = moving(40)
    follower = Knows(truth)
    done = run_pass(follower, pictures(40), sequence(truth), named(["s3"])[0], 0)
    assert [frame for _, frame in follower.calls] == list(range(0, 40, 3))
    assert done.since.tolist() == [*range(10), *range(4)]


def test_a_hidden_target_is_behind_one_board_over_all_the_places_it_takes():
    truth = moving(30)
    shown = []

    class Looks(Knows):
        def step(self, image, captured_at):
            shown.append(image)
            return super().step(image, captured_at)

    images = [np.full((60, 120, 3), (200, 0, 0), np.uint8) for _ in range(30)]
    for image, box in zip(images, truth.astype(int), strict=True):
        image[box[1] : box[3], box[0] : box[2]] = 255
    done = run_pass(Looks(truth), images, sequence(truth), named(["hide"])[0], 0)
    assert np.flatnonzero(done.hidden).tolist() == list(range(10, 20))
    seen = [bool((image == 255).all(axis=2).any()) for image in shown]
    assert seen == [True] * 9 + [False] * 10 + [True] * 10
    assert all(np.array_equal(image, shown[9]) for image in shown[9:19])  # it does not move
    assert (images[12] == 255).any()  # the picture itself is as it was
    scores = judge(done, sequence(truth))
    assert (scores.scored, len(scores.on), len(scores.off)) == (19, 19, 10)
    assert scores.recovered == Found(1, 1)


def test_a_board_is_cut_at_the_edges_and_needs_a_place():
    image = np.zeros((10, 10, 3), np.uint8)
    image[:5] = 100
    board = covered(image, np.array([(-5.0, 4, 3, 30), NAN]))
    assert (board[4:, :3] == 50).all()
    assert (board[:4] == 100).all()
    assert covered(image, np.array([NAN])) is image


def test_standard_errors_are_over_seeds_and_presence_is_pooled():
    truth = moving(30)
    results = evaluate([Stays()], [made(truth)], named(["ope", "r10"]), seeds=3)
    (row,) = [row for row in results.rows if row.protocol.name == "r10"]
    values = [scores.means["iou"] for scores in row.passes]
    found = results.summary("stays", "r10")["iou"]
    assert len({*values}) == 3
    assert found.mean == pytest.approx(np.mean(values))
    assert found.error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))
    assert len(results.rows[0].passes) == 4
    assert results.presence("stays").mean == 0.5


def test_the_same_seeds_give_the_same_numbers_in_any_company():
    truth = moving(30)
    alone = evaluate([Stays()], [made(truth)], named(["r10"]))
    beside = evaluate([Knows(truth), Stays()], [made(truth)], named(["s3", "r10"]))
    assert repr(alone.summary("stays", "r10")) == repr(beside.summary("stays", "r10"))


@pytest.mark.slow
def test_on_real_video_a_box_that_stays_keeps_two_fifths_of_a_target_for_ten_frames(shared):
    results = evaluate([Stays()], find_sequences(shared / "sot", frames=100), named(["r10"]))
    found = results.summary("stays", "r10")["iou"]
    assert found.mean == pytest.approx(0.411, abs=0.01)
    assert found.error < 0.005
