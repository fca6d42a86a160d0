"""What the proxy answers by itself, in AWS's words, told apart by why it had to.

The texts are values made by `bannister.aws`. `{endpoint}` becomes a reference to the route's own metadata, filled in by Envoy.
The first mapper that fits counts. Direct responses pass through here too and are left as they are.
"""

from __future__ import annotations

import json
from typing import TypeAlias

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import wrappers_pb2

from bannister.domain.runtime_texts import ModelErrorText, Reply, RuntimeTexts
from bannister.envoy.resources.header_limits import malformed_details, too_long_details
from bannister.envoy.resources.messages import packed, set_header
from bannister.envoy.resources.names import API, ERROR_TYPE_HEADER, METADATA, REFUSAL
from bannister.envoy.resources.sessions import SESSION_ID, SESSION_METADATA

_Mapper: TypeAlias = http_connection_manager_pb2.ResponseMapper
_Filter: TypeAlias = accesslog_pb2.AccessLogFilter

#: The control plane restarts in about a second; clients of AWS retry a 503.
CONTROL_PLANE_AWAY = Reply(
    503,
    "ServiceUnavailable",
    json.dumps(
        {
            "__type": "ServiceUnavailable",
            "message": "Bannister's control plane does not answer at the moment. Endpoints go on serving; try again.",
        }
    ),
)
#: A model's error answer that is larger than what the proxy may hold back to wrap it.
#: Of a request for the instance that holds its session, and for no other.
_OF_SESSION = f"metadata.filter_metadata['{SESSION_METADATA}']['{SESSION_ID}'] != ''"
_NOT_LOADED = "(the response body is too large to be repeated here)"


def local_replies(texts: RuntimeTexts) -> http_connection_manager_pb2.LocalReplyConfig:
    """The mappers, most specific first."""
    mappers = [
        _mapper(_cel(f"xds.route_name in ['{API}', '{REFUSAL}'] && response.code >= 500"), CONTROL_PLANE_AWAY),
        _mapper(_flags("UT"), texts.timed_out),
        _mapper(_flags("UC", "UR", "UPE"), texts.model_exited),
        _mapper(_both(_flags("UH"), _cel(_OF_SESSION)), texts.unknown_session),
        _mapper(_flags("UH", "UF", "UO", "NC", "URX"), texts.no_healthy_instance),
        _mapper(_details("request_payload_too_large"), texts.body_too_large),
        *(_mapper(_details(too_long_details(header)), one.too_long) for header, one in texts.header_limits.items()),
        *(_mapper(_details(malformed_details(header)), one.malformed) for header, one in texts.header_limits.items()),
        *_error_too_large(texts),
        _malformed(texts.malformed_request),
    ]
    return http_connection_manager_pb2.LocalReplyConfig(mappers=mappers)


def _mapper(applies: _Filter, reply: Reply) -> _Mapper:
    return _Mapper(
        filter=applies,
        status_code=wrappers_pb2.UInt32Value(value=reply.status),
        headers_to_add=[set_header(ERROR_TYPE_HEADER, reply.error_type)],
        body_format_override=_json_text(reply.about(endpoint=_route_metadata("endpoint")).body),
    )


def _error_too_large(texts: RuntimeTexts) -> list[_Mapper]:
    return [
        _mapper(
            _cel(
                "response.code_details == 'response_payload_too_large' && "
                f"metadata.filter_metadata['{METADATA}']['original_kind'] == '{kind}'"
            ),
            _without_body(text),
        )
        for kind, text in (("client", texts.model_client_error), ("server", texts.model_server_error))
    ]


def _without_body(text: ModelErrorText) -> Reply:
    text = text.about(status=f"%DYNAMIC_METADATA({METADATA}:original_status)%")
    body = text.opening + _NOT_LOADED + text.middle + _NOT_LOADED + text.closing
    return Reply(text.status, text.error_type, body)


def _malformed(reply: Reply) -> _Mapper:
    """Requests that Envoy refuses (bad framing, 501 for one that it does not know, headers too large); its own status says best what is wrong."""
    ours = "['direct_response', 'lua_response']"
    return _Mapper(
        filter=_cel(
            f"!(response.code_details in {ours}) && (response.code >= 400 && response.code < 500 || response.code == 501)"
        ),
        headers_to_add=[set_header(ERROR_TYPE_HEADER, reply.error_type)],
        body_format_override=_json_text(reply.body),
    )


def _json_text(text: str) -> substitution_format_string_pb2.SubstitutionFormatString:
    return substitution_format_string_pb2.SubstitutionFormatString(
        text_format_source=base_pb2.DataSource(inline_string=text), content_type="application/json"
    )


def _route_metadata(key: str) -> str:
    return f"%METADATA(ROUTE:{METADATA}:{key})%"


def _flags(*flags: str) -> _Filter:
    return _Filter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=flags))


def _both(*filters: _Filter) -> _Filter:
    return _Filter(and_filter=accesslog_pb2.AndFilter(filters=filters))


def _details(details: str) -> _Filter:
    return _cel(f"response.code_details == '{details}'")


def _cel(expression: str) -> _Filter:
    return _Filter(
        extension_filter=accesslog_pb2.ExtensionFilter(
            name="cel", typed_config=packed(cel_pb2.ExpressionFilter(expression=expression))
        )
    )
