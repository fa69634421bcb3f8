"""The command line: help at once, and mistakes named with the nearest right word."""

import subprocess
import sys

import pytest

from pipelines import annotate_options as options
from pipelines.main import COMMANDS, main

NEEDED = ["--input", "a.tar", "--output", "out"]


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


def test_a_mistyped_command_is_refused_with_the_nearest(capsys):
    assert main(["anotate"]) == 2
    assert "did you mean annotate?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"palipipe {command}" in capsys.readouterr().out


def test_help_imports_nothing_slow():
    script = (
        "import sys\n"
        "from pipelines.main import main\n"
        f"for command in {sorted(COMMANDS)}:\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit: pass\n"
        "slow = {'apache_beam', 'jax', 'tensorflow', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_mistyped_option_is_refused_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as stopped:
        options.parse([*NEEDED, "--batchsize", "4"])
    assert stopped.value.code == 2
    assert "did you mean --batch-size?" in capsys.readouterr().err


def test_an_abbreviated_option_is_refused():
    with pytest.raises(SystemExit):
        options.parse([*NEEDED, "--batch", "4"])


def test_a_number_that_is_none_is_named(capsys):
    with pytest.raises(SystemExit):
        options.parse([*NEEDED, "--batch-size", "0"])
    assert "'0' is not a whole number above 0" in capsys.readouterr().err


def test_options_of_beam_go_to_its_runner_and_others_are_refused(capsys):
    _, rest = options.parse([*NEEDED, "--runner", "DataflowRunner", "--region", "europe-west4"])
    assert rest == ("--region", "europe-west4")
    with pytest.raises(SystemExit):
        options.parse([*NEEDED, "--runner", "DataflowRunner", "--batchsize", "4"])
    assert "did you mean --batch-size?" in capsys.readouterr().err


def test_options_of_beam_are_refused_where_no_runner_takes_them():
    with pytest.raises(SystemExit):
        options.parse([*NEEDED, "--region", "europe-west4"])
