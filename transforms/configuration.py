"""What decides the content of the rows, and the claim an output folder makes to one such choice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transforms import storage
from transforms.errors import UserError

MANIFEST = "palipipe.json"


@dataclass(frozen=True)
class Configuration:
    """Everything that a row's content depends on, besides the record itself.

    Options that only change speed (batch size, threads) are not part of it, nor are the inputs:
    new shards join the same output folder.

    values: nested plain values (str, numbers, bool, None, lists, dicts), as JSON keeps them.
    """

    values: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ whenever the values do."""
        canonical = json.dumps(self.values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def schema_metadata(self) -> dict[str, str]:
        """What every Parquet file says of how it was made."""
        model = self.values.get("model", {})
        return {
            "model": str(model.get("name", "")),
            "weights_sha256": str(model.get("weights_sha256", "")),
            "fingerprint": self.fingerprint,
            "configuration": json.dumps(self.values, sort_keys=True),
        }


def plain(value: Any) -> Any:
    """Nested dataclasses, tuples and mappings as the plain values that JSON would give back."""
    return json.loads(json.dumps(value, default=dataclasses.asdict))


def check_claim(output: str, configuration: Configuration) -> bool:
    """Whether an output folder belongs to a configuration already; False if it is free.

    Raises:
        UserError: the folder belongs to another configuration (the difference is shown), or it
            holds files that are not a run's.
    """
    path = storage.join(output, MANIFEST)
    if storage.exists(path):
        _check_same(output, storage.read_json(path), configuration)
        return True
    strangers = sorted(storage.list_files(output, ""))
    if strangers:
        raise UserError(
            f"{output}: the folder has files that no run of palipipe wrote ({strangers[0]}, …); "
            "give an empty or a new folder as --output"
        )
    return False


def claim(output: str, configuration: Configuration) -> None:
    """Give a free output folder to a configuration. Raises UserError as `check_claim` does."""
    if not check_claim(output, configuration):
        manifest = {"fingerprint": configuration.fingerprint, "configuration": configuration.values}
        storage.write_json(storage.join(output, MANIFEST), output, manifest)


def open_claimed(output: str) -> Configuration:
    """The configuration that an output folder belongs to.

    Raises:
        UserError: the folder is no run's output.
    """
    path = storage.join(output, MANIFEST)
    if not storage.exists(path):
        raise UserError(f"{output}: no {MANIFEST} there; name a folder that a run wrote to")
    return Configuration(storage.read_json(path)["configuration"])


def open_screened(output: str) -> Configuration:
    """As `open_claimed`, of a folder that `annotate` or `screen` wrote.

    Raises:
        UserError: the folder is no run's output, or that of another command.
    """
    configuration = open_claimed(output)
    if not {"reader", "max_pixels", "screening"} <= configuration.values.keys():
        raise UserError(f"{output}: not the output of palipipe annotate or palipipe screen")
    return configuration


def _check_same(output: str, manifest: Mapping[str, Any], configuration: Configuration) -> None:
    if manifest["fingerprint"] == configuration.fingerprint:
        return
    lines = "\n".join(
        f"  {name}: {before!r} there, {now!r} now"
        for name, before, now in differences(manifest["configuration"], configuration.values)
    )
    raise UserError(
        f"{output}: the folder belongs to a run with another configuration:\n{lines}\n"
        "Give another --output, or the options of that run."
    )


def differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two nested values differ, as (dotted name, before, now)."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            inner = f"{name}.{key}" if name else key
            yield from differences(before.get(key), now.get(key), inner)
    elif before != now:
        yield name, before, now
