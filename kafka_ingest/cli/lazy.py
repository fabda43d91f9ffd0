"""A click group that imports a command's module only when the command runs, so that `--help` is quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from kafka_ingest.cli.errors import presented
from kafka_ingest.errors import KafkaIngestError


class LazyCommand(NamedTuple):
    """Where a command is, and the first line of its help, which `--help` shows without importing it."""

    module: str
    attribute: str
    short_help: str


class LazyGroup(click.Group):
    """Commands by name; errors of this package become one red paragraph on stderr and an exit code."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = self.lazy.get(cmd_name)
        if where is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(where.module), where.attribute)
        assert isinstance(command, click.Command)  # noqa: S101  a mistake in the table of commands
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, where.short_help) for name, where in self.lazy.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KafkaIngestError as error:
            raise presented(error) from error
