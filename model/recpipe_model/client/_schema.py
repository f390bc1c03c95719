"""A small notation for protobuf descriptors, built in code into one private pool.

The generated `tensorflow_serving.apis` modules import all of TensorFlow (seconds, and half a gigabyte), and
register their files in the process's default pool, where a second definition would clash. Here the same packages,
names and field numbers live in a pool of our own: the same bytes on the wire, without TensorFlow.

Enumerations are declared `int32`, which is the same on the wire.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: dict[str, int] = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}

_pool = descriptor_pool.DescriptorPool()
for _module in (any_pb2, wrappers_pb2):
    _pool.AddSerializedFile(_module.DESCRIPTOR.serialized_pb)


def field(name: str, number: int, kind: str, *, repeated: bool = False, oneof: bool = False) -> Any:
    """A field of a scalar kind or of a message's full name; `oneof` puts it in the message's only oneof."""
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    descriptor = _Field(name=name, number=number, label=label)
    if kind in _SCALARS:
        descriptor.type = _SCALARS[kind]
    else:
        descriptor.type, descriptor.type_name = _Field.TYPE_MESSAGE, f".{kind}"
    if oneof:
        descriptor.oneof_index = 0
    return descriptor


def string_map(name: str, number: int, kind: str) -> Any:
    """The entry message of a `map<string, kind>`; `message` adds the map's field itself."""
    entry = descriptor_pb2.DescriptorProto(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    entry.field.extend([field("key", 1, "string"), field("value", 2, kind)])
    return name, number, entry


def message(full_name: str, *fields: Any, nested: Iterable[Any] = ()) -> Any:
    """A message of the fields and maps given; `full_name` is relative to its file's package."""
    descriptor = descriptor_pb2.DescriptorProto(name=full_name.rpartition(".")[2])
    descriptor.nested_type.extend(nested)
    for item in fields:
        if isinstance(item, tuple):
            name, number, entry = item
            descriptor.nested_type.append(entry)
            descriptor.field.append(field(name, number, f"{full_name}.{entry.name}", repeated=True))
        else:
            descriptor.field.append(item)
            if item.HasField("oneof_index") and not descriptor.oneof_decl:
                descriptor.oneof_decl.add(name="choice")
    return descriptor


def add_file(
    path: str, package: str, messages: Iterable[Any], *, imports: Iterable[str] = ()
) -> dict[str, Any]:
    """Define a file in the private pool.

    Returns:
        The generated class of each top-level message, by its short name.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=path, package=package, syntax="proto3", dependency=imports, message_type=messages
    )
    _pool.AddSerializedFile(file.SerializeToString())
    names = [item.name for item in file.message_type]
    return {
        name: message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in names
    }
