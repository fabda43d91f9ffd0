"""Objects of Python that a declaration names by a dotted path: `package.module.NAME`, or `.module.NAME` beside it."""

from __future__ import annotations

import importlib
import importlib.util

from kafka_ingest.streams.declaration.place import Place, wrong


def named_object(path: str, package: str | None, place: Place) -> object:
    """What a dotted path names.

    package: the package that a path with a dot before it is relative to; None where there is none.

    Raises DeclarationError for a path that names nothing. Of what the module itself raises when it is imported, ImportError only
    is turned into one.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name.strip(".") or not name:
        raise wrong(place, f"is {path!r}, no path to an object in a module: write package.module.NAME, or .module.NAME")
    if path.startswith(".") and package is None:
        raise wrong(place, f"is {path!r}, and there is no package here that it could be relative to")
    try:
        module_name = importlib.util.resolve_name(module_name, package)
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise wrong(place, f"is {path!r}, which cannot be imported: {error}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise wrong(place, f"is {path!r}, and module {module_name} has no {name}") from None
