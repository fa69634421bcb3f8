"""What bad input gets: a row with outcome and reason, or an error that names the file."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import encode, photograph, real_pictures, write_corpus
from runs import annotate_here, commits, rows

from examples.build import write_tfrecord, write_webdataset


@pytest.fixture(scope="module")
def good():
    return encode(photograph("coffee.png", (80, 60)), "JPEG")


def write_tar(path, members):
    """members: (name, bytes), or a TarInfo for what isn't a plain file."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def outcomes(output):
    return [(row["source"]["key"], row["outcome"], row["reason"]) for row in rows(output)]


def test_each_bad_picture_is_one_row_with_its_reason(tmp_path, good):
    large = encode(photograph("china.jpg"), "PNG")
    shard = write_tar(
        tmp_path / "bad.tar",
        [
            ("a_good.jpg", good),
            ("b_cut.jpg", good[: len(good) // 2]),
            ("c_empty.jpg", b""),
            ("d_mislabelled.jpg", encode(photograph("coffee.png", (9, 9)), "PNG")),
            ("e_text.png", b"this is no picture"),
            ("f_bomb.png", large),
            ("g_narrow.png", encode(photograph("coffee.png").resize((200, 10)), "PNG")),
            ("h_lonely.txt", b"a caption without a picture"),
            ("i_good.jpg", good),
        ],
    )
    limits = ("--max-pixels", 200_000, "--max-aspect", 10)
    assert annotate_here(shard, tmp_path / "out", *limits) == 0
    assert outcomes(tmp_path / "out") == [
        ("a_good", "kept", None),
        ("b_cut", "failed", "truncated_image"),
        ("c_empty", "failed", "empty_image"),
        ("d_mislabelled", "kept", None),
        ("e_text", "failed", "not_an_image"),
        ("f_bomb", "filtered", "too_many_pixels"),
        ("g_narrow", "filtered", "too_narrow"),
        ("h_lonely", "failed", "no_image"),
        ("i_good", "kept", None),
    ]
    found = rows(tmp_path / "out")
    assert found[3]["image"]["format"] == "PNG"
    assert found[5]["image"]["width"] == 640
    assert found[5]["decisions"][0]["threshold"] == 200_000


def test_a_tar_cut_in_the_middle_gives_what_is_left_and_one_row_for_the_rest(
    tmp_path, good, capsys
):
    shard = write_tar(tmp_path / "cut.tar", [(f"{n}.jpg", good) for n in range(4)])
    whole = write_tar(tmp_path / "whole.tar", [("9.jpg", good)])
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * 0.4)])
    assert annotate_here([shard, whole], tmp_path / "out") == 1
    found = outcomes(tmp_path / "out")
    assert found[0] == ("0", "kept", None)
    assert [reason for _, outcome, reason in found if outcome == "failed"] == ["truncated_shard"]
    assert found[-1] == ("9", "kept", None)
    assert f"{shard}: damaged" in (said := capsys.readouterr().err)
    assert "--on-changed redo" in said


def test_a_mended_shard_takes_the_place_of_the_damaged_one(tmp_path, good, capsys):
    shard = write_tar(tmp_path / "a.tar", [(f"{n}.jpg", good) for n in range(4)])
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * 0.4)])
    assert annotate_here(shard, tmp_path / "out") == 1
    shard.write_bytes(data)
    assert annotate_here(shard, tmp_path / "out") == 2
    assert "changed since it was committed" in capsys.readouterr().err
    assert annotate_here(shard, tmp_path / "out", "--on-changed", "redo") == 0
    assert [outcome for _, outcome, _ in outcomes(tmp_path / "out")] == ["kept"] * 4
    assert len(list((tmp_path / "out" / "data").iterdir())) == 1


def test_members_that_point_outside_are_never_followed(tmp_path, good):
    link = tarfile.TarInfo("c.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    shard = write_tar(tmp_path / "a.tar", [("../../b.jpg", good), (link, b""), ("d.jpg", good)])
    assert annotate_here(shard, tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert [row["outcome"] for row in found] == ["failed", "failed", "kept"]
    assert not (tmp_path.parent / "b.jpg").exists()


def test_a_tfrecord_with_a_bad_checksum_costs_that_record(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_tfrecord(path, real_pictures()[4:8])
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[:8], "little")
    data[12 + first // 2] ^= 0xFF
    path.write_bytes(data)
    assert annotate_here(path, tmp_path / "out") == 0
    assert [reason for _, _, reason in outcomes(tmp_path / "out")] == ["bad_checksum", *[None] * 3]


def test_a_shard_that_cannot_be_opened_is_named_and_the_others_are_done(tmp_path, good, capsys):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no footer")
    pq.write_table(pa.table({"image": pa.array([good], pa.binary())}), tmp_path / "b.parquet")
    assert annotate_here(f"{tmp_path}/*.parquet", tmp_path / "out") == 1
    assert outcomes(tmp_path / "out") == [("0", "kept", None)]
    assert "a.parquet" in capsys.readouterr().err
    # Mended, it is taken up by the same command.
    (tmp_path / "a.parquet").write_bytes((tmp_path / "b.parquet").read_bytes())
    assert annotate_here(f"{tmp_path}/*.parquet", tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 2
    assert list((tmp_path / "out" / "failures").iterdir()) == []


def test_one_key_twice_is_a_duplicate_that_names_the_first(tmp_path, good):
    shard = write_tar(tmp_path / "a.tar", [("x.jpg", good), ("y.jpg", good), ("x.jpg", good)])
    assert annotate_here(shard, tmp_path / "out") == 0
    first, _, again = rows(tmp_path / "out")
    assert (again["outcome"], again["reason"]) == ("duplicate", "duplicate_id")
    assert again["decisions"][0]["labels"] == [first["id"]]
    assert again["id"] != first["id"]


def test_a_file_named_twice_is_read_once(tmp_path, good):
    shard = write_tar(tmp_path / "a.tar", [("x.jpg", good)])
    patterns = [shard, f"{tmp_path}/*.tar", f"{tmp_path}/../{tmp_path.name}/a.tar"]
    assert annotate_here(patterns, tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 1


def test_a_record_without_the_prompts_field_fails_alone(tmp_path, good):
    shard = write_tar(
        tmp_path / "a.tar", [("x.jpg", good), ("x.json", b'{"q": "what?"}'), ("y.jpg", good)]
    )
    assert annotate_here(shard, tmp_path / "out", "--task", "answer en {q}") == 0
    assert [reason for _, _, reason in outcomes(tmp_path / "out")] == [None, "missing_field"]


def test_a_prompt_that_is_too_long_fails_its_record_and_is_not_cut(tmp_path, good):
    long = b'{"q": "' + b"why? " * 200 + b'"}'
    shard = write_tar(
        tmp_path / "a.tar",
        [("x.jpg", good), ("x.json", long), ("y.jpg", good), ("y.json", b'{"q": "why?"}')],
    )
    assert annotate_here(shard, tmp_path / "out", "--task", "answer en {q}") == 0
    failed, kept = rows(tmp_path / "out")
    assert failed["reason"] == "prompt_too_long"
    assert "why" not in failed["error"]["message"]
    assert kept["outcome"] == "kept"


def test_an_empty_shard_is_done_and_has_no_rows(tmp_path, good):
    write_webdataset(tmp_path / "a.tar", [])
    write_tar(tmp_path / "b.tar", [("x.jpg", good)])
    assert annotate_here(f"{tmp_path}/*.tar", tmp_path / "out") == 0
    assert sorted(commit["rows"] for commit in commits(tmp_path / "out")) == [0, 1]


MISTAKES = {
    "a glob without files": (["nothing/*.tar"], "nothing/*.tar"),
    "a folder without pictures": (["empty"], "empty"),
    "a column that is not there": (["a.parquet", "--image-field", "pix"], "pix"),
    "a checkpoint that is not there": (["a.tar", "--checkpoint", "gone.npz"], "gone.npz"),
    "a checkpoint that is none": (["a.tar", "--checkpoint", "a.tar"], "a.tar"),
    "a tokenizer that is not there": (["a.tar", "--tokenizer", "gone.model"], "gone.model"),
    "a task with a slip": (["a.tar", "--task", "captoin en"], "caption"),
    "a language that is none": (["a.tar", "--task", "caption xx"], "xx"),
    "an option that is none": (["a.tar", "--ouput", "x"], "--output"),
    "a number that is none": (["a.tar", "--batch-size", "many"], "many"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_names_what_is_wrong_and_writes_nothing(
    tmp_path, good, capsys, monkeypatch, mistake
):
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "a.tar", [("x.jpg", good)])
    pq.write_table(pa.table({"image": pa.array([good], pa.binary())}), tmp_path / "a.parquet")
    (tmp_path / "empty").mkdir()
    (shard, *options), named = MISTAKES[mistake]
    assert annotate_here(shard, tmp_path / "out", *options) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_another_configuration_is_refused_and_the_difference_shown(tmp_path, good, capsys):
    shard = write_tar(tmp_path / "a.tar", [("x.jpg", good)])
    assert annotate_here(shard, tmp_path / "out") == 0
    before = commits(tmp_path / "out")
    assert annotate_here(shard, tmp_path / "out", "--task", "describe en") == 2
    said = capsys.readouterr().err
    assert "['caption en'] there, ['describe en'] now" in said
    assert commits(tmp_path / "out") == before


def test_what_only_changes_speed_may_differ_between_runs(tmp_path, good):
    shard = write_tar(tmp_path / "a.tar", [("x.jpg", good)])
    assert annotate_here(shard, tmp_path / "out", "--batch-size", 4) == 0
    assert annotate_here(shard, tmp_path / "out", "--batch-size", 2, "--threads", 1) == 0


def test_a_dry_run_writes_nothing(tmp_path, good, capsys):
    shard = write_tar(tmp_path / "a.tar", [("x.jpg", good)])
    assert annotate_here(shard, tmp_path / "out", "--dry-run") == 0
    assert "1 units to do" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_new_shards_and_new_files_join_an_output_folder(tmp_path, good):
    pattern = write_corpus(tmp_path, real_pictures()[4:10], "files")
    assert annotate_here(pattern, tmp_path / "out") == 0
    before = commits(tmp_path / "out")
    (tmp_path / "files" / "images" / "0000_new.jpg").write_bytes(good)
    assert annotate_here(pattern, tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 7
    assert [commit for commit in commits(tmp_path / "out") if commit in before] == before
