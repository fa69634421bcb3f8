"""Lists of image URIs: ranges, columns, quoting, and rows that name nothing that can be read."""

import csv
import gzip
import io
import json

import pytest
from corpus import problems, records_of
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.errors import UnitError, UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions, read


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(name.encode())
    return folder


def write(path, text, compress=False):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if compress else data)
    return path


def test_csv_columns_become_text_and_metadata(tmp_path, images):
    path = write(
        tmp_path / "a.csv",
        'uri,text,lang,question\nimages/a.jpg,"said ""a"",\nand went",en,why?\n'
        "\n"
        f"{images}/b.jpg,,,\n",
    )
    first, second = records_of(path)
    assert (first.encoded, first.text, first.language) == (b"a", 'said "a",\nand went', "en")
    assert first.metadata == {"question": "why?"}
    assert (first.source.uri, first.source.shard) == (str(images / "a.jpg"), str(path))
    assert (second.encoded, second.text, second.source.key) == (b"b", None, "1")


def test_tsv_and_json_lines_give_what_csv_gives(tmp_path, images):
    tsv = write(tmp_path / "a.tsv", "path\tcaption\nimages/a.jpg\tan a, it is\n")
    lines = write(
        tmp_path / "a.jsonl", '{"path": "images/a.jpg", "caption": "an a, it is", "n": [1]}\n'
    )
    (one,), (other,) = records_of(tsv), records_of(lines)
    assert one.encoded == other.encoded == b"a"
    assert one.text == other.text == "an a, it is"
    assert other.metadata == {"n": [1]}


def test_a_hugging_face_image_folders_metadata_file_is_a_list(tmp_path, images):
    path = write(images / "metadata.csv", "file_name,text\na.jpg,hello\n")
    (record,) = records_of(path)
    assert (record.encoded, record.text) == (b"a", "hello")


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("images/gone.jpg", "missing_file"),
        ("images/a.jpg/b.jpg", "missing_file"),
        ("https://example.org/a.jpg", "unsupported_scheme"),
        ("images", "unreadable_file"),
        ("images/big.jpg", "too_large_bytes"),
        ("", "no_image"),
        ("a\0b.jpg", "unreadable_file"),
    ],
)
def test_a_row_whose_image_cannot_be_had_fails_alone(tmp_path, images, location, kind):
    (images / "big.jpg").write_bytes(bytes(2000))
    rows = [{"uri": "images/a.jpg"}, {"uri": location, "text": "t"}, {"uri": "images/b.jpg"}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    records = records_of(path, max_record_bytes=1000)
    assert problems(records) == [None, kind, None]
    assert records[1].text == "t"


def test_rows_that_are_malformed_fail_alone(tmp_path, images):
    table = write(tmp_path / "a.csv", "uri,text\nimages/a.jpg,x\nimages/b.jpg\nimages/c.jpg,y,z\n")
    assert problems(records_of(table)) == [None, "bad_line", "bad_line"]
    lines = write(
        tmp_path / "a.jsonl",
        '{"uri": "images/a.jpg"}\n{"uri": \n[1]\n{"n": 1}\n{"uri": 5}\n' + "[" * 100_000 + "\n",
    )
    assert problems(records_of(lines)) == [
        None,
        "bad_line",
        "bad_line",
        "no_image",
        "no_image",
        "bad_line",
    ]


def test_a_cell_longer_than_the_csv_module_takes_costs_its_row(tmp_path, images):
    path = write(tmp_path / "a.csv", f"uri,text\nimages/a.jpg,{'x' * 200_000}\nimages/b.jpg,y\n")
    assert problems(records_of(path)) == ["bad_line", None]


def test_text_of_other_encodings_is_spelled_out_and_a_mark_left_off(tmp_path, images):
    path = write(tmp_path / "a.csv", b'\xef\xbb\xbf"uri",text\nimages/a.jpg,caf\xe9\n')
    (record,) = records_of(path)
    assert (record.encoded, record.text) == (b"a", "caf\\udce9")


def test_the_key_column_names_records_over_the_whole_list(tmp_path, images):
    path = write(tmp_path / "a.csv", "uri,id\n" + "".join(f"images/{x}.jpg,{x}\n" for x in "aba"))
    records = records_of(path, key_field="id", lines_per_unit=1)
    assert [record.source.key for record in records] == ["a", "b", "a"]
    assert [record.duplicate_of for record in records] == [None, None, records[0].id]


def test_a_list_that_grows_leaves_its_full_ranges_as_they_were(tmp_path, images):
    path = write(tmp_path / "a.csv", "uri\n" + "images/a.jpg\n" * 5)
    options = ReaderOptions(lines_per_unit=2)
    before = plan([str(path)], options=options)
    with path.open("a") as file:
        file.write("images/b.jpg\n" * 2)
    after = plan([str(path)], options=options)
    assert after[:2] == before[:2]
    assert after[2].name("") == before[2].name("")
    assert after[2].version != before[2].version
    assert [unit.records for unit in after] == [2, 2, 2, 1]


@pytest.mark.parametrize("per_unit", [1, 2, 3, 1000])
def test_a_cut_gzip_list_has_one_failed_record_whatever_the_ranges(tmp_path, images, per_unit):
    whole = gzip.compress(b"uri\n" + b"images/a.jpg\n" * 6, compresslevel=0)
    for cut in range(30, len(whole) - 1, 7):
        path = write(tmp_path / "a.csv.gz", whole[:cut])
        options = ReaderOptions(lines_per_unit=per_unit)
        units = plan([str(path)], options=options)
        found = [list(read(unit, options)) for unit in units]
        assert [len(records) for records in found] == [unit.records for unit in units]
        kinds = problems([record for records in found for record in records])
        assert kinds[-1] == "truncated_shard"
        assert set(kinds[:-1]) <= {None}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,text\n1,x\n", r"a\.csv: no column uri or url.*it has id, text"),
        ("a.jsonl", '{"id": 1}\n', r"no column uri or url.*it has id"),
        ("a.csv", "uri,text,text\n", "column text twice"),
        ("a.csv", "\ufeffuri\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_list_without_its_columns_is_the_users_error(tmp_path, name, text, message):
    write(tmp_path / name, text)
    with pytest.raises(UserError, match=message):
        plan([str(tmp_path / name)])


def test_a_column_that_the_options_name_must_be_there(tmp_path):
    path = write(tmp_path / "a.csv", "uri,text\n")
    with pytest.raises(UserError, match="no column alt; it has text, uri"):
        plan([str(path)], options=ReaderOptions(text_field="alt"))


def test_an_empty_csv_is_an_error_of_the_unit_and_one_without_rows_is_none(tmp_path):
    with pytest.raises(UnitError, match="no header"):
        records_of(write(tmp_path / "empty.csv", ""))
    assert records_of(write(tmp_path / "header.csv", "uri\n")) == []
    assert records_of(write(tmp_path / "none.jsonl", "\n\n")) == []


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), max_size=12)


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(cells, cells), max_size=20),
    blanks=st.lists(st.integers(0, 20), max_size=4),
    per_unit=st.integers(1, 25),
    compress=st.booleans(),
    as_json=st.booleans(),
)
def test_ranges_cover_every_row_once_in_order(
    tmp_path_factory, rows, blanks, per_unit, compress, as_json
):
    folder = tmp_path_factory.mktemp("ranges")
    (folder / "a.jpg").write_bytes(b"a")
    lines = [written(["a.jpg", *row], as_json) for row in rows]
    for place in blanks:
        lines.insert(place, "\n")
    header = "" if as_json else "uri,first,second\n"
    suffix = ("jsonl" if as_json else "csv") + (".gz" if compress else "")
    path = write(folder / f"list.{suffix}", header + "".join(lines), compress)
    options = ReaderOptions(lines_per_unit=per_unit)
    units = plan([str(path)], options=options)
    found = [list(read(unit, options)) for unit in units]
    assert [len(records) for records in found] == [unit.records for unit in units]
    records = [record for part in found for record in part]
    assert [(r.metadata["first"], r.metadata["second"]) for r in records] == rows
    assert [record.source.index for record in records] == list(range(len(rows)))


def written(cells, as_json):
    if as_json:
        return json.dumps(dict(zip(("uri", "first", "second"), cells, strict=True))) + "\n"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=300),
    per_unit=st.integers(1, 5),
    suffix=st.sampled_from(["csv", "jsonl"]),
)
def test_arbitrary_lists_are_read_the_same_in_any_ranges(tmp_path_factory, data, per_unit, suffix):
    path = tmp_path_factory.mktemp("arbitrary") / f"a.{suffix}"
    path.write_bytes((b"uri\n" if suffix == "csv" else b"") + data)
    try:
        few, many = (records_of(path, lines_per_unit=count) for count in (per_unit, 1000))
    except (UserError, UnitError):
        return
    assert few == many
