"""Units of a remote job lie in a file: a graph is as small for a billion images as for ten."""

import os
import time

from corpus import real_pictures
from graphs import functions, graphs  # noqa: F401 (a fixture)
from offline import offline  # noqa: F401 (a fixture)
from runs import here, rows, screen_here

from examples.build import write_webdataset
from transforms.plan_file import PlanFile, PlannedUnits
from transforms.unit import Unit

JOB = (
    *("screen", "--input", "gs://my-corpus/*.tar", "--output", "gs://my-results/out"),
    *("--profile", "dataflow-cpu", "--project", "my-project", "--region", "us-central1"),
    *("--temp_location", "gs://my-staging/tmp", "--filters", "off"),
)


def units(count):
    return [
        Unit("webdataset", f"gs://my-corpus/ç/{number:08}.tar", size=number, version=f"{number}-1")
        for number in range(count)
    ]


def test_units_come_out_of_the_file_as_they_went_in(tmp_path):
    some = [*units(1000), Unit("files", "a b.jpg", files=("a b.jpg", "ç\n.txt"), records=1)]
    plan = PlanFile.write(str(tmp_path), some)
    assert list(PlannedUnits(plan).process(b"")) == some
    assert PlanFile.write(str(tmp_path), some) == plan
    plan.delete()
    assert not list((tmp_path / "plans").iterdir())


def test_the_graph_names_the_file_and_no_unit(offline, graphs):  # noqa: F811
    """Whatever the corpus holds, it is the same graph: what reads the file is all that is in it."""
    assert here(*JOB, "--dry-run=json") == 0
    (graph,) = graphs
    assert graph.ByteSize() < 100_000
    pickled = functions(graph)
    assert b"gs://my-results/out/plans/" in pickled["Units"]
    assert not any(b"my-corpus" in function for function in pickled.values())


def test_a_runner_elsewhere_reads_the_units_from_the_file(tmp_path):
    path = tmp_path / "a.tar"
    write_webdataset(path, real_pictures()[3:7])
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    assert screen_here(path, tmp_path / "here", "--export", "webdataset") == 0
    elsewhere = ("--export", "webdataset", "--runner", runner)
    assert screen_here(path, tmp_path / "there", *elsewhere) == 0
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert len(list((tmp_path / "there" / "kept").glob("*.tar"))) == 1
    assert not list((tmp_path / "there" / "plans").iterdir())


def test_what_a_failed_job_left_is_pruned(tmp_path):
    path = tmp_path / "a.tar"
    write_webdataset(path, real_pictures()[3:4])
    assert screen_here(path, tmp_path / "out") == 0
    old, young = (PlanFile.write(str(tmp_path / "out"), units(count)) for count in (1, 2))
    two_days_ago = time.time() - 2 * 86400
    os.utime(old.path, (two_days_ago, two_days_ago))
    assert here("prune", tmp_path / "out", "--delete") == 0
    assert not os.path.exists(old.path)
    assert os.path.exists(young.path)
