"""The picture of a plan: where its boxes and texts are, and that nothing of the plan is missing."""

from __future__ import annotations

from itertools import pairwise
from unicodedata import east_asian_width
from xml.etree import ElementTree as ET

import pytest

from ocifw.display import printable
from ocifw.graph import svg
from ocifw.testing import config_of, plan_of

SVG = "{http://www.w3.org/2000/svg}"
EM = {"h": 13, "t": 15}
"""Sizes of letters in pixels, by class; 12 for all else. A monospaced letter is 0.6 em wide."""


def rich():
    """A config with long, strange and many steps."""
    config = config_of("plain")
    config["hostname"] = "<&>\"'\u202e"
    config["mounts"] += [
        {"destination": f"/{'very-long-' * 20}{n}", "type": "tmpfs", "options": ["nosuid"]}
        for n in range(3)
    ]
    config["mounts"].append({"destination": "/" + "容器" * 60, "type": "tmpfs"})
    config["hooks"] = {
        kind: [{"path": f"/opt/{kind}", "args": ["a b", "\n"]}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }  # fmt: skip
    return config


@pytest.fixture(params=["plain", "rich"])
def plan(request):
    return plan_of(rich() if request.param == "rich" else config_of("plain"))


def number(element, name):
    return float(element.get(name))


def box(element):
    x, y = number(element, "x"), number(element, "y")
    return x, y, x + number(element, "width"), y + number(element, "height")


def picture(plan):
    """The size of the picture, the boxes of phases, and pairs of text and its box, by its class."""
    root = ET.fromstring(svg(plan))
    boxes = [box(one) for one in root.iter(f"{SVG}rect") if one.get("rx")]
    texts = []
    for one in root.iter(f"{SVG}text"):
        kind = one.get("class")
        size = EM.get(kind, 12)
        columns = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in one.text)
        x, y = number(one, "x"), number(one, "y")
        texts.append((kind, one, (x, y - size, x + 0.6 * size * columns, y + 0.3 * size)))
    return root, boxes, texts


def test_boxes(plan):
    """Boxes are inside the picture, do not overlap, and go down in the order of the phases, each in its side's lane."""
    root, boxes, _ = picture(plan)
    width, height = number(root, "width"), number(root, "height")
    own = [phase for phase, steps in plan.phases if steps]
    assert len(boxes) == len(own)
    for (left, top, right, bottom), (_, above) in zip(
        boxes, [(0, 0), *[(b[0], b[3]) for b in boxes]], strict=False
    ):
        assert above < top < bottom <= height and 0 <= left < right <= width
    lanes = {
        phase.side: {b[0] for p, b in zip(own, boxes, strict=True) if p.side == phase.side}
        for phase in own
    }
    assert all(len(lane) == 1 for lane in lanes.values())
    assert lanes["runtime"] != lanes["container"]


def test_texts_are_in_their_boxes(plan):
    """Every text of a phase is inside its box, as wide as a monospaced font makes it, and no two are over each other."""
    _, boxes, texts = picture(plan)
    inside = [(one, place) for kind, one, place in texts if kind != "t"]
    for one, (left, top, right, bottom) in inside:
        assert any(
            b[0] <= left and right <= b[2] and b[1] <= top and bottom <= b[3] for b in boxes
        ), (one.text, right)
    for (_, place), (_, other) in pairwise(inside):
        assert other[1] >= place[3] - 1 or other[0] >= place[2] or other[2] <= place[0]


def test_nothing_is_missing(plan):
    """Each phase, plugin and step is there, in order; what is cut has its whole text as a tip."""
    _, _, texts = picture(plan)
    whole = [one.findtext(f"{SVG}title") or one.text for kind, one, _ in texts if kind == "s"]
    assert whole == [printable(step.describe()) for step in plan.steps]
    headings = [one.text.split(" · ")[0] for kind, one, _ in texts if kind == "h"]
    assert headings == [f"{phase.number} {phase.name}" for phase, steps in plan.phases if steps]
    plugins = {one.text for kind, one, _ in texts if kind == "p"}
    assert plugins == {step.plugin for step in plan.steps}


def test_arrows_join_the_phases(plan):
    """Between one phase and the next there is an arrow, from the bottom of one box to the top of the other."""
    root, boxes, _ = picture(plan)
    arrows = [one.get("d") for one in root.iter(f"{SVG}path") if one.get("marker-end")]
    assert len(arrows) == len(boxes) - 1
    for arrow, one, other in zip(arrows, boxes, boxes[1:], strict=False):
        (x1, y1), (x2, y2) = [tuple(map(float, p[1:].split(","))) for p in arrow.split()]
        assert one[0] < x1 < one[2] and y1 == one[3]
        assert other[0] < x2 < other[2] and y2 == other[1]
