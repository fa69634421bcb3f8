"""Atomic writes, and what is said when they fail."""

import errno
import subprocess
import sys

import pytest

from transforms import storage
from transforms.errors import WorkError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "data" / "file"
    storage.write_atomically(str(path), str(tmp_path), lambda f: f.write(b"old"))

    def fail(file):
        file.write(b"new")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        storage.write_atomically(str(path), str(tmp_path), fail)
    assert path.read_bytes() == b"old"
    assert list((tmp_path / storage.TEMPORARY).iterdir()) == []


def test_a_full_disk_is_named_with_the_file_and_the_remedy(tmp_path):
    def fill(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorkError, match=r"file\.parquet: no space left.*free some.*run the same"):
        storage.write_atomically(str(tmp_path / "file.parquet"), str(tmp_path), fill)


def test_a_process_killed_while_writing_leaves_no_file_under_the_final_name(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from transforms import storage\n"
        "def die(file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.write_atomically(sys.argv[1] + '/file', sys.argv[1], die)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "file").exists()
    storage.remove_temporary(str(tmp_path))
    assert len(list((tmp_path / storage.TEMPORARY).iterdir())) == 1
    storage.remove_temporary(str(tmp_path), older_than=0)
    assert list((tmp_path / storage.TEMPORARY).iterdir()) == []


def test_json_that_is_cut_short_is_named(tmp_path):
    (tmp_path / "commit.json").write_text('{"rows": ')
    with pytest.raises(WorkError, match=r"commit\.json: not valid JSON"):
        storage.read_json(str(tmp_path / "commit.json"))


def test_a_folder_that_is_not_there_has_no_files(tmp_path):
    assert storage.list_files(str(tmp_path / "nowhere"), ".json") == {}
