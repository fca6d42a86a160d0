"""Headers of an invocation that are longer than the members that they carry may be, or not of their form: refused before a model sees them.

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

from bannister.domain.runtime_texts import HeaderLimit
from bannister.envoy.resources.messages import packed

_FILTER: Final = "envoy.filters.http.rbac"
#: Where invocations are.
_PREFIX: Final = "/endpoints/"
#: RE2 repeats nothing more often.
_REPEATED_MAX: Final = 1000


def header_limit_filter(limits: Mapping[str, HeaderLimit]) -> http_connection_manager_pb2.HttpFilter:
    """Refuses invocations with a header that is beyond its limit."""
    policies = {}
    for header, limit in limits.items():
        policies[_too_long(header)] = _policy(_matcher(header, longer_than(limit.length_max)))
        policies[_malformed(header)] = _policy(_matcher(header, limit.pattern, inverted=True))
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY, policies=policies)
    return http_connection_manager_pb2.HttpFilter(name=_FILTER, typed_config=packed(filter_pb2.RBAC(rules=rules)))


def too_long_details(header: str) -> str:
    """What Envoy says of a request that was refused because this header is too long."""
    return f"rbac_access_denied_matched_policy[{_too_long(header)}]"


def malformed_details(header: str) -> str:
    """What Envoy says of a request that was refused because this header has not its form."""
    return f"rbac_access_denied_matched_policy[{_malformed(header)}]"


def _too_long(header: str) -> str:
    return header


def _malformed(header: str) -> str:
    return f"{header}/form"  # behind the other: of both, the first policy in the order of their names counts


def _matcher(header: str, pattern: str, *, inverted: bool = False) -> route_components_pb2.HeaderMatcher:
    """Only a header that is there matches, inverted or not."""
    matched = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern))
    return route_components_pb2.HeaderMatcher(name=header, string_match=matched, invert_match=inverted)


def _policy(matcher: route_components_pb2.HeaderMatcher) -> rbac_pb2.Policy:
    path = path_pb2.PathMatcher(path=string_pb2.StringMatcher(prefix=_PREFIX))
    both = [rbac_pb2.Permission(header=matcher), rbac_pb2.Permission(url_path=path)]
    return rbac_pb2.Policy(
        permissions=[rbac_pb2.Permission(and_rules=rbac_pb2.Permission.Set(rules=both))],
        principals=[rbac_pb2.Principal(any=True)],
    )


def longer_than(length: int) -> str:
    """Matches more bytes than these, whatever they are."""
    times, rest = divmod(length + 1, _REPEATED_MAX)
    return rf"\C{{{_REPEATED_MAX}}}" * times + rf"\C{{{rest},}}"
