"""``tf.train.Example`` without TensorFlow: its three messages, declared here.

Field numbers and types are those of tensorflow/core/example/{example,feature}.proto; only they
travel. The pool is private, so TensorFlow may be imported beside it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from transforms.readers.problem import ProblemError

_PACKAGE = "palipipe"
_LISTS = {
    "bytes_list": ("BytesList", FieldDescriptorProto.TYPE_BYTES),
    "float_list": ("FloatList", FieldDescriptorProto.TYPE_FLOAT),
    "int64_list": ("Int64List", FieldDescriptorProto.TYPE_INT64),
}


def features(data: bytes) -> dict[str, list[Any]]:
    """Every feature's values: bytes, floats (float32) or integers.

    Raises ProblemError (bad_example) where the bytes are no Example.
    """
    try:
        example = _EXAMPLE.FromString(data)
    except DecodeError:
        raise ProblemError("bad_example", "the record is no tf.train.Example") from None
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = list(getattr(feature, kind).value) if kind else []
    return found


def encode(values: dict[str, list[Any]]) -> bytes:
    """The inverse of `features`."""
    example = _EXAMPLE()
    for name, items in values.items():
        feature = example.features.feature[name]
        for item in items:
            kinds = {bytes: feature.bytes_list, float: feature.float_list, int: feature.int64_list}
            kinds[type(item)].value.append(item)
    return example.SerializeToString(deterministic=True)


def _message_class() -> Any:
    file = FileDescriptorProto(name="palipipe/example.proto", package=_PACKAGE, syntax="proto3")
    for name, kind in _LISTS.values():
        message = file.message_type.add(name=name)
        _field(message, "value", 1, kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, (list_name, _)) in enumerate(_LISTS.items(), start=1):
        _field(feature, name, number, list_name).oneof_index = 0
    every = file.message_type.add(name="Features")
    entry = every.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, FieldDescriptorProto.TYPE_STRING)
    _field(entry, "value", 2, "Feature")
    _field(every, "feature", 1, "Features.FeatureEntry", repeated=True)
    _field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _field(
    message: DescriptorProto, name: str, number: int, kind: Any, repeated: bool = False
) -> FieldDescriptorProto:
    """Declares a field; `kind` is a scalar's number or a message's name."""
    field = message.field.add(name=name, number=number)
    field.label = (
        FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    )
    if isinstance(kind, str):
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = kind
    return field


_EXAMPLE = _message_class()
