"""Lua filters: a script beside this file, and before it a table of values that it is given.

Values are written as literals, so a script needs no configuration at run time, and none can be read as code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from bannister.envoy.resources.messages import packed

#: What a table may hold.
Table = Mapping[str, "str | int | Table"]


def lua_filter(
    name: str, file: str, table: str, values: Table, *, disabled: bool = False
) -> http_connection_manager_pb2.HttpFilter:
    """The script `file`, which finds `values` in the variable `table`."""
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    script = f"local {table} = {lua_table(values)}\n{text}"
    return http_connection_manager_pb2.HttpFilter(
        name=name,
        typed_config=packed(lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=script))),
        disabled=disabled,
    )


def lua_table(values: Table) -> str:
    """A table's literal."""
    return "{ " + ", ".join(f"{name} = {_literal(value)}" for name, value in values.items()) + " }"


def lua_string(text: str) -> str:
    """Every byte as a decimal escape where it is not plain: no text can end the string or be read as code."""
    quoted = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in text.encode()
    )
    return f'"{quoted}"'


def _literal(value: str | int | Table) -> str:
    if isinstance(value, Mapping):
        return lua_table(value)
    return lua_string(value) if isinstance(value, str) else str(value)
