from pathlib import Path

import numpy as np
import pytest

from scripts.peers.page import table, write_between_marks

PAGE = "# A\n\n<!-- x:begin -->\nold\n<!-- x:end -->\nkept\n<!-- y:begin -->\ny\n<!-- y:end -->\n"


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_between_marks(page, "x", "new\nlines\n")
    assert page.read_text() == PAGE.replace("old", "new\nlines")


def test_writing_the_same_table_twice_changes_nothing(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_between_marks(page, "y", "new")
    once = page.read_text()
    write_between_marks(page, "y", "new")
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["", PAGE + PAGE, "<!-- x:end --><!-- x:begin -->"])
def test_a_page_without_one_pair_of_marks_is_refused_and_left_alone(tmp_path: Path, text: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="has no one pair of marks <!-- x:begin -->"):
        write_between_marks(page, "x", "new")
    assert page.read_text() == text


def test_the_page_has_a_place_for_each_table(tmp_path: Path):
    page = tmp_path / "peers.md"
    page.write_text((Path(__file__).parents[1] / "docs" / "peers.md").read_text())
    for name in ("association", "faces"):
        write_between_marks(page, name, f"the {name} table")
        assert f"the {name} table" in page.read_text()


def test_a_table_aligns_its_numbers_to_the_right():
    text = table(["tool", "ms"], [["a", "1"], ["b", "2"]])
    assert text.splitlines() == ["| tool | ms |", "| --- | ---: |", "| a | 1 |", "| b | 2 |"]


@pytest.fixture
def peers():
    for module in ("trackers", "supervision", "norfair", "motpy", "trackeval"):
        pytest.importorskip(module, reason="the peers live in scripts/compare-peers' environment")
    from scripts.peers.adapters import PEERS

    return PEERS


@pytest.mark.filterwarnings("ignore")
def test_every_adapter_keeps_two_walkers_apart(peers):
    first = np.array([[100.0, 100, 140, 200], [400, 100, 440, 200]])
    for peer in peers:
        tracker = peer.make(30.0)
        frames = []
        for k in range(20):
            output = tracker.update(first + 2.0 * k, np.array([0.9, 0.9]), k / 30)
            frames.append(sorted(tracker.rows(output), key=lambda row: row[1]))
        assert {tuple(row[0] for row in rows) for rows in frames[10:]} == {
            (frames[-1][0][0], frames[-1][1][0])
        }, peer.title
        boxes = [row[1:] for row in frames[-1]]
        np.testing.assert_allclose(boxes, first + 38.0, atol=8, err_msg=peer.title)


@pytest.mark.filterwarnings("ignore")
def test_every_adapter_takes_a_frame_without_detections(peers):
    for peer in peers:
        tracker = peer.make(10.0)
        output = tracker.update(np.empty((0, 4)), np.empty(0), 0.0)
        assert tracker.rows(output) == [], peer.title
