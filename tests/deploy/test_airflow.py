"""The DAG, loaded by the Airflow that requirements/airflow.txt locks."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from replay import run
from runs import CACHE

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
LOCK = REPOSITORY / "requirements" / "airflow.txt"
TOOLS = Path(sys.executable).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock is for Python 3.11"),
]


@pytest.fixture(scope="module")
def airflow():
    """The Python of an environment with Airflow, made once for each version of the lock file."""
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = CACHE.parent / f"airflow-{version}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = [TOOLS / "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
        python = folder / "bin" / "python"
        install = ["pip", "sync", "--python", python, "--require-hashes", LOCK]
        subprocess.run([*uv, *install], check=True)
        (folder / "complete").touch()
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def told(airflow, tmp_path_factory):
    """What Airflow makes of the two files that README.md says to copy."""
    dags, home = tmp_path_factory.mktemp("dags"), tmp_path_factory.mktemp("home")
    for name in ("airflow_dag.py", "launch.json"):
        shutil.copy(DEPLOY / name, dags)
    variables = {"PATH": os.defpath, "HOME": str(home), "AIRFLOW_HOME": str(home)}
    probe = Path(__file__).with_name("airflow_probe.py")
    return json.loads(run([airflow, probe, dags], home, variables).splitlines()[-1])


def test_airflow_imports_the_dag(told):
    assert told["errors"] == {}
    assert told["is_flex"]


def test_a_day_that_was_missed_is_not_made_up_for_and_days_do_not_overlap(told):
    assert (told["schedule"], told["catchup"], told["max_active_runs"]) == ("0 3 * * *", False, 1)


def test_the_triggerer_waits_for_a_job_whose_name_is_always_the_same(told):
    assert told["deferrable"]
    assert not told["append_job_name"]


def test_variables_are_filled_in_and_the_request_is_launch_json_as_it_is(told):
    assert (told["project"], told["location"]) == ("my-project", "us-central1")
    assert told["body"] == json.loads((DEPLOY / "launch.json").read_text())


def test_dataflows_own_description_of_its_service_takes_the_request(told):
    assert told["problems"] == []
    (problem,) = told["problems_of_a_wrong_one"]
    assert "'jobname' was unexpected" in problem
