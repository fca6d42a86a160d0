"""Headers of an invocation that are longer than the members that they carry: refused before a model sees them.

Envoy's filter for access control looks at headers natively, at no cost worth naming, and says in the details of its refusal which of its policies it was; the local
replies (`local_replies`) say the rest, in AWS's words. What all headers of a request together may have (60 KiB) is checked before any filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as filter_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import path_pb2, regex_pb2, string_pb2

from bannister.domain.runtime_texts import TooLong
from bannister.envoy.resources.messages import packed

_FILTER: Final = "envoy.filters.http.rbac"
#: Where invocations are.
_PREFIX: Final = "/endpoints/"
#: RE2 repeats nothing more often.
_REPEATED_MAX: Final = 1000


def header_length_filter(limits: Mapping[str, TooLong]) -> http_connection_manager_pb2.HttpFilter:
    """Refuses invocations with a header that is too long."""
    policies = {header: _policy(header, limit.length_max) for header, limit in limits.items()}
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY, policies=policies)
    return http_connection_manager_pb2.HttpFilter(name=_FILTER, typed_config=packed(filter_pb2.RBAC(rules=rules)))


def refusal_details(header: str) -> str:
    """What Envoy says of a request that was refused for this header."""
    return f"rbac_access_denied_matched_policy[{header}]"


def _policy(header: str, length_max: int) -> rbac_pb2.Policy:
    path = path_pb2.PathMatcher(path=string_pb2.StringMatcher(prefix=_PREFIX))
    longer = regex_pb2.RegexMatcher(regex=longer_than(length_max))
    matcher = route_components_pb2.HeaderMatcher(name=header, string_match=string_pb2.StringMatcher(safe_regex=longer))
    both = [rbac_pb2.Permission(header=matcher), rbac_pb2.Permission(url_path=path)]
    return rbac_pb2.Policy(
        permissions=[rbac_pb2.Permission(and_rules=rbac_pb2.Permission.Set(rules=both))],
        principals=[rbac_pb2.Principal(any=True)],
    )


def longer_than(length: int) -> str:
    """Matches more bytes than these, whatever they are."""
    times, rest = divmod(length + 1, _REPEATED_MAX)
    return rf"\C{{{_REPEATED_MAX}}}" * times + rf"\C{{{rest},}}"
