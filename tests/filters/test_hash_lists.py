"""Lists of known pictures, and what they do: benchmarks are dropped, the blocklist halts."""

from __future__ import annotations

import hashlib
import io
import pickle
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from filters.blocklist import Blocklist, BlocklistHit
from filters.contract import Item, Verdict
from filters.decontamination import decontamination_filter
from filters.hash_lists import parse_hash_list, read_hash_list, read_pictures
from filters.perceptual_hash import hash_pixels

ASTRONAUT, COFFEE, CHELSEA = data.astronaut(), data.coffee(), data.chelsea()


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def reread(pixels: np.ndarray, quality: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded(pixels, "JPEG", quality=quality))))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def benchmark_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "val").mkdir()
    (folder / "val" / "one.png").write_bytes(encoded(ASTRONAUT))
    (folder / "two.JPG").write_bytes(encoded(COFFEE, "JPEG"))
    (folder / "annotations.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def decontamination(benchmark_folder):
    return decontamination_filter(read_pictures(benchmark_folder))


def test_the_same_file_is_dropped_before_it_is_decoded(benchmark_folder, decontamination):
    content = (benchmark_folder / "val" / "one.png").read_bytes()
    decision = decontamination.screen([Item("a", encoded=content)])[0]
    assert (decision.verdict, decision.reason) == (Verdict.DROP, "benchmark_image")
    assert decision.labels == ("benchmark:val/one.png",)
    assert (decision.score, decision.threshold) == (0, 32)


@pytest.mark.parametrize(
    ("copy", "name"),
    [
        (reread(ASTRONAUT, 30), "val/one.png"),
        (np.asarray(Image.fromarray(COFFEE).resize((300, 200))), "two.JPG"),
        (np.ascontiguousarray(COFFEE[:, ::-1]), "two.JPG"),
        (COFFEE[20:, 30:], "two.JPG"),
    ],
    ids=["jpeg", "half size", "mirrored", "cropped"],
)
def test_altered_copies_of_benchmark_pictures_are_dropped(decontamination, copy, name):
    decision = decontamination.screen([Item("a", encoded=encoded(copy), pixels=copy)])[0]
    assert decision.verdict is Verdict.DROP
    assert decision.labels == (f"benchmark:{name}",)
    assert 0 < decision.score <= 31


def test_another_picture_is_kept_and_a_batch_keeps_its_order(decontamination):
    items = [Item("a", pixels=CHELSEA), Item("b"), Item("c", pixels=ASTRONAUT)]
    decisions = decontamination.screen(items)
    assert [d.verdict for d in decisions] == [Verdict.KEEP, Verdict.NO_VERDICT, Verdict.DROP]
    assert decisions[0].scores == {"benchmark_distance": 32, "pdq_quality": 100}
    assert decisions[0].labels == ()


def test_a_picture_with_little_in_it_is_compared_by_file_alone(tmp_path):
    plain = np.full((64, 64, 3), 200, np.uint8)
    (tmp_path / "plain.png").write_bytes(encoded(plain))
    known = read_pictures(tmp_path)
    other = np.full((80, 80, 3), 10, np.uint8)
    decisions = decontamination_filter(known).screen(
        [
            Item("a", encoded=encoded(other), pixels=other),
            Item("b", encoded=encoded(plain), pixels=plain),
        ]
    )
    assert [d.verdict for d in decisions] == [Verdict.KEEP, Verdict.DROP]


def test_an_unreadable_benchmark_picture_is_refused_by_name(tmp_path):
    (tmp_path / "whole.png").write_bytes(encoded(COFFEE))
    (tmp_path / "cut.png").write_bytes(encoded(COFFEE)[:5000])
    with pytest.raises(ValueError, match=r"cut\.png: not a picture that can be read"):
        read_pictures(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        read_pictures(tmp_path)


def test_a_list_may_hold_both_kinds_with_and_without_names(tmp_path):
    pdq = hash_pixels(ASTRONAUT).hex
    path = tmp_path / "list.txt"
    path.write_text(f"# ours\n\nsha256:{sha256(b'x')} VQA v2/1.jpg\npdq:{pdq.upper()}\n")
    known = read_hash_list(path)
    assert known.by_file(b"x") == "VQA v2/1.jpg"
    assert known.by_file(b"y") is None
    assert known.by_hash(hash_pixels(ASTRONAUT).bits[None]) == [(f"pdq:{pdq.upper()}", 0)]
    assert known.by_hash(hash_pixels(COFFEE).bits[None]) == [(None, 32)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("md5:00", "neither sha256: nor pdq:"),
        ("sha256:00", "64 hexadecimal digits, this has 2"),
        ("pdq:" + "g" * 64, "non-hexadecimal"),
        ("0" * 64, "neither"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, problem):
    with pytest.raises(ValueError, match=f"bad.txt, line 2: .*{problem}"):
        parse_hash_list(["# fine", line], "bad.txt")


@given(st.lists(st.text()))
def test_any_text_is_a_list_or_a_named_line(lines):
    try:
        known = parse_hash_list(lines, "any.txt")
    except ValueError as problem:
        assert str(problem).startswith("any.txt, line ")  # noqa: PT017
    else:
        assert len(known.pdq) == len(known.pdq_names)


def test_the_version_names_the_list_whatever_its_order():
    lines = [f"sha256:{sha256(b'x')} x", f"pdq:{'0' * 64} p", f"pdq:{'1' * 64} q"]
    one, other = parse_hash_list(lines, "a"), parse_hash_list(lines[::-1], "b")
    assert one.digest == other.digest
    assert decontamination_filter(one).scorer.version == f"1+{one.digest}"
    assert parse_hash_list(lines[:2], "a").digest != one.digest
    assert parse_hash_list(lines, "a", threshold=20).digest != one.digest


def blocklist(*lines: str) -> Blocklist:
    return Blocklist(parse_hash_list(lines, "list.txt"))


def test_a_file_on_the_blocklist_halts_before_decoding():
    content = encoded(COFFEE)
    listed = blocklist(f"sha256:{sha256(content)} secret-name")
    listed.check_file(Item("other", encoded=content + b"\0"))
    with pytest.raises(BlocklistHit) as hit:
        listed.check_file(Item("0123abcd", encoded=content))
    assert hit.value.record_id == "0123abcd"


@pytest.mark.parametrize("side", [None, 512])
def test_a_near_picture_halts_however_the_list_was_made(side):
    listed = blocklist(f"pdq:{hash_pixels(COFFEE, side).hex}")
    listed.check_pixels(Item("a", pixels=CHELSEA))
    with pytest.raises(BlocklistHit):
        listed.check_pixels(Item("a", pixels=reread(COFFEE, 30)))


def test_a_picture_with_little_in_it_matches_no_perceptual_hash():
    plain = np.full((64, 64, 3), 200, np.uint8)
    listed = blocklist(f"pdq:{hash_pixels(plain).hex}", f"pdq:{hash_pixels(plain, None).hex}")
    listed.check_pixels(Item("a", pixels=plain))


def test_an_empty_blocklist_and_an_item_without_bytes_pass():
    blocklist().check_pixels(Item("a", pixels=COFFEE))
    blocklist(f"sha256:{sha256(b'x')}").check_file(Item("a"))


def test_a_hit_carries_the_record_id_and_nothing_else():
    content = b"the bytes of a benign picture"
    listed = blocklist(f"sha256:{sha256(content)} secret-name")
    item = Item("0123abcd", text="a caption", encoded=content)
    with pytest.raises(BlocklistHit) as hit:
        listed.check_file(item)
    again = pickle.loads(pickle.dumps(hit.value))
    for error in (hit.value, again):
        assert error.__cause__ is None
        assert error.__context__ is None
        said = "".join(traceback.format_exception(error)) + repr(vars(error))
        assert "0123abcd" in said
        for secret in ("benign", "caption", "secret-name", sha256(content)):
            assert secret not in said
