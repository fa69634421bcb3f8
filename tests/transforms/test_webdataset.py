"""WebDataset tars: what becomes of every member, and of tars that are damaged or hostile."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile

import pytest
from corpus import problems, records_of
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.build import Picture, write_webdataset
from transforms.errors import UnitError, UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions, read
from transforms.record import record_id
from transforms.unit import Unit

BIG = 1 << 20


def member(name, data=b"", kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info, data


def write_tar(path, *members):
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def write_pictures(path, count=5, size=3000):
    pictures = [
        Picture(f"{i:03d}", "jpg", bytes([i]) * size, f"text {i}", {"number": i})
        for i in range(count)
    ]
    write_webdataset(path, pictures)
    return path


def summary(records):
    return [(record.source.key, record.text, dict(record.metadata)) for record in records]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_text_json_and_other_members_are_kept(tmp_path, name):
    path = tmp_path / name
    with tarfile.open(path, "w:gz" if name != "a.tar" else "w") as tar:
        for info, data in (
            member("./set/0001.JPG", b"jpg"),
            member("./set/0001.txt", "naïve\n".encode()),
            member("./set/0001.json", b'{"lang": "fr", "q": "why?", "cls": 1}'),
            member("./set/0001.cls", b"7"),
            member("./set/0001.emb.npy", b"\x93NUMPY\xff"),
        ):
            tar.addfile(info, io.BytesIO(data))
    (record,) = records_of(path)
    assert record.encoded == b"jpg"
    assert (record.text, record.language) == ("naïve", "fr")
    assert record.metadata == {
        "q": "why?",
        "cls": 1,
        ".cls": "7",
        "emb.npy": {"base64": "k05VTVBZ/w=="},
    }
    assert record.source.key == "set/0001"
    assert record.source.uri == record.source.shard == str(path)
    assert record.id == record_id(str(path), "set/0001")


def test_a_caption_in_the_json_is_the_text_where_there_is_no_txt(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        member("a.png", b"x"),
        member("a.json", b'{"caption": "from json", "alt": "other"}'),
    )
    assert summary(records_of(path)) == [("a", "from json", {"alt": "other"})]
    assert summary(records_of(path, text_field="alt")) == [("a", "other", {"caption": "from json"})]


def test_a_large_member_is_named_by_its_digest(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", member("a.jpg", b"x"), member("a.npy", b"\xff" * (BIG + 1))
    )
    (record,) = records_of(path)
    digest = hashlib.sha256(b"\xff" * (BIG + 1)).hexdigest()
    assert record.metadata == {"npy": {"sha256": digest, "bytes": BIG + 1}}


def test_of_two_images_the_option_or_else_the_first_is_taken(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", member("a.jpg", b"photo"), member("a.seg.png", b"segments")
    )
    (first,) = records_of(path)
    assert first.encoded == b"photo"
    assert first.metadata["seg.png"]["sha256"] == hashlib.sha256(b"segments").hexdigest()
    (named,) = records_of(path, image_field="seg.png")
    assert named.encoded == b"segments"
    assert list(named.metadata) == ["jpg"]


def test_an_image_of_a_format_that_is_not_decoded_still_makes_a_record(tmp_path):
    (record,) = records_of(write_tar(tmp_path / "a.tar", member("a.heic", b"heic")))
    assert record.encoded == b"heic"


def test_folders_hidden_files_and_pax_headers_are_no_records(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(*member("set", kind=tarfile.DIRTYPE))
        tar.addfile(member("set/._a.jpg", b"resource fork")[0], io.BytesIO(b"resource fork"))
        long_name, data = member("set/" + "n" * 200 + "ü.jpg", b"x")
        tar.addfile(long_name, io.BytesIO(data))
    (record,) = records_of(path)
    assert record.source.key == "set/" + "n" * 200 + "ü"


def test_a_key_without_an_image_is_a_failed_record(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", member("a.jpg", b"x"), member("b.txt", b"alone"), member("README")
    )
    records = records_of(path)
    assert problems(records) == [None, "no_image", "no_image"]
    assert records[1].text == "alone"


def test_a_key_that_comes_again_names_its_first(tmp_path):
    path = write_tar(tmp_path / "a.tar", *(member(f"{key}.jpg", b"x") for key in "abaaa"))
    records = records_of(path)
    assert [record.source.index for record in records] == [0, 1, 2, 3, 4]
    assert [record.duplicate_of for record in records] == [
        None,
        None,
        *[records[0].id] * 3,
    ]
    assert len({record.id for record in records}) == 5


@pytest.mark.parametrize("name", ["../evil.jpg", "a/../../evil.jpg", "/etc/evil.jpg"])
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path, name):
    path = write_tar(tmp_path / "a.tar", member("ok.jpg", b"x"), member(name, b"evil"))
    assert problems(records_of(path)) == [None, "unsafe_member"]
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (tarfile.SYMTYPE, "link_member"),
        (tarfile.LNKTYPE, "link_member"),
        (tarfile.CHRTYPE, "special_member"),
        (tarfile.FIFOTYPE, "special_member"),
    ],
)
def test_links_and_devices_are_not_followed(tmp_path, kind, problem):
    path = write_tar(
        tmp_path / "a.tar",
        member("ok.jpg", b"x"),
        member("a.jpg", kind=kind, target="/etc/hostname"),
    )
    assert problems(records_of(path)) == [None, problem]


def test_a_record_larger_than_the_limit_is_passed_over(tmp_path):
    path = write_tar(tmp_path / "a.tar", member("a.jpg", b"x" * 5000), member("b.jpg", b"x" * 50))
    assert problems(records_of(path, max_record_bytes=1000)) == ["too_large_bytes", None]


def test_json_that_is_none_costs_its_record(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        member("a.jpg", b"x"),
        member("a.json", b"{'python': True}"),
        member("b.jpg", b"x"),
        member("b.json", b'["a list", NaN]'),
    )
    records = records_of(path)
    assert problems(records) == ["bad_json", None]
    assert records[1].metadata == {"json": ["a list", "NaN"]}
    json.dumps(records[1].metadata, allow_nan=False)


def test_names_and_values_that_utf8_cannot_hold_are_spelled_out(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for info, data in (
            member("\xe9.jpg", b"x"),
            member("\xe9.txt", b"caf\xe9"),
            member("\xe9.json", b'{"half": "\\ud800"}'),
        ):
            tar.addfile(info, io.BytesIO(data))
    (record,) = records_of(path)
    assert record.source.key == "\\udce9"
    assert record.text == "caf\\xe9"
    assert record.metadata == {"half": "\\ud800"}


def test_a_tar_cut_in_a_member_ends_with_one_failed_record(tmp_path):
    path = write_pictures(tmp_path / "a.tar")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x03" * 3000) + 100])
    records = records_of(path)
    assert problems(records) == [None, None, None, "truncated_shard"]
    assert records[3].source.key == "003"


def test_the_record_whose_last_members_may_be_lost_is_not_passed_off_as_whole(tmp_path):
    path = write_pictures(tmp_path / "a.tar")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"003.txt")])
    assert problems(records_of(path)) == [None, None, None, "truncated_shard"]


def test_a_tar_without_its_end_marker_is_cut(tmp_path):
    path = write_pictures(tmp_path / "a.tar", count=1)
    path.write_bytes(path.read_bytes()[: 512 * 11])
    assert problems(records_of(path)) == ["truncated_shard"]


def test_a_header_damaged_midway_ends_with_one_failed_record(tmp_path):
    path = write_pictures(tmp_path / "a.tar")
    whole = bytearray(path.read_bytes())
    place = whole.index(b"002.jpg")
    whole[place : place + 200] = b"\xaa" * 200
    path.write_bytes(whole)
    assert problems(records_of(path)) == [None, "corrupt_shard"]
    whole[place : place + 512] = bytes(512)  # which reads as an end marker
    path.write_bytes(whole)
    assert problems(records_of(path)) == [None, "corrupt_shard"]


def test_joined_tars_are_noticed(tmp_path):
    path = write_pictures(tmp_path / "a.tar", count=2)
    path.write_bytes(path.read_bytes() * 2)
    assert problems(records_of(path)) == [None, "corrupt_shard"]


def test_a_compressed_tar_cut_gives_what_comes_before(tmp_path):
    tar = write_pictures(tmp_path / "a.tar", size=40_000)
    path = tmp_path / "b.tar.gz"
    whole = gzip.compress(tar.read_bytes(), compresslevel=0)
    path.write_bytes(whole[: len(whole) // 2])
    assert problems(records_of(path)) == [None, None, "truncated_shard"]
    damaged = bytearray(whole)
    damaged[-6] ^= 1  # its checksum
    path.write_bytes(damaged)
    assert problems(records_of(path)) == [None] * 4 + ["truncated_shard"]


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>" * 100, b"\x1f\x8b\x08"])
def test_what_is_no_tar_at_all_is_an_error_of_the_unit(tmp_path, data):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    (unit,) = plan([str(path)])
    with pytest.raises(UnitError, match=r"a\.tar"):
        list(read(unit, ReaderOptions()))


def test_a_shard_gone_after_planning_is_an_error_of_the_unit(tmp_path):
    path = write_pictures(tmp_path / "a.tar")
    (unit,) = plan([str(path)])
    path.unlink()
    with pytest.raises(UnitError, match="can't be opened"):
        list(read(unit, ReaderOptions()))


def test_a_first_shard_without_images_is_the_users_error(tmp_path):
    path = write_tar(tmp_path / "a.tar", member("a.bin", b"x"), member("a.txt", b"t"))
    with pytest.raises(UserError, match=r"\.bin, \.txt.*--image-field"):
        plan([str(path)])
    assert plan([str(path)], options=ReaderOptions(image_field="bin"))


def test_a_tar_made_by_the_tar_command_is_read(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("b.jpg", "b.txt"):
        (folder / name).write_bytes(name.encode())
    subprocess.run(
        ["tar", "-C", folder, "-cjf", tmp_path / "a.tar.bz2", "b.jpg", "b.txt"], check=True
    )
    assert summary(records_of(tmp_path / "a.tar.bz2")) == [("b", "b.txt", {})]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_mutated_tar_gives_records_or_an_error_of_the_unit(tmp_path_factory, data):
    path = write_pictures(tmp_path_factory.mktemp("mutated") / "a.tar", count=3, size=600)
    shard = bytearray(path.read_bytes()[: 512 * 20])
    for _ in range(data.draw(st.integers(1, 8))):
        shard[data.draw(st.integers(0, len(shard) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(shard)
    try:
        records = list(read(Unit("webdataset", str(path)), ReaderOptions()))
    except UnitError:
        return
    problems(records)
    assert len({record.id for record in records}) == len(records)
    for record in records:
        json.dumps(dict(record.metadata), allow_nan=False).encode()
