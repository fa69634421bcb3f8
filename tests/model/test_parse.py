"""Answers with boxes, masks and labels, well-formed and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.boxes import Box, Segment, format_objects
from model.parse import Status, parse

SEG16 = "".join(f"<seg{number:03}>" for number in range(0, 128, 8))
CODES = tuple(range(0, 128, 8))


def locs(*numbers: int) -> str:
    return "".join(f"<loc{number:04}>" for number in numbers)


def box(*numbers: int, label: str = "", scale: int = 1023) -> Box:
    return Box(*(number / scale for number in numbers), label=label)


def test_a_box_is_read_as_y_min_x_min_y_max_x_max():
    parsed = parse(f"{locs(0, 341, 682, 1023)} cat")
    assert parsed.status is Status.OK
    assert parsed.boxes == (Box(y_min=0, x_min=1 / 3, y_max=2 / 3, x_max=1, label="cat"),)
    assert parsed.boxes[0].pixels(width=300, height=600) == (100, 0, 300, 400)
    assert parsed.text == ""


def test_several_objects_are_read_in_the_order_written():
    parsed = parse(f"{locs(1, 2, 3, 4)} cat ; {locs(5, 6, 7, 8)} big dog ; {locs(1, 1, 1, 1)}")
    assert parsed.boxes == (
        box(1, 2, 3, 4, label="cat"),
        box(5, 6, 7, 8, label="big dog"),
        box(1, 1, 1, 1),
    )
    assert (parsed.status, parsed.segments) == (Status.OK, ())


@pytest.mark.parametrize("label", ["kid's shoe", "t-shirt", "café au lait", "No. 5 (red) > 3", "é"])
def test_labels_keep_apostrophes_hyphens_and_all_else(label):
    parsed = parse(f"{locs(1, 2, 3, 4)} {label} ; {locs(5, 6, 7, 8)} {label}")
    assert [each.label for each in parsed.boxes] == [label, label]


@pytest.mark.parametrize("space", ["", " "])
def test_a_mask_is_its_box_and_sixteen_codes(space):
    parsed = parse(f"{locs(1, 2, 3, 4)}{space}{SEG16} cat", wants_objects=True)
    assert parsed.segments == (Segment(box(1, 2, 3, 4, label="cat"), CODES),)
    assert parsed.boxes == (box(1, 2, 3, 4, label="cat"),)
    assert parsed.status is Status.OK


def test_text_may_stand_before_and_after_objects():
    parsed = parse(f"I see {locs(1, 2, 3, 4)} cat ; and {locs(5, 6, 7, 8)} dog ; that is all")
    assert parsed.text == "I see and that is all"
    assert [each.label for each in parsed.boxes] == ["cat", "dog"]
    assert parsed.status is Status.OK


@pytest.mark.parametrize(
    "answer", ["a cat; and a dog;", "<html> 1 < 2", "the <location>", "x<loc>"]
)
def test_an_answer_without_pieces_is_its_text_untouched(answer):
    parsed = parse(f" {answer}\n")
    assert (parsed.text, parsed.objects, parsed.status) == (answer, (), Status.OK)


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_nothing_written_is_empty(answer):
    assert parse(answer).status is parse(answer, wants_objects=True).status is Status.EMPTY


@pytest.mark.parametrize(
    "bad",
    [
        locs(1, 2, 3) + " cat",
        locs(1, 2, 3, 4, 5) + " cat",
        locs(1, 2, 3, 1024) + " cat",
        locs(1, 2) + " " + locs(3, 4) + " cat",
        "<loc0001><loc0002><loc12><loc0004> cat",
        locs(1, 2, 3, 4) + SEG16[:-8] + " cat",
        locs(1, 2, 3, 4) + SEG16 + "<seg001> cat",
        locs(1, 2, 3, 4) + SEG16.replace("<seg120>", "<seg128>") + " cat",
        locs(1, 2, 3, 4) + " cat <seg001>",
        locs(1, 2, 3, 4) + " cat <b>",
        SEG16 + " cat",
    ],
)
def test_a_malformed_part_is_set_aside_and_the_objects_around_it_kept(bad):
    good = f"{locs(1, 2, 3, 4)} first", f"{locs(5, 6, 7, 8)} last"
    parsed = parse(f"{good[0]} ; {bad} ; {good[1]}")
    assert [each.label for each in parsed.boxes] == ["first", "last"]
    assert parsed.status is Status.MALFORMED
    assert "".join(parsed.rejected).replace(" ", "") == bad.replace(" ", "")
    assert parse(bad).objects == ()


def test_an_inverted_box_is_not_kept():
    for numbers in ((3, 2, 1, 4), (1, 4, 3, 2)):
        parsed = parse(f"{locs(*numbers)} cat ; {locs(1, 2, 3, 4)} dog")
        assert parsed.status is Status.INVERTED
        assert parsed.boxes == (box(1, 2, 3, 4, label="dog"),)
        assert parsed.rejected == (f"{locs(*numbers)} cat",)


def test_text_in_place_of_boxes_is_malformed_only_where_boxes_were_asked_for():
    assert parse("no cat here").status is Status.OK
    parsed = parse("no cat here", wants_objects=True)
    assert (parsed.status, parsed.text) == (Status.MALFORMED, "no cat here")


def test_an_answer_that_ran_out_of_tokens_keeps_what_was_complete():
    parsed = parse(f"{locs(1, 2, 3, 4)} cat ; {locs(5, 6)}", truncated=True, wants_objects=True)
    assert parsed.status is Status.TRUNCATED
    assert parsed.boxes == (box(1, 2, 3, 4, label="cat"),)
    assert parsed.rejected == (locs(5, 6),)
    assert parse("a long capt", truncated=True).status is Status.TRUNCATED


def test_the_location_scale_is_a_setting():
    answer = f"{locs(0, 0, 512, 1023)} cat"
    assert parse(answer).boxes[0].x_max == 1
    assert parse(answer, location_scale=1024).boxes == (Box(0, 0, 0.5, 1023 / 1024, "cat"),)
    with pytest.raises(ValueError, match="1000"):
        parse(answer, location_scale=1000)


@pytest.mark.parametrize("label", ["a;b", "a<b", " a", "a ", "a\nb"])
def test_a_label_that_could_not_be_read_back_is_not_written(label):
    with pytest.raises(ValueError, match="label"):
        format_objects([Box(0, 0, 1, 1, label)])


@pytest.mark.parametrize(
    "sides", [(0.2, 0, 0.1, 1), (0, 0.2, 1, 0.1), (0, 0, 1, 1.01), (-0.1, 0, 1, 1)]
)
def test_a_box_outside_the_picture_or_inverted_can_not_be_made(sides):
    with pytest.raises(ValueError, match="a box needs"):
        Box(*sides)


@pytest.mark.parametrize("codes", [(), (1,) * 15, (1,) * 17, (128,) * 16, (-1,) * 16])
def test_a_mask_has_sixteen_codes_below_128(codes):
    with pytest.raises(ValueError, match="16 codes"):
        Segment(Box(0, 0, 1, 1), codes)


LABELS = st.text(st.characters(exclude_characters=";<", exclude_categories=["C", "Z"]), max_size=12)
LOCATIONS = st.integers(0, 1023)


@st.composite
def objects(draw, scale):
    (y_min, y_max), (x_min, x_max) = (sorted((draw(LOCATIONS), draw(LOCATIONS))) for _ in "yx")
    words = draw(st.lists(LABELS.filter(bool), max_size=3))
    one = box(y_min, x_min, y_max, x_max, label=" ".join(words), scale=scale)
    codes = draw(st.none() | st.lists(st.integers(0, 127), min_size=16, max_size=16))
    return one if codes is None else Segment(one, tuple(codes))


@given(st.sampled_from((1023, 1024)), st.data())
def test_what_is_formatted_is_read_back(scale, data):
    written = data.draw(st.lists(objects(scale), min_size=1, max_size=5))
    parsed = parse(format_objects(written, scale), wants_objects=True, location_scale=scale)
    assert parsed.objects == tuple(written)
    assert (parsed.status, parsed.rejected) == (Status.OK, ())


PIECES = st.one_of(
    st.sampled_from([locs(1), locs(1, 2, 3, 4), locs(9, 9, 1, 1), "<loc12>", "<loc9999>"]),
    st.sampled_from([SEG16, "<seg001>", "<seg128>", "<loc", "<seg"]),
    st.sampled_from([" ; ", ";", " ", "<", ">", "cat", "kid's", "\n"]),
)


@given(st.text() | st.lists(PIECES, max_size=12).map("".join), st.booleans(), st.booleans())
def test_whatever_the_model_writes_is_read_without_raising(answer, wants_objects, truncated):
    parsed = parse(answer, wants_objects=wants_objects, truncated=truncated)
    if parsed.status is Status.OK:
        assert parsed.rejected == ()
    assert all(part in answer for part in parsed.rejected)
    assert truncated == (parsed.status is Status.TRUNCATED)
