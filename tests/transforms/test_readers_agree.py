"""Real photographs come out of each input format as the same records."""

import dataclasses

import pytest
from corpus import FORMATS, real_pictures, records_of, write_corpus

from transforms.images import decode
from transforms.planning import plan
from transforms.readers import ReaderOptions, read
from transforms.unit import Unit


@pytest.fixture(scope="module")
def pictures():
    return real_pictures()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_bytes_text_and_metadata_as_they_were_written(
    tmp_path, pictures, format
):
    pattern = write_corpus(tmp_path, pictures, format)
    records = records_of(pattern)
    assert [record.error for record in records] == [None] * len(pictures)
    read_back = [(r.encoded, r.text, dict(r.metadata)) for r in records]
    assert read_back == [(p.data, p.text, p.metadata) for p in pictures]
    assert len({record.id for record in records}) == len(pictures)


@pytest.mark.parametrize("format", FORMATS)
def test_small_units_give_the_same_records_as_large_ones(tmp_path, pictures, format):
    pattern = write_corpus(tmp_path, pictures, format)
    sizes = {"rows_per_unit": 5, "lines_per_unit": 5, "files_per_unit": 5}
    small, large = records_of(pattern, **sizes), records_of(pattern)
    if format == "files":  # a loose file's index is its place in its group
        small, large = (
            [dataclasses.replace(r, source=dataclasses.replace(r.source, index=0)) for r in side]
            for side in (small, large)
        )
    assert small == large


@pytest.mark.parametrize("format", FORMATS)
def test_a_unit_survives_json_and_knows_its_records(tmp_path, pictures, format):
    units = plan([write_corpus(tmp_path, pictures, format)])
    for unit in units:
        again = Unit.from_json(unit.to_json())
        assert again == unit
        assert again.size > 0
        assert again.version
        count = len(list(read(again, ReaderOptions())))
        assert unit.records in (None, count)


def test_every_picture_is_decoded(pictures):
    for picture in pictures:
        info, pixels = decode(picture.data, 1 << 20)
        assert pixels.shape == (info.height, info.width, 3)
        assert pixels.dtype == "uint8"
