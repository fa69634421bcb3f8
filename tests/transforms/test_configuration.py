"""An output folder belongs to one configuration."""

import pytest

from transforms.configuration import MANIFEST, Configuration, claim, differences, open_claimed
from transforms.errors import UserError

FIRST = Configuration({"model": {"name": "a", "dtype": "float32"}, "tasks": ["caption en"]})
OTHER = Configuration({"model": {"name": "b", "dtype": "float32"}, "tasks": ["caption en"]})


def test_the_order_of_the_values_does_not_change_the_fingerprint():
    turned = Configuration(dict(reversed(FIRST.values.items())))
    assert turned.fingerprint == FIRST.fingerprint != OTHER.fingerprint


def test_a_folder_can_be_claimed_again_by_the_same_configuration(tmp_path):
    claim(str(tmp_path / "out"), FIRST)
    claim(str(tmp_path / "out"), FIRST)
    assert open_claimed(str(tmp_path / "out")).fingerprint == FIRST.fingerprint


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    claim(str(tmp_path), FIRST)
    with pytest.raises(UserError, match=r"model\.name: 'a' there, 'b' now") as refused:
        claim(str(tmp_path), OTHER)
    assert "dtype" not in str(refused.value)


def test_a_folder_with_other_peoples_files_is_refused(tmp_path):
    (tmp_path / "thesis.pdf").write_text("x")
    with pytest.raises(UserError, match=r"thesis\.pdf"):
        claim(str(tmp_path), FIRST)
    assert not (tmp_path / MANIFEST).exists()


def test_a_folder_no_run_wrote_to_is_named(tmp_path):
    with pytest.raises(UserError, match=r"palipipe\.json"):
        open_claimed(str(tmp_path))


def test_differences_name_what_is_only_on_one_side():
    assert list(differences({"a": 1}, {"a": 1, "b": {"c": 2}})) == [("b", None, {"c": 2})]
