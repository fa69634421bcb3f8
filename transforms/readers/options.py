"""What a user may say about the input; None means the format's own default."""

from __future__ import annotations

from dataclasses import dataclass, fields

from transforms.errors import UserError

TEXT_FIELDS = ("text", "caption")
LANGUAGE_FIELDS = ("language", "lang")


@dataclass(frozen=True)
class ReaderOptions:
    """Names of fields and sizes of units.

    A field is a TFRecord feature, a Parquet or CSV column, a JSON property, or a WebDataset
    member's suffix (``jpg``, ``seg.png``, ``txt``).

    image_field: holds the encoded image, or its URI in a list.
    text_field: holds the text; by default ``text``, else ``caption`` (``.txt`` first, in a tar and
        beside loose files).
    language_field: holds the text's language; by default ``language``, else ``lang``.
    key_field: names the record within its shard in place of its position. A shard whose keys come
        from a field is one unit, as only so a repeated key is noticed.
    max_record_bytes: a larger image or record is not held in memory: it becomes a failed row.
    lines_per_unit: rows of a list in one unit.
    files_per_unit: loose images in one unit.
    rows_per_unit: Parquet row groups are put together until they hold this many rows.
    """

    image_field: str | None = None
    text_field: str | None = None
    language_field: str | None = None
    key_field: str | None = None
    max_record_bytes: int = 256 << 20
    lines_per_unit: int = 1000
    files_per_unit: int = 1000
    rows_per_unit: int = 1000

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value == "" or (isinstance(value, int) and value < 1):
                raise UserError(f"{each.name} is {value!r}; it must be at least 1, or left out")

    def text_fields(self) -> tuple[str, ...]:
        return (self.text_field,) if self.text_field else TEXT_FIELDS

    def language_fields(self) -> tuple[str, ...]:
        return (self.language_field,) if self.language_field else LANGUAGE_FIELDS
