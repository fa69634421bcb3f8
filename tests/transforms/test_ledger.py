"""The ledger: what is committed, and what is refused."""

import dataclasses
import json
import pathlib

import pyarrow.parquet as pq
import pytest

from transforms.commit import UnitEnd, UnitFailure, check
from transforms.configuration import Configuration
from transforms.errors import InvariantError, WorkError
from transforms.ledger import Ledger
from transforms.record import Record, RecordError, Source, record_id
from transforms.row import SCHEMA, Outcome, failed_row, row
from transforms.unit import Unit

UNIT = Unit(format="webdataset", uri="/corpus/shard-0.tar", size=100, version="100@1")


def record(index: int) -> Record:
    source = Source(UNIT.uri, UNIT.uri, index, f"key{index}")
    return Record(record_id(UNIT.uri, source.key), source, b"bytes", metadata={"n": index})


def kept(index: int) -> dict:
    return row(record(index), Outcome.KEPT)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path), Configuration({"model": {"name": "m"}}))


def commit(ledger, rows, records=None, unit=UNIT):
    end = UnitEnd(unit, len(rows) if records is None else records)
    return ledger.commit(ledger.name(unit), [end], rows)


def ledger_files(ledger, folder):
    return (pathlib.Path(ledger.output) / folder).iterdir()


def read(ledger, committed):
    return pq.read_table(f"{ledger.output}/{committed.data}")


def test_rows_are_written_in_the_order_of_the_records(ledger):
    table = read(ledger, commit(ledger, [kept(2), kept(0), kept(1)]))
    assert table["source"].combine_chunks().field("index").to_pylist() == [0, 1, 2]


def test_the_file_has_the_schema_and_names_the_model_and_the_configuration(ledger):
    schema = read(ledger, commit(ledger, [kept(0)])).schema
    assert schema.remove_metadata() == SCHEMA
    assert schema.metadata[b"palipipe.model"] == b"m"
    assert schema.metadata[b"palipipe.fingerprint"].decode() == ledger.configuration.fingerprint


def test_a_commit_is_found_again_with_its_outcomes_and_reasons(ledger):
    error = RecordError("decode", "truncated_image", "cut short")
    made = commit(ledger, [kept(0), failed_row(record(1), error)])
    (found,) = ledger.committed([UNIT]).values()
    assert found == made
    assert found.outcomes == {"kept": 1, "failed": 1}
    assert found.reasons == {"failed": {"truncated_image": 1}}


def test_two_attempts_at_one_unit_write_the_same_names_and_the_same_bytes(ledger):
    first = commit(ledger, [kept(0), kept(1)])
    second = commit(ledger, [kept(1), kept(0)])
    assert first == second
    assert len(list(ledger_files(ledger, "data"))) == 1


def test_a_new_edition_of_a_shard_takes_the_place_of_the_old_rows(ledger):
    commit(ledger, [kept(0)])
    newer = dataclasses.replace(UNIT, version="200@2")
    made = commit(ledger, [kept(0), kept(1)], unit=newer)
    assert [file.name for file in ledger_files(ledger, "data")] == [made.data.split("/")[1]]
    (found,) = ledger.committed().values()
    assert found.rows == 2


def filtered(row: dict) -> dict:
    return row | {"outcome": "filtered", "reason": "too_small"}


def test_rows_that_change_go_into_a_file_of_another_name(ledger):
    name = ledger.name(UNIT)
    first = commit(ledger, [kept(0), kept(1)])
    second = ledger.amend(name, [filtered(kept(1))])
    assert second.data != first.data
    assert (second.generation, second.outcomes) == (1, {"filtered": 1, "kept": 1})
    assert ledger.committed() == {name: second}
    assert [file.name for file in ledger_files(ledger, "data")] == [second.data.split("/")[1]]
    third = ledger.amend(name, [kept(1)], redone=[kept(1)["id"]])
    assert (third.generation, third.redone) == (2, (kept(1)["id"],))
    assert ledger.rows(third) == ledger.rows(ledger.commit_of(name))
    assert read(ledger, third)["outcome"].to_pylist() == ["kept", "kept"]


@pytest.mark.parametrize("row", [kept(2), kept(1) | {"outcome": "filtered"}])
def test_rows_that_do_not_fit_change_nothing(ledger, row):
    made = commit(ledger, [kept(0), kept(1)])
    with pytest.raises(InvariantError):
        ledger.amend(ledger.name(UNIT), [row])
    assert ledger.committed() == {ledger.name(UNIT): made}
    assert len(ledger.rows(made)) == 2


def test_a_file_that_a_killed_attempt_left_behind_its_successor_is_removed(ledger, tmp_path):
    first = commit(ledger, [kept(0)])
    left = (tmp_path / first.data).read_bytes()
    second = ledger.amend(ledger.name(UNIT), [filtered(kept(0))])
    (tmp_path / first.data).write_bytes(left)
    ledger.remove_superseded()
    assert [file.name for file in ledger_files(ledger, "data")] == [second.data.split("/")[1]]


def test_a_file_that_is_not_the_committed_one_is_not_read(ledger, tmp_path):
    made = commit(ledger, [kept(0)])
    (tmp_path / made.data).write_bytes(b"something else")
    with pytest.raises(WorkError, match="SHA-256"):
        ledger.rows(made)
    (tmp_path / made.data).unlink()
    with pytest.raises(WorkError, match="missing"):
        ledger.rows(made)


def test_an_empty_unit_is_committed_with_no_rows(ledger):
    assert read(ledger, commit(ledger, [])).num_rows == 0


def test_a_failure_is_noted_until_the_unit_is_committed(ledger):
    ledger.record_failure(UnitFailure(UNIT, "cut short", "Fetch it again."))
    assert ledger.failures([UNIT])[0].problem == "cut short"
    commit(ledger, [kept(0)])
    assert ledger.failures([UNIT]) == []


@pytest.mark.parametrize(
    ("rows", "records", "what"),
    [
        ([kept(0)], 2, "2 records were read, but there are 1 rows"),
        ([kept(0), kept(0)], 2, "do not each have one row"),
        ([kept(0), kept(2)], 2, "do not each have one row"),
        ([kept(0), kept(1) | {"id": kept(0)["id"]}], 2, "stands in two rows"),
        ([kept(0) | {"outcome": "lost"}], 1, "unknown outcome"),
        ([kept(0) | {"outcome": "filtered"}], 1, "without a reason"),
        ([kept(0) | {"error": {"stage": "decode"}}], 1, "kept although it has an error"),
    ],
)
def test_rows_that_do_not_account_for_the_unit_are_not_committed(ledger, rows, records, what):
    with pytest.raises(InvariantError, match=what):
        commit(ledger, rows, records)
    assert ledger.committed() == {}
    assert not (list(ledger_files(ledger, ".")))


def test_a_unit_that_was_not_read_to_its_end_is_not_committed(ledger):
    with pytest.raises(InvariantError, match="0 times"):
        ledger.commit(ledger.name(UNIT), [], [kept(0)])


def test_a_range_of_a_shard_starts_at_its_first_index():
    part = dataclasses.replace(UNIT, start=1, stop=2, first_index=10)
    check(part, 2, [kept(10), kept(11)])
    with pytest.raises(InvariantError):
        check(part, 2, [kept(0), kept(1)])


def test_a_commit_record_is_json_that_people_can_read(ledger, tmp_path):
    commit(ledger, [kept(0)])
    (path,) = (tmp_path / "commits").iterdir()
    values = json.loads(path.read_text())
    assert values["unit"]["uri"] == UNIT.uri
    assert values["rows"] == 1
