"""Records of runs, alerts and pruning as a user meets them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus import encode, photograph
from runs import ENVIRONMENT, annotate_here, commits, here, rows, screen_here, start

from examples.build import Picture, write_webdataset
from transforms.lock import Lock

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


@pytest.fixture(scope="module")
def pictures():
    """Forty whose sides are 48 or 200 pixels long."""
    china = photograph("china.jpg")

    def crop(number, side):
        picture = china.crop((5 * number, 3 * number, 5 * number + side, 3 * number + side))
        return encode(picture, "JPEG")

    return {side: [crop(number, side) for number in range(40)] for side in (48, 200)}


@pytest.fixture
def shard(tmp_path, pictures):
    def write(name, small, large):
        data = pictures[48][:small] + pictures[200][:large]
        named = [Picture(f"{n:03}", "jpg", each, "a crop", {}) for n, each in enumerate(data)]
        write_webdataset(tmp_path / f"{name}.tar", named)
        return f"{tmp_path}/*.tar"

    return write


def records(output):
    return [json.loads(path.read_text()) for path in sorted((output / "runs").iterdir())]


def alert_lines(text):
    return [line for line in text.splitlines() if line.startswith("palipipe-alert ")]


ALERTS = ("--min-side", 100, "--alert-drop-rate", 0.1)


def test_a_run_leaves_a_record_that_its_commits_name(shard, tmp_path, capsys):
    output = tmp_path / "out"
    inputs = shard("0", 10, 30)
    assert screen_here(inputs, output, "--min-side", 100) == 0
    (record,) = records(output)
    assert (record["state"], record["exit_code"], record["command"]) == ("ended", 0, "screen")
    assert record["outcomes"] == {"filtered": 10, "kept": 30}
    assert record["images"] == record["rows"] == 40
    assert record["units"] == {"new": 1, "changed": 0, "before": 0, "failed": 0}
    assert [commit["run"] for commit in commits(output)] == [record["run"]]
    assert f"Run {record['run']}: 40 images" in capsys.readouterr().out
    shard("1", 1, 1)
    screen_here(inputs, output, "--min-side", 100)
    assert records(output)[1]["units"] == {"new": 1, "changed": 0, "before": 1, "failed": 0}
    assert records(output)[1]["run"].startswith("000002-")
    assert records(output)[1]["images"] == 42


def test_a_drop_rate_that_moved_is_told_by_line_record_exit_code_and_command(
    shard, tmp_path, capsys
):
    output, told = tmp_path / "out", tmp_path / "told.json"
    line = (*ALERTS, "--alert-command", f"cat > {told}")
    for number in range(3):
        assert screen_here(shard(str(number), 4, 36), output, *line) == 0
    assert not told.exists()
    capsys.readouterr()
    assert screen_here(shard("3", 40, 10), output, *line) == 3
    (said,) = alert_lines(capsys.readouterr().err)
    assert "kind=drop_rate now=0.8000 images=50 before=0.1000 before_images=120" in said
    assert f"output={output}" in said
    last = records(output)[-1]
    assert last["exit_code"] == 3
    assert last["alerts"][0]["kind"] == "drop_rate"
    assert json.loads(told.read_text()) == last
    assert screen_here(shard("4", 4, 36), output, *line) == 0


def test_a_command_for_alerts_that_fails_is_said_and_changes_nothing(shard, tmp_path, capsys):
    output, line = tmp_path / "out", ("--alert-nothing-new", 1, "--alert-command", "exit 7")
    inputs = shard("0", 1, 1)
    assert screen_here(inputs, output, *line) == 0
    assert screen_here(inputs, output, *line) == 3
    assert "--alert-command ended with 7" in capsys.readouterr().err


def test_an_empty_folder_is_a_mistake_or_where_it_is_asked_for_an_alert(tmp_path, capsys):
    output, inputs = tmp_path / "out", f"{tmp_path}/*.tar"
    assert screen_here(inputs, output) == 2
    assert not output.exists()
    assert screen_here(inputs, output, "--alert-no-input") == 3
    (said,) = alert_lines(capsys.readouterr().err)
    assert f'kind=no_input input="{inputs}"' in said or f"kind=no_input input={inputs}" in said
    assert records(output)[0]["empty"] == [inputs]


def test_one_of_two_inputs_that_is_empty_is_told_and_the_other_done(shard, tmp_path, capsys):
    output, inputs = tmp_path / "out", [shard("0", 1, 1), f"{tmp_path}/more/*.tar"]
    assert screen_here(inputs, output, "--alert-no-input") == 3
    assert len(rows(output)) == 2
    assert len(alert_lines(capsys.readouterr().err)) == 1


def test_a_shard_that_cannot_be_read_weighs_more_than_an_alert(shard, tmp_path):
    output, inputs = tmp_path / "out", shard("0", 1, 1)
    screen_here(inputs, output)
    (tmp_path / "1.tar").write_bytes(b"no tar" * 200)
    assert screen_here(inputs, output, "--alert-nothing-new", 9) == 1
    last = records(output)[-1]
    assert (last["state"], last["exit_code"], last["units"]["failed"]) == ("ended", 1, 1)


def test_a_run_that_is_refused_its_configuration_leaves_no_trace(shard, tmp_path):
    output, inputs = tmp_path / "out", shard("0", 1, 1)
    screen_here(inputs, output)
    assert screen_here(inputs, output, "--min-side", 9) == 2
    assert screen_here(inputs, output, "--dry-run") == 0
    assert len(records(output)) == 1


def test_retry_and_prune_wait_their_turn_and_leave_the_folder_free(shard, tmp_path, capsys):
    output = tmp_path / "out"
    screen_here(shard("0", 1, 1), output)
    lock = Lock(str(output), "annotate")
    lock.acquire()
    assert here("retry", output, "--all") == 75
    assert here("prune", output, "--delete") == 75
    assert here("prune", output) == 0
    assert "another run has this folder (palipipe annotate, process" in capsys.readouterr().err
    lock.release()
    assert here("retry", output, "--all") == 0
    assert here("prune", output, "--delete") == 0
    assert [record["command"] for record in records(output)] == ["screen", "retry"]
    assert list((output / "lock").iterdir()) in ([], [output / "lock" / "guard"])


def test_ctrl_c_ends_the_waiting_and_leaves_no_claim(shard, tmp_path):
    output, inputs = tmp_path / "out", shard("0", 1, 1)
    lock = Lock(str(output), "annotate")
    lock.acquire()
    line = ("screen", "--input", inputs, "--output", output, "--filters", "off")
    process = start(*line, "--wait-for-lock", "1h")
    assert "waiting for another run (palipipe annotate" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "\npalipipe screen: stopped\n")
    lock.release()
    assert list((output / "lock").glob("*.claim")) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--wait-for-lock", "10"), "'10' is no duration; write a number and s, m, h or d"),
        (("--lock-lease", "0.5s"), "too short"),
        (("--alert-drop-rate", "5"), "'5' is no share; write 0.05"),
        (("--alert-nothing-new", "0"), "not a whole number above 0"),
        (("--alert-command", "true"), "--alert-command has a meaning only with"),
        (("--alert-droprate", "0.1"), "did you mean --alert-drop-rate?"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_write(line, said, tmp_path, capsys):
    assert screen_here("*.tar", tmp_path / "out", *line) == 2
    assert said in capsys.readouterr().err


def aged(folder, days):
    then = time.time() - days * 86400
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def test_prune_says_what_may_go_and_removes_it_only_when_told(shard, tmp_path, capsys):
    output, line = (
        tmp_path / "out",
        ("--reuse-answers", "--on-changed", "redo", "--progress", "none"),
    )
    inputs = shard("0", 1, 2)
    shard("1", 2, 0)
    annotate_here(inputs, output, *line)
    shard("0", 0, 1)  # all of whose answers are known
    (tmp_path / "1.tar").unlink()
    shard("2", 3, 0)  # two of three
    annotate_here(inputs, output, *line)
    shard("2", 0, 3)
    annotate_here(inputs, output, *line)
    assert rows(output)[0]["taken_from"] is not None
    before = {path.name for path in (output / "former").iterdir()}
    assert len(before) == 4
    orphan, half = output / "data" / "gone-1.parquet", output / "_tmp" / "gone.json.1"
    orphan.write_bytes(b"12345")
    half.write_bytes(b"123")
    assert here("prune", output) == 0
    assert re.search(r"^all +0 +0$", capsys.readouterr().out, re.M)
    aged(output, 100)
    assert here("prune", output, "--runs", 2) == 0
    said = capsys.readouterr().out
    size = sum((output / "former" / n).stat().st_size for n in before if n.startswith("2.tar"))
    assert re.search(rf"^rows of replaced shards +2 +{size:,}$", said, re.M)
    assert re.search(r"^records of runs +1 ", said, re.M)
    assert re.search(r"^rows that were never committed +1 +5$", said, re.M)
    assert re.search(r"^files left half written +1 +3$", said, re.M)
    assert "stays: 2 files of replaced shards that rows refer to" in said
    assert "Nothing was removed" in said
    assert half.exists()
    assert here("prune", output, "--runs", 2, "--delete") == 0
    assert {n.split("-")[0] for n in before} == {"0.tar", "2.tar"}
    assert {path.name.split("-")[0] for path in (output / "former").iterdir()} == {"0.tar"}
    assert not orphan.exists()
    assert not half.exists()
    assert [record["run"][:6] for record in records(output)] == ["000002", "000003"]
    assert here("verify", output) == 0
    assert annotate_here(inputs, output, *line) == 0
    assert records(output)[-1]["run"].startswith("000004-")


def test_the_line_for_cron_runs_as_cron_runs_it(shard, tmp_path):
    """By /bin/sh, with the environment of the crontab alone, in the user's home."""
    text = (DEPLOY / "cron" / "crontab").read_text()
    settings = dict(re.findall(r"^([A-Z]+)=(.*)$", text, re.M))
    (line,) = (one for one in text.splitlines() if " palipipe annotate " in one)
    assert "%" not in line
    command = line.split(" ", 5)[5]
    shard("0", 2, 1)
    command = re.sub(r"--checkpoint \S+", "--filters off --max-new-tokens 4", command)
    command = command.replace("/srv/corpus/shards", str(tmp_path))
    command = command.replace("/srv/corpus", str(tmp_path))
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "palipipe").symlink_to(Path(sys.executable).parent / "palipipe")
    path = settings["PATH"].replace("/opt/palipipe/bin", str(bin))
    cache = str(Path(ENVIRONMENT["JAX_COMPILATION_CACHE_DIR"]))
    done = subprocess.run(
        [settings["SHELL"], "-c", command],
        env={"HOME": str(tmp_path), "LOGNAME": "me", "SHELL": settings["SHELL"], "PATH": path}
        | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "3 images" in (tmp_path / "annotate.log").read_text()
    assert len(rows(tmp_path / "annotated")) == 3


@pytest.mark.parametrize("name", ["palipipe.service", "palipipe.timer"])
def test_systemd_takes_its_units(name):
    verify = ["systemd-analyze", "verify", str(DEPLOY / "systemd" / name)]
    try:
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no systemd here")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_and_the_crontab_have_options_that_the_commands_know():
    from pipelines import annotate_options, prune

    service = (DEPLOY / "systemd" / "palipipe.service").read_text()
    crontab = (DEPLOY / "cron" / "crontab").read_text()
    known = set(annotate_options.parser().options()) | set(prune.parser().options())
    used = re.findall(r"(--[a-z-]+)", re.sub(r"^#.*$", "", service + crontab, flags=re.M))
    assert len(used) > 20
    assert set(used) <= known
