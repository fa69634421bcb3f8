"""One row for every input record, whatever becomes of it: the schema users read.

Rows travel as plain dictionaries that `SCHEMA` describes; pixels and encoded bytes are never in
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from filters.contract import Decision, Verdict
from transforms.record import Record, RecordError

if TYPE_CHECKING:
    from model.annotator import Annotation

SCHEMA_VERSION = 2


class Outcome(StrEnum):
    """What became of a record; each record has exactly one."""

    KEPT = "kept"
    FILTERED = "filtered"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"
    FAILED = "failed"


SOURCE = pa.struct(
    [
        ("uri", pa.string()),
        ("shard", pa.string()),
        ("index", pa.int64()),
        ("key", pa.string()),
    ]
)

IMAGE = pa.struct(
    [
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
    ]
)

DECISION = pa.struct(
    [
        ("filter", pa.string()),
        ("subject", pa.string()),
        ("scorer", pa.string()),
        ("version", pa.string()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("labels", pa.list_(pa.string())),
        ("scores", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))),
    ]
)

# Fractions of the picture's height and width, from its top left corner.
BOX = pa.struct(
    [
        ("label", pa.string()),
        ("y_min", pa.float32()),
        ("x_min", pa.float32()),
        ("y_max", pa.float32()),
        ("x_max", pa.float32()),
    ]
)

# COCO's compressed run lengths: {"size": [height, width], "counts": …} as pycocotools reads them.
MASK = pa.struct(
    [
        ("label", pa.string()),
        ("size", pa.list_(pa.int32())),
        ("counts", pa.string()),
    ]
)

ANNOTATION = pa.struct(
    [
        ("task", pa.string()),
        ("language", pa.string()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("raw", pa.string()),
        ("log_probability", pa.float32()),
        ("status", pa.string()),
        ("boxes", pa.list_(BOX)),
        ("masks", pa.list_(MASK)),
    ]
)

ERROR = pa.struct([("stage", pa.string()), ("kind", pa.string()), ("message", pa.string())])

# The row that the model wrote these answers for: its id, its shard, and the edition of its unit,
# which is the name of the Parquet file without suffix and generation.
TAKEN_FROM = pa.struct(
    [
        ("id", pa.string()),
        ("shard", pa.string()),
        ("edition", pa.string()),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", SOURCE, nullable=False),
        ("image", IMAGE),
        ("text", pa.string()),
        ("language", pa.string()),
        ("metadata", pa.string()),
        pa.field("outcome", pa.string(), nullable=False),
        ("reason", pa.string()),
        pa.field("decisions", pa.list_(DECISION), nullable=False),
        pa.field("annotations", pa.list_(ANNOTATION), nullable=False),
        ("error", ERROR),
        ("taken_from", TAKEN_FROM),
    ]
)


def row(
    record: Record,
    outcome: Outcome,
    *,
    reason: str | None = None,
    image: Mapping[str, Any] | None = None,
    decisions: Iterable[Decision] = (),
    annotations: Iterable[Mapping[str, Any]] = (),
    error: RecordError | None = None,
) -> dict[str, Any]:
    """The row of a record.

    image, annotations: values for `IMAGE` and `ANNOTATION`. A record with an `error` gives its
    kind as the reason unless another is named.
    """
    source = record.source
    return {
        "id": record.id,
        "source": {
            "uri": source.uri,
            "shard": source.shard,
            "index": source.index,
            "key": source.key,
        },
        "image": image,
        "text": record.text,
        "language": record.language,
        "metadata": _json(record.metadata) if record.metadata else None,
        "outcome": outcome.value,
        "reason": reason or (error.kind if error else None),
        "decisions": [decision_values(decision) for decision in decisions],
        "annotations": list(annotations),
        "error": error and {"stage": error.stage, "kind": error.kind, "message": error.message},
        "taken_from": None,
    }


def _json(metadata: Mapping[str, Any]) -> str:
    """The same text for the same values: a TFRecord's features come in no order."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def failed_row(
    record: Record, error: RecordError, image: Mapping[str, Any] | None = None, **rest: Any
) -> dict[str, Any]:
    """The row of a record that something went wrong with."""
    return row(record, Outcome.FAILED, image=image, error=error, **rest)


def decision_values(decision: Decision) -> dict[str, Any]:
    """Values for `DECISION`."""
    return {
        "filter": decision.filter,
        "subject": str(decision.subject),
        "scorer": decision.scorer,
        "version": decision.version,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "score": decision.score,
        "threshold": decision.threshold,
        "labels": list(decision.labels),
        "scores": [{"label": k, "score": v} for k, v in sorted(decision.scores.items())],
    }


def decision_from(values: Mapping[str, Any]) -> Decision:
    """The inverse of `decision_values`."""
    return Decision(
        **{
            **values,
            "verdict": Verdict(values["verdict"]),
            "labels": tuple(values["labels"]),
            "scores": {one["label"]: one["score"] for one in values["scores"]},
        }
    )


def annotation_values(annotation: Annotation) -> dict[str, Any]:
    """Values for `ANNOTATION`."""
    return {
        "task": annotation.task,
        "language": annotation.prompt.language,
        "prompt": annotation.prompt.text,
        "text": annotation.text,
        "raw": annotation.raw,
        "log_probability": annotation.log_probability,
        "status": annotation.status,
        "boxes": [asdict(box) for box in annotation.boxes],
        "masks": [
            {"label": mask.label, "size": [mask.height, mask.width], "counts": mask.counts}
            for mask in annotation.masks
        ],
    }


def table(rows: list[dict[str, Any]], metadata: Mapping[str, str]) -> pa.Table:
    """An Arrow table of rows, the schema's metadata saying which run made them.

    Raises:
        pa.ArrowInvalid, pa.ArrowTypeError: a row doesn't fit the schema.
    """
    described = SCHEMA.with_metadata({f"palipipe.{k}": v for k, v in metadata.items()})
    return pa.Table.from_pylist(rows, schema=described)
