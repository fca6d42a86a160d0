"""Sessions: requests of one go to the instance that holds it, and nobody has to remember which that is.

A model makes a session when it is asked to (SessionId NEW_SESSION), gives it an id and says when it expires. The caller gets that id with a token at its end, and gives both back
with each request of the session:

    MODEL'S ID - GROUP EXPIRY ADDRESS           8 hexadecimal digits, 8, and two for each character

So any thread of any proxy, also after a restart, finds the instance in the id; and the model sees its own id only. The routes of an endpoint name the groups that it has, by a digest of their
names; a session whose group is gone, whose time is over or whose instance is gone is refused (`RuntimeTexts.unknown_session`). It is never moved, for what it was is in the memory of one process: it
lasts through a shift of the traffic, and ends with its fleet.

A request that names a session is recognised by a first route, which refuses it and switches the filter on. The filter (`sessions.lua`) reads the token, sets the address of the instance, which the
load balancer then takes or nobody (strict), and a header with the digest, and has the route chosen anew.

Requests of sessions are not copied to shadows, which would not know the session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, TypeAlias

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import any_pb2

from bannister.envoy.resources.lua import lua_filter
from bannister.envoy.resources.messages import packed, set_header

_Filter: TypeAlias = http_connection_manager_pb2.HttpFilter

_SESSION: Final = "bannister.session"
#: What the filter notes of a request of a session that exists, under its own name.
SESSION_ID: Final = "id"
SESSION_METADATA: Final = _SESSION
SESSION_HEADER: Final = "x-amzn-sagemaker-session-id"
NEW_SESSION: Final = "NEW_SESSION"
#: From a model, where a session begins or ends; the filter writes them anew for the caller.
ANSWER_HEADERS: Final = ("x-amzn-sagemaker-new-session-id", "x-amzn-sagemaker-closed-session-id")
#: On a request: the digest of the group that holds its session. On an answer that may begin one, with the address: who gave it.
GROUP_HEADER: Final = "x-bannister-session-group"
_ADDRESS_HEADER: Final = "x-bannister-session-address"
_DIGEST_DIGITS: Final = 8


def session_filter() -> _Filter:
    """Off until a route switches it on."""
    names = {"group": GROUP_HEADER, "address": _ADDRESS_HEADER}
    return lua_filter(_SESSION, "sessions.lua", "SESSION", names, disabled=True)


def of_session() -> Mapping[str, any_pb2.Any]:
    """What a route has to configure, by filter, for its requests to be looked at."""
    return {_SESSION: packed(lua_pb2.LuaPerRoute(filter_context={}))}


def digest(group: str) -> str:
    """Stands for a group in a token."""
    return hashlib.sha256(group.encode()).hexdigest()[:_DIGEST_DIGITS]


def holder_marks(group: str) -> list[base_pb2.HeaderValueOption]:
    """What tells the filter who has answered, whatever the model sent under these names."""
    return [set_header(GROUP_HEADER, digest(group)), set_header(_ADDRESS_HEADER, "%UPSTREAM_REMOTE_ADDRESS%")]
