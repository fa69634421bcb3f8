"""What the scripts ask gcloud to do, held against the files and services that it is about."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import flex_launch
import flex_metadata
import pytest
import yaml
from google.cloud.dataflow_v1beta3.services.flex_templates_service.transports import rest_base
from google.cloud.dataflow_v1beta3.types import LaunchFlexTemplateRequest
from google.cloud.devtools.cloudbuild_v1 import Build
from google.cloud.scheduler_v1 import Job
from google.protobuf.duration_pb2 import Duration

from pipelines import annotate_options
from pipelines.launch.launch import REGISTRY
from pipelines.launch.profiles import PROFILES
from pipelines.running import Run

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
TOOLS = Path(sys.executable).parent
FOLDERS = {
    "INPUT": "gs://my-corpus/shards/",
    "MODELS": "gs://my-models/paligemma/",
    "OUTPUT": "gs://my-results/annotated/",
    "STAGING": "gs://my-staging/palipipe/",
    "TEMPLATES": "gs://my-templates/palipipe/",
}
PLACE = {"PROJECT": "my-project", "REGION": "us-central1"}
DIGEST = f"sha256:{'0' * 64}"
# Stands in for gcloud: writes its words down, and answers as for a project that is new.
RECORDER = (
    f"#!{sys.executable} -ISs"
    + """
import json, os, sys
words = sys.argv[1:]
for i, word in enumerate(words):
    if word.startswith("--condition-from-file="):
        words[i] = "--condition=" + open(word.partition("=")[2]).read()
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps(words) + "\\n")
if words[:3] == ["artifacts", "docker", "images"]:
    print("sha256:" + "1" * 64)
if "describe" in words and words[0] in ("iam", "scheduler"):
    sys.exit(1)
"""
)


@pytest.fixture
def script(tmp_path):
    """Runs a script and gives the commands it asked of gcloud, and what it said."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gcloud").write_text(RECORDER)
    (folder / "gcloud").chmod(0o755)

    def go(path, *words, code=0, **variables):
        record = tmp_path / "record"
        record.write_text("")
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(record)}
        done = subprocess.run(
            [path, *words],
            env=environment | PLACE | variables,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in record.read_text().splitlines()], done.stderr

    return go


def options(words):
    return dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A checkout with the lock file that `make pin-image` leaves."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "deploy").mkdir()
    for name in ("build.sh", "cloudbuild.yaml"):
        (folder / "deploy" / name).symlink_to(DEPLOY / name)
    (folder / "setup.py").symlink_to(REPOSITORY / "setup.py")
    lock = f"# Made.\nBEAM_DIGEST={DIGEST}\nLAUNCHER_DIGEST={DIGEST}\n"
    (folder / "deploy" / "images.lock").write_text(lock)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    return folder


def test_shellcheck_has_nothing_to_say():
    scripts = sorted(DEPLOY.glob("*.sh"))
    assert len(scripts) == 4
    done = subprocess.run([TOOLS / "shellcheck", *scripts], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_cloud_build_reads_its_file_and_the_dockerfile_takes_every_argument():
    content = yaml.safe_load((DEPLOY / "cloudbuild.yaml").read_text())
    build = Build.from_json(json.dumps(content), ignore_unknown_fields=False)
    (step,) = build.steps
    given = {word.split("=")[1] for word in step.args if word.startswith("--build-arg=")}
    taken = re.findall(r"^ARG (\w+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert given == set(taken) - {"RUN_AS"}
    assert list(build.images) == ["${_IMAGE}"]


def test_a_build_gives_every_substitution_and_its_templates_name_the_image_by_digest(
    script, repository
):
    folders = {key: value.rstrip("/") for key, value in FOLDERS.items()}
    asked, _ = script(repository / "deploy" / "build.sh", "tpu-v5e", **folders)
    submit, _, *templates = asked
    given = dict(pair.split("=", 1) for pair in options(submit)["substitutions"].split(","))
    assert given.keys() == set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "cloudbuild.yaml").read_text()))
    assert all(given.values())
    assert given["_IMAGE"] == REGISTRY.format(
        region="us-central1",
        project="my-project",
        variant=PROFILES["dataflow-tpu-v5e"].image,
        version=given["_VERSION"],
    )
    names = {words[3]: options(words) for words in templates}
    for command in flex_launch.COMMANDS:
        template = names[f"gs://my-templates/palipipe/{command}-tpu-v5e.json"]
        assert template["image"] == given["_IMAGE"].rpartition(":")[0] + "@sha256:" + "1" * 64
        assert REPOSITORY / template["metadata-file"] == flex_metadata.file_of(command)


def test_nothing_is_built_without_pinned_base_images(script, repository, tmp_path):
    bare = tmp_path / "bare"
    (bare / "deploy").mkdir(parents=True)
    (bare / "deploy" / "build.sh").write_text((DEPLOY / "build.sh").read_text())
    (bare / "deploy" / "build.sh").chmod(0o755)
    asked, said = script(bare / "deploy" / "build.sh", "cpu", code=1, **FOLDERS)
    assert asked == []
    assert "run make pin-image" in said


def launch_request():
    text = (DEPLOY / "launch.json").read_text()
    return LaunchFlexTemplateRequest.from_json(text, ignore_unknown_fields=False).launch_parameter


def test_the_example_launch_has_only_parameters_of_the_template_in_their_form():
    request = launch_request()
    described = json.loads(flex_metadata.file_of("annotate").read_text())["parameters"]
    by_name = {each["name"]: each for each in described}
    for name, value in request.parameters.items():
        assert all(re.search(regex, value) for regex in by_name[name]["regexes"]), name
    required = {name for name, each in by_name.items() if not each["isOptional"]}
    assert required <= set(request.parameters)


def test_the_example_launch_passes_every_check_that_is_made_before_a_submission():
    request = launch_request()
    place = request.environment
    words = flex_launch.command_line(
        [
            *(f"--{name}={value}" for name, value in request.parameters.items()),
            # As the template's launcher adds them.
            "--runner=DataflowRunner",
            "--project=my-project",
            "--region=us-central1",
            f"--job_name={request.job_name}",
            f"--service_account_email={place.service_account_email}",
            f"--sdk_container_image={place.sdk_container_image}",
            f"--worker_zone={place.worker_zone}",
            f"--staging_location={place.staging_location}",
            f"--temp_location={place.temp_location}",
        ]
    )
    chosen, for_beam = annotate_options.parse(words[1:])
    run = Run.of("annotate", chosen, for_beam, annotates=True)
    profile = PROFILES[request.parameters["profile"]]
    assert run.launch.machine == profile.machine
    assert f"palipipe-{profile.image}:" in run.launch.image
    assert request.container_spec_gcs_path.endswith(f"/annotate-{profile.image}.json")


def test_cloud_scheduler_sends_that_request_to_the_services_own_address(script, tmp_path):
    body = tmp_path / "mine.json"
    body.write_text((DEPLOY / "launch.json").read_text())
    asked, _ = script(DEPLOY / "schedule.sh", "mine.json")
    (words,) = (words for words in asked if "describe" not in words)
    assert words[:5] == ["scheduler", "jobs", "create", "http", "palipipe-daily"]
    given = options(words)
    seconds = int(given["attempt-deadline"].removesuffix("s"))
    job = Job(
        schedule=given["schedule"],
        time_zone=given["time-zone"],
        attempt_deadline=Duration(seconds=seconds),
        retry_config={"retry_count": int(given["max-retry-attempts"])},
        http_target={
            "uri": given["uri"],
            "http_method": given["http-method"],
            "body": (tmp_path / given["message-body-from-file"]).read_bytes(),
            "oauth_token": {
                "service_account_email": given["oauth-service-account-email"],
                "scope": given["oauth-token-scope"],
            },
        },
    )
    base = rest_base._BaseFlexTemplatesServiceRestTransport
    (rule,) = base._BaseLaunchFlexTemplate._get_http_options()
    path = rule["uri"].format(project_id="my-project", location="us-central1")
    assert job.http_target.uri == f"https://dataflow.googleapis.com{path}"
    assert job.http_target.http_method.name == rule["method"].upper()
    LaunchFlexTemplateRequest.from_json(job.http_target.body, ignore_unknown_fields=False)
    assert job.http_target.oauth_token.service_account_email.startswith("palipipe-scheduler@")


def grants(asked):
    """(account, role, on) of each grant, as README.md's table has them."""
    found = []
    for words in asked:
        if "add-iam-policy-binding" not in words:
            continue
        given = options(words)
        account = re.match(r"serviceAccount:palipipe-(\w+)@my-project", given["member"])[1]
        target = words[words.index("add-iam-policy-binding") + 1]
        condition = given.get("condition")
        if words[0] == "projects":
            where = "project"
        elif words[0] == "artifacts":
            where = f"repository {target}"
        elif words[0] == "iam":
            where = "account " + re.match(r"palipipe-(\w+)@", target)[1]
        elif condition:
            where = folder_of(yaml.safe_load(condition), target)
        else:
            (name,) = (n for n, uri in FOLDERS.items() if uri.startswith(f"{target}/"))
            where = f"bucket of {name}"
        found.append((account, given["role"], where))
    return found


def folder_of(condition, bucket):
    """The name of the one folder that a condition lets in."""
    objects, listing = condition["expression"].split("||")
    resource = re.search(r'startsWith\("projects/_/buckets/(.*)/objects/(.*)"\)', objects)
    assert f"gs://{resource[1]}" == bucket
    assert f'startsWith("{resource[2]}")' in listing
    assert re.fullmatch(r"[a-z0-9-]+", condition["title"])
    return next(name for name, uri in FOLDERS.items() if uri == f"{bucket}/{resource[2]}")


def table():
    text = (DEPLOY / "README.md").read_text()
    rows = re.findall(r"^\| (\w+) \| `(roles/[\w.]+)` \| ([^|]+) \|", text, re.MULTILINE)
    return [tuple(cell.strip() for cell in row) for row in rows]


def test_the_grants_are_those_of_the_readmes_table(script):
    asked, _ = script(DEPLOY / "iam.sh", CLOUD_FILTERS="dlp language", **FOLDERS)
    assert len(table()) == len(set(table())) > 15
    assert sorted(grants(asked)) == sorted(table())


def test_a_service_of_googles_is_neither_enabled_nor_granted_unless_a_filter_asks_it(script):
    plain, _ = script(DEPLOY / "iam.sh", **FOLDERS)
    asking, _ = script(DEPLOY / "iam.sh", CLOUD_FILTERS="dlp language", **FOLDERS)
    more = [words for words in asking if words not in plain]
    assert [words[-1] for words in more if words[0] == "services"] == [
        "dlp.googleapis.com",
        "language.googleapis.com",
    ]
    assert grants(more) == [("worker", "roles/dlp.user", "project")]


def test_no_grant_is_wider_than_it_says():
    owners = {"roles/owner", "roles/editor", "roles/viewer", "roles/storage.admin"}
    assert not {role for _, role, _ in table()} & owners
    assert all(where != "project" for _, role, where in table() if "storage" in role)


def test_a_folder_that_is_a_whole_bucket_is_refused_before_anything_is_granted(script):
    asked, said = script(DEPLOY / "iam.sh", code=1, **{**FOLDERS, "OUTPUT": "gs://my-results"})
    assert asked == []
    assert "write a folder as gs://BUCKET/FOLDER/" in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gclouds_own_parser_takes_every_command(script, repository, tmp_path):
    """Without an account each command gets as far as asking for one, past its words and files."""
    asked = [*script(repository / "deploy" / "build.sh", "cpu", **FOLDERS)[0]]
    asked += script(DEPLOY / "iam.sh", CLOUD_FILTERS="dlp", **FOLDERS)[0]
    asked += script(DEPLOY / "schedule.sh", DEPLOY / "launch.json")[0]
    condition = tmp_path / "condition.yaml"
    condition.write_text("title: a\nexpression: b\n")
    unlike = {}
    for words in asked:
        words = [f"--condition-from-file={condition}" if "objects/" in w else w for w in words]
        unlike[tuple(word.split("=")[0] for word in words if not word.startswith("gs://"))] = words
    environment = {
        "PATH": os.environ["PATH"],
        "CLOUDSDK_CONFIG": str(tmp_path / "config"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    }
    for words in unlike.values():
        done = subprocess.run(
            ["gcloud", *words], env=environment, cwd=REPOSITORY, capture_output=True, text=True
        )
        assert "do not currently have an active account" in done.stderr, (words, done.stderr)
