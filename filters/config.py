"""Which filters a run has, from a YAML file or a preset; checked before anything runs.

preset: default            # start from strict, default or off; entries replace whole filters
filters:
  toxicity:
    backend: network       # each filter's backends: see BACKENDS
    "on": [text, output]   # what text filters look at
    fail_open: false       # true lets records pass that the filter has no answer for
  personal_information:
    action: redact         # drop, or black it out and keep the record
  blank_image: off         # leaves one of the preset's filters out
withhold: true             # text that wasn't found harmless is left out of rows
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from filters import factories
from filters.contract import Filter, Subject
from filters.hints import hint
from filters.screening import AnyFilter, Redaction, Screening

PRESETS = ("strict", "default", "off")

# In the order in which they look: cheap first. The first backend of each is the default.
BACKENDS: dict[str, dict[str, Callable[..., Any]]] = {
    "blocklist": {"list": factories.blocklist},
    "image_size": {"header": factories.image_size},
    "language": {"langid": factories.language},
    "text_quality": {"shape": factories.text_quality},
    "unsafe_text": {
        "lexicon": factories.unsafe_text,
        "moderate_text": factories.unsafe_by_moderate_text,
    },
    "toxicity": {
        "network": factories.toxicity,
        "detoxify": factories.toxicity_by_detoxify,
        "perspective": factories.toxicity_by_perspective,
        "moderate_text": factories.toxicity_by_moderate_text,
    },
    "personal_information": {
        "validators": factories.personal_information,
        "dlp": factories.personal_information_by_dlp,
    },
    "blank_image": {"pixels": factories.blank_image},
    "pornographic_images": {
        "open_nsfw": factories.open_nsfw,
        "safe_search": factories.safe_search,
        "classifier": factories.classifier,
    },
    "decontamination": {"hashes": factories.decontamination},
    "perceptual_hash": {"pdq": factories.perceptual_hash},
}
TEXT_FILTERS = ("language", "text_quality", "unsafe_text", "toxicity", "personal_information")
HEADER_FILTERS = ("image_size",)
ACTIONS = ("drop", "redact")

# Parameters of every factory, which have options of their own.
_SHARED = ("subject", "name", "fail_open")


class FilterConfigError(ValueError):
    """A mistake in the filters' configuration; names the key and the nearest right one."""


@dataclass(frozen=True)
class FilterConfig:
    """One filter as configured. options: of its backend, plain values."""

    name: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    action: str = "drop"
    fail_open: bool = False

    def build(self, subject: Subject) -> AnyFilter:
        """The filter for one subject. Raises FilterConfigError for a value it can't have."""
        factory = BACKENDS[self.name][self.backend]
        shared: dict[str, Any] = {"name": self.name, "fail_open": self.fail_open}
        if self.name in TEXT_FILTERS:
            shared["subject"] = subject
        try:
            made: Filter = factory(**self.options, **shared)
        except (TypeError, ValueError, OSError) as error:
            raise FilterConfigError(f"filters.{self.name}: {error}") from error
        return Redaction(made) if self.action == "redact" else made


@dataclass(frozen=True)
class ScreeningConfig:
    """All filters of a run, in their order."""

    filters: tuple[FilterConfig, ...] = ()
    withhold: bool = True

    def plain(self) -> dict[str, Any]:
        """As YAML has it, every default filled in that was chosen here."""
        return {
            "filters": {one.name: _plain(one) for one in self.filters},
            "withhold": self.withhold,
        }

    def failing_open(self, names: Iterable[str]) -> ScreeningConfig:
        """The same, with the named filters letting pass what they have no answer for."""
        names = tuple(names)
        _refuse_unknown("--fail-open", names, [one.name for one in self.filters])
        opened = (
            replace(one, fail_open=one.fail_open or one.name in names) for one in self.filters
        )
        return replace(self, filters=tuple(opened))

    def limited(self, **limits: Any) -> ScreeningConfig:
        """The same with limits on the picture's size; those that are None change nothing."""
        given = {name: value for name, value in limits.items() if value is not None}
        others = tuple(one for one in self.filters if one.name != "image_size")
        found = next((one for one in self.filters if one.name == "image_size"), None)
        base = found or FilterConfig("image_size", "header")
        size = replace(base, options={**base.options, **given})
        order = list(BACKENDS)
        filters = sorted((*others, size), key=lambda one: order.index(one.name))
        return replace(self, filters=tuple(filters))

    def of_output(self) -> ScreeningConfig:
        """The same for records that were screened before: what is left is to look at the output."""
        looking = (one for one in self.filters if "output" in one.subjects)
        return replace(self, filters=tuple(replace(one, subjects=("output",)) for one in looking))

    def recording_hashes(self) -> ScreeningConfig:
        """The same with the filter that records perceptual hashes, which near-duplicates need."""
        if any(one.name == "perceptual_hash" for one in self.filters):
            return self
        hashes = FilterConfig("perceptual_hash", "pdq")
        return replace(self, filters=(*self.filters, hashes))  # it is the last of all

    def build(self) -> Screening:
        """The filters themselves. Raises FilterConfigError for a value that one can't have."""
        parts: dict[str, list[AnyFilter]] = {"header": [], "text": [], "image": [], "output": []}
        blocklist = None
        for one in self.filters:
            if one.name == "blocklist":
                blocklist = factories.blocklist(**one.options)
            elif one.name in TEXT_FILTERS:
                for subject in one.subjects:
                    parts[subject].append(one.build(Subject(subject)))
            else:
                stage = "header" if one.name in HEADER_FILTERS else "image"
                parts[stage].append(one.build(Subject.IMAGE))
        return Screening(
            blocklist, withhold=self.withhold, **{name: tuple(f) for name, f in parts.items()}
        )


def preset(name: str) -> str:
    """A preset's YAML, as it is carried along."""
    return resources.files("filters").joinpath("presets", f"{name}.yaml").read_text()


def load_filters(preset_or_path: str) -> ScreeningConfig:
    """A preset by its name, or the configuration in a YAML file. Raises FilterConfigError."""
    if preset_or_path in PRESETS:
        return parse(preset(preset_or_path), preset_or_path)
    try:
        text = Path(preset_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FilterConfigError(
            f"{preset_or_path}: neither a preset ({', '.join(PRESETS)}) nor a file that can be "
            f"read ({type(error).__name__})"
        ) from error
    return parse(text, preset_or_path)


def from_plain(values: Mapping[str, Any]) -> ScreeningConfig:
    """The inverse of `ScreeningConfig.plain`. Raises FilterConfigError."""
    return _from_mapping(values)


def parse(text: str, source: str) -> ScreeningConfig:
    """A configuration from YAML; `source` is what errors call it.

    Raises FilterConfigError for anything unknown, naming the nearest right word.
    """
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise FilterConfigError(f"{source}: not valid YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise FilterConfigError(f"{source}: expected keys such as `filters:`, not {values!r}")
    try:
        return _from_mapping(values)
    except FilterConfigError as error:
        raise FilterConfigError(f"{source}: {error}") from error


def _from_mapping(values: Mapping[str, Any]) -> ScreeningConfig:
    _refuse_unknown("the file", values, ("preset", "filters", "withhold"))
    entries: dict[str, Any] = {}
    if "preset" in values:
        _refuse_unknown("preset", [values["preset"]], PRESETS)
        entries |= yaml.safe_load(preset(values["preset"]))["filters"]
    given = values.get("filters") or {}
    if not isinstance(given, Mapping):
        raise FilterConfigError("filters: expected a filter's name and its options on each line")
    _refuse_unknown("filters", given, BACKENDS)
    entries |= given
    configs = (_filter(name, entries[name]) for name in BACKENDS if name in entries)
    withhold = values.get("withhold", True)
    if not isinstance(withhold, bool):
        raise FilterConfigError(f"withhold: expected true or false, not {withhold!r}")
    return ScreeningConfig(tuple(one for one in configs if one), withhold)


def _filter(name: str, entry: Any) -> FilterConfig | None:
    if entry is False:  # YAML's `off`
        return None
    entry = {} if entry is None or entry is True else entry
    if not isinstance(entry, Mapping):
        raise FilterConfigError(f"filters.{name}: expected options or off, not {entry!r}")
    options = dict(entry)
    backend = options.pop("backend", next(iter(BACKENDS[name])))
    _refuse_unknown(f"filters.{name}.backend", [backend], BACKENDS[name])
    subjects = _subjects(name, options.pop("subjects", None))
    action = options.pop("action", "drop")
    _refuse_unknown(f"filters.{name}.action", [action], ACTIONS)
    if action == "redact" and (name, backend) != ("personal_information", "validators"):
        raise FilterConfigError(
            f"filters.{name}.action: only personal_information with the backend validators can "
            "be redacted, since only it knows where a finding stands"
        )
    fail_open = options.pop("fail_open", False)
    if not isinstance(fail_open, bool):
        raise FilterConfigError(f"filters.{name}.fail_open: expected true or false")
    known = inspect.signature(BACKENDS[name][backend]).parameters.values()
    named = [p.name for p in known if p.kind is not p.VAR_KEYWORD and p.name not in _SHARED]
    _refuse_unknown(f"filters.{name}", options, named)
    return FilterConfig(name, backend, options, subjects, action, fail_open)


def _subjects(name: str, given: Any) -> tuple[str, ...]:
    if name not in TEXT_FILTERS:
        if given is not None:
            raise FilterConfigError(
                f"filters.{name}.on: only text filters choose what they look at"
            )
        return ()
    chosen = ["text"] if given is None else [given] if isinstance(given, str) else list(given)
    _refuse_unknown(f"filters.{name}.subjects", chosen, ("text", "output"))
    return tuple(dict.fromkeys(chosen))


def _refuse_unknown(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    known = list(known)
    for word in given:
        if word not in known:
            raise FilterConfigError(f"{where}: {word!r} is unknown; {hint(word, known)}")


def _plain(one: FilterConfig) -> dict[str, Any]:
    values: dict[str, Any] = {"backend": one.backend, **one.options}
    if one.subjects:
        values["subjects"] = list(one.subjects)
    if one.action != "drop":
        values["action"] = one.action
    if one.fail_open:
        values["fail_open"] = True
    return values
