"""Messages of .proto texts by protoc itself, to write what our own reading of the texts has to read."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc


def compiled(**texts: str) -> FileDescriptorSet:
    """What protoc makes of these files (`name=text`, without `.proto`), and of all they import."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / f"{name}.proto").write_text(text)
        included = files("grpc_tools").joinpath("_proto")
        out = Path(folder) / "out"
        arguments = ["protoc", f"-I{folder}", f"-I{included}", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, *(f"{name}.proto" for name in texts)]) == 0
        return FileDescriptorSet.FromString(out.read_bytes())


def message_class(name: str, **texts: str) -> Any:
    """The class of a message by its full name."""
    pool = DescriptorPool()
    for file in compiled(**texts).file:
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(name))
