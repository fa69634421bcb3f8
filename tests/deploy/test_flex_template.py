"""The flex template: its parameters are the command's options, and become them again."""

import argparse
import json
import re

import flex_launch
import flex_metadata
import pytest
from google.cloud.dataflow_v1beta3.types import TemplateMetadata
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import positive
from pipelines.main import main as palipipe

COMMANDS = flex_launch.COMMANDS
REQUIRED = ["--command=annotate", "--input=gs://a-bucket/*.tar", "--output=gs://a-bucket/out"]


def parameters(command):
    """What the committed file says, by the parameters' names."""
    content = json.loads(flex_metadata.file_of(command).read_text())
    return {each["name"]: each for each in content["parameters"]}


def accepts(parameter, value):
    return all(re.search(regex, value) for regex in parameter["regexes"])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_committed_metadata_is_what_the_options_make(command):
    assert flex_metadata.file_of(command).read_text() == flex_metadata.text(command), (
        "run `make template`"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_a_parameter_or_is_left_out_with_a_reason(command):
    options = flex_launch.options_of(command).keys()
    left_out = {*flex_launch.LEFT_OUT, *flex_launch.LAUNCHERS}
    assert parameters(command).keys() == (options - left_out) | {"command"}


def test_nothing_is_left_out_that_is_no_option_of_any_command():
    options = set().union(*(flex_launch.options_of(command) for command in COMMANDS))
    assert {*flex_launch.LEFT_OUT, *flex_launch.LAUNCHERS} <= options


@pytest.mark.parametrize("command", COMMANDS)
def test_dataflow_reads_the_metadata_and_knows_every_field_of_it(command):
    text = flex_metadata.file_of(command).read_text()
    read = TemplateMetadata.from_json(text, ignore_unknown_fields=False)
    assert len(read.parameters) == len(parameters(command))
    assert all(each.label and each.help_text and each.regexes for each in read.parameters)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_parser_refuses_for_a_choice_or_a_number_no_pattern_lets_through(command):
    for name, action in flex_launch.options_of(command).items():
        parameter = parameters(command).get(name)
        if parameter is None:
            continue
        if action.choices:
            assert all(accepts(parameter, str(choice)) for choice in action.choices)
            assert not accepts(parameter, "other")
        if parameter["paramType"] == "NUMBER":
            assert accepts(parameter, "12")
            assert not accepts(parameter, "-1")
            assert not accepts(parameter, "many")


@given(st.integers(1, 10**9))
def test_every_number_that_a_pattern_lets_through_is_one_for_the_parser(number):
    for text in (str(number), f"{number:,}", f"{number:_}"):
        assert re.fullmatch(flex_metadata.PATTERNS["N"], text)
        assert positive(text) == number


def test_an_option_whose_values_have_no_pattern_is_named():
    parser = argparse.ArgumentParser()
    action = parser.add_argument("--colour", metavar="COLOUR", help="of it")
    with pytest.raises(LookupError, match="what a COLOUR looks like"):
        flex_metadata.parameter(action, None)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("input", "gs://a-bucket/shards/*.tar", "shards/*.tar"),
        ("input", '["gs://a-bucket/a.tar", "gs://b-bucket/b.tar"]', "gs://*/a.tar"),
        ("output", "gs://a-bucket/annotated", "gs://a-bucket"),
        ("checkpoint", "gs://a-bucket/pt_224.npz", "pt_224.npz"),
        ("checkpoint", "/models/pt_224.npz", "http://example.org/pt_224.npz"),
        ("task", "detect shoe ; bag", ""),
        ("task", '["caption en", "answer en {question}"]', "["),
        ("profile", "dataflow-tpu-v5e", "dataflow-tpu"),
    ],
)
def test_a_pattern_tells_good_from_bad(name, good, bad):
    parameter = parameters("annotate")[name]
    assert accepts(parameter, good)
    assert not accepts(parameter, bad)


def test_parameters_become_options_and_the_launchers_own_words_stay_beams():
    words = flex_launch.command_line(
        [
            *REQUIRED,
            '--task=["caption en", "answer en {question}"]',
            "--batch_size=32",
            "--runner=DataflowRunner",
            "--template_location=gs://a-bucket/job_object",
            '--labels={"goog-dataflow-provided-template-type": "flex"}',
        ]
    )
    assert words == [
        "annotate",
        "--input=gs://a-bucket/*.tar",
        "--output=gs://a-bucket/out",
        "--task=caption en",
        "--task=answer en {question}",
        "--batch-size=32",
        "--runner=DataflowRunner",
        "--template_location=gs://a-bucket/job_object",
        '--labels={"goog-dataflow-provided-template-type": "flex"}',
    ]


TEXTS = st.text(min_size=1).filter(lambda text: not text.startswith("["))


@given(st.lists(TEXTS, min_size=1), st.booleans())
def test_whatever_the_prompts_say_they_arrive_as_they_were(prompts, alone):
    prompts = prompts[:1] if alone else prompts
    value = prompts[0] if alone else json.dumps(prompts)
    command, *words = flex_launch.command_line([*REQUIRED, f"--task={value}"])
    assert flex_launch.parser_of(command).parse_args(words).task == prompts


@pytest.mark.parametrize(("value", "given"), [("true", ["--switch"]), ("false", [])])
def test_a_switch_is_true_or_false(value, given, monkeypatch):
    parser = argparse.ArgumentParser()
    parser.add_argument("--switch", action="store_true", help="on")
    monkeypatch.setattr(flex_launch, "parser_of", lambda command: parser)
    assert flex_launch.command_line(["--command=screen", f"--switch={value}"])[1:] == given
    with pytest.raises(flex_launch.LaunchError, match="true or false"):
        flex_launch.command_line(["--command=screen", "--switch=yes"])
    assert flex_metadata.parameter(parser._actions[1], None)["paramType"] == "BOOLEAN"


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("--command=finetune", "say annotate or screen"),
        ("--dry_run=text", "there to launch a job"),
        ("--task=[1]", "a list holds texts"),
        ("--task=[]", "one at least"),
        ("--task=[nothing", "JSON list"),
        ("--batch_size", "--name=value"),
    ],
)
def test_a_wrong_parameter_is_refused_in_words(parameter, says):
    with pytest.raises(flex_launch.LaunchError, match=re.escape(says)):
        flex_launch.command_line([*REQUIRED, parameter])


def test_screens_later_passes_are_refused_in_a_template():
    with pytest.raises(flex_launch.LaunchError, match="ends when its job begins"):
        flex_launch.command_line(["--command=screen", "--export=webdataset"])


def test_a_parameter_that_neither_palipipe_nor_beam_has_is_refused(capsys):
    launched = [*REQUIRED, "--runner=DataflowRunner", "--bacth_size=8"]
    with pytest.raises(SystemExit) as stopped:
        flex_launch.launch(launched, palipipe)
    assert stopped.value.code == 2
    assert "--bacth_size" in capsys.readouterr().err
