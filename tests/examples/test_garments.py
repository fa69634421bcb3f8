"""The corpus of garments: the same each time, true to its own scenes, and each split by itself."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from garments_data import LEVELS, write_dataset, write_idx
from PIL import Image

from examples.garments import words
from examples.garments.corpus import corpus, main
from examples.garments.fashion import KINDS, DatasetError, load
from examples.garments.network import CONFIG, tokenizer
from examples.garments.outlines import Outlines
from examples.garments.patches import NOTHING, targets
from examples.garments.scenes import SIZE, Studio, tight_box
from examples.garments.tags import DIGITS, LENGTH, LETTERS
from model import small
from model.boxes import Segment
from model.mask_codec import MaskDecoder, paste
from model.parse import Status, parse
from model.tokenizer import Tokenizer

SCENES = 40


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("fashion-mnist"))


@pytest.fixture(scope="module")
def studio(dataset) -> Studio:
    return Studio(load(dataset, "train"))


@pytest.fixture(scope="module")
def outlines() -> Outlines:
    return Outlines.load(small.OUTLINES, small.MASK_CODEC)


@pytest.fixture(scope="module")
def examples(studio, outlines):
    return list(corpus(studio, outlines, 5, SCENES))


def test_what_looks_alike_is_left_out_and_each_split_has_its_own_photographs(dataset):
    for split, level in (("train", LEVELS["train"]), ("test", LEVELS["t10k"])):
        photographs = load(dataset, split)
        assert photographs.pixels.max() == level
        assert len(photographs.pixels) == len(photographs.kinds) == 3 * len(KINDS)
        assert set(photographs.kinds) == set(KINDS.values())


def test_what_is_no_data_set_is_named_with_the_remedy(tmp_path):
    with pytest.raises(DatasetError, match=r"train-images.*can't be read.*dataset-fashion-mnist"):
        load(tmp_path, "train")
    write_dataset(tmp_path)
    with pytest.raises(DatasetError, match="split 'validation'; expected one of train, test"):
        load(tmp_path, "validation")
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.zeros((5, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"labels.*isn't an IDX file of bytes with 1 axes"):
        load(tmp_path, "train")


def test_a_scene_is_the_same_whenever_it_is_drawn(dataset, studio):
    again = Studio(load(dataset, "train"))
    later, earlier = again.scene(5, 3), again.scene(5, 2)
    np.testing.assert_array_equal(later.pixels, studio.scene(5, 3).pixels)
    np.testing.assert_array_equal(earlier.pixels, studio.scene(5, 2).pixels)
    assert (studio.scene(6, 3).pixels != later.pixels).any()


def test_garments_and_tag_lie_apart_and_within_the_scene(examples):
    counts = set()
    for scene in (example.scene for example in examples):
        counts.add(len(scene.garments))
        covered = np.zeros((SIZE, SIZE), int)
        for garment in scene.garments:
            assert tight_box(garment.mask).pixels(SIZE, SIZE) == garment.box.pixels(SIZE, SIZE)
            covered += garment.mask
        if scene.tag:
            left, top, right, bottom = map(round, scene.tag.box.pixels(SIZE, SIZE))
            covered[top:bottom, left:right] += 1
            assert scene.tag.text[0] in LETTERS
            assert scene.tag.text[1] in DIGITS
        assert covered.max() == 1
        centres = [garment.box.x_min + garment.box.x_max for garment in scene.garments]
        assert centres == sorted(centres)
        assert (np.diff(centres) * SIZE / 2 > 4.9).all()
    assert counts == {1, 2, 3, 4, 5}
    assert {example.scene.tag is None for example in examples} == {True, False}


def test_a_garment_shows_its_colour_on_its_mask(examples):
    for scene in (example.scene for example in examples):
        for garment in scene.garments:
            mean = scene.pixels[garment.mask].mean(axis=0)
            if garment.colour in ("red", "green", "blue"):
                assert ("red", "green", "blue")[mean.argmax()] == garment.colour
            if garment.colour == "white":
                assert mean.min() > 0.8 * mean.max()


def test_boxes_and_masks_of_the_answers_lie_on_the_garments(examples):
    decoder = MaskDecoder.load(small.MASK_CODEC)
    for example in examples:
        for pair in example.pairs:
            if pair.task not in ("detect", "segment"):
                continue
            parsed = parse(pair.suffix, wants_objects=True)
            assert parsed.status is Status.OK
            kinds = pair.prefix.split(" ", 1)[1].split(" ; ")
            wanted = [each for each in example.scene.garments if each.kind in kinds]
            assert [box.label for box in parsed.boxes] == [each.kind for each in wanted]
            for found, garment in zip(parsed.objects, wanted, strict=True):
                box = found.box if isinstance(found, Segment) else found
                np.testing.assert_allclose(
                    box.pixels(SIZE, SIZE), garment.box.pixels(SIZE, SIZE), atol=0.06
                )
                if isinstance(found, Segment):
                    values = decoder.decode(np.array([found.codes]))[0]
                    mask = paste(values, box, SIZE, SIZE)
                    # By the typical outline that fits best; these photographs show no garments.
                    assert (mask & garment.mask).sum() > 0.6 * (mask | garment.mask).sum()


def test_answers_are_true_of_their_scenes(examples):
    asked = set()
    for example in examples:
        garments = example.scene.garments
        for pair in words.answers(example.scene, np.random.default_rng(0)):
            question = pair.prefix.removeprefix("answer en ")
            if question == "how many garments are there?":
                assert pair.suffix == str(len(garments))
            elif question.startswith("how many"):
                kind = next(k for k in KINDS.values() if words.plural(k) in question)
                assert pair.suffix == str(sum(g.kind == kind for g in garments))
            elif question.startswith("which colour"):
                kind = question.rstrip("?").split(" the ")[1]
                assert [pair.suffix] == [g.colour for g in garments if g.kind == kind]
            else:
                phrase = question.rstrip("?").split(" there ")[1].removeprefix("an ")
                *colour, kind = phrase.removeprefix("a ").split()
                there = any(g.kind == kind and colour in ([], [g.colour]) for g in garments)
                assert pair.suffix == ("yes" if there else "no")
            asked.add((question.split()[0], pair.suffix))
    assert {("is", "yes"), ("is", "no"), ("how", "0"), ("how", "1")} <= asked


def test_a_caption_names_every_garment_in_order(examples):
    for example in examples:
        caption = words.caption(example.scene).suffix
        places = []
        for garment in example.scene.garments:
            place = caption.index(f"{garment.colour} {garment.kind}", (places or [0])[-1])
            places.append(place)
        assert caption.count(",") + caption.count(" and ") == len(example.scene.garments) - 1


def test_every_word_is_one_piece_and_pieces_have_the_ids_the_network_counts(examples):
    pieces = Tokenizer.from_bytes(tokenizer())
    assert pieces.vocab_size == CONFIG.language.vocab_size
    assert pieces.first_location == CONFIG.language.vocab_size - 1152
    for text in ("a red dress and an orange bag", "answer en how many trousers are there"):
        assert len(pieces.encode(text)) == len(text.split())
    assert len(pieces.encode("<loc0000><loc1023><seg127> boot")) == 4
    for example in examples:
        for pair in example.pairs:
            assert pieces.decode(pieces.encode(pair.suffix)) == pair.suffix


def test_patches_say_what_lies_on_them(examples, outlines):
    for scene in (example.scene for example in examples):
        shown = targets(scene, outlines.numbers(scene), 14)
        for garment in scene.garments:
            y, x = (int(v) for v in np.argwhere(garment.mask).mean(axis=0))
            patch = y // 14 * 8 + x // 14
            assert shown.kind[patch] != NOTHING
        inside = shown.kind != NOTHING
        assert (shown.sides[inside, 2] > shown.sides[inside, 0]).all()
        read = {tuple(each) for each in shown.characters.tolist()} - {(NOTHING,) * LENGTH}
        assert len(read) == (scene.tag is not None)
        assert shown.outline.any()


def test_the_command_writes_the_split_it_is_told_to(dataset, tmp_path):
    arguments = ["--split", "test", "--scenes", "3", "--seed", "8", "--dataset", str(dataset)]
    main([str(tmp_path / "list"), *arguments])
    lines = [json.loads(line) for line in (tmp_path / "list/pairs.jsonl").open()]
    assert {"image", "prefix", "suffix"} == set(lines[0])
    studio = Studio(load(dataset, "test"))
    written = np.asarray(Image.open(tmp_path / "list" / lines[0]["image"]), int)
    assert np.abs(written - studio.scene(8, 0).pixels).mean() < 6

    main([str(tmp_path / "tar"), *arguments, "--format", "webdataset"])
    with tarfile.open(tmp_path / "tar/garments.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert len(members) == 9
    name = "garments-8-000000"
    assert members[f"{name}.txt"].decode() == words.caption(studio.scene(8, 0)).suffix
    metadata = json.loads(members[f"{name}.json"])
    assert metadata["question"].endswith("?")
    assert np.asarray(Image.open(io.BytesIO(members[f"{name}.jpg"]))).shape == (SIZE, SIZE, 3)
    assert {"question", "answer", "detect", "boxes", "segment", "masks", "tag"} == set(metadata)
