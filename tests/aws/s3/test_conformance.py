"""Every operation of S3 that is supported, with values made from botocore's shapes: what is right comes back, what is wrong is a 4xx with one of S3's codes
that changes nothing, and only what is not supported is a 501.

S3 says everything in headers, arguments and documents, so what is wrong is put there, where botocore would not write it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import botocore.parsers
import botocore.serialize
import pytest
from botocore.awsrequest import HeadersDict
from botocore.validate import ParamValidator
from tests.aws.drawn import ODD, Drawing

from bannister.aws.s3.door import S3Door
from bannister.aws.s3.enumerations import values
from bannister.aws.s3.members import SUPPORTED
from bannister.aws.wire.models import service_model
from bannister.clock import SystemClock
from bannister.ids import SeededIds
from bannister.objects.memory import MemoryObjects
from bannister.objects.store import UPLOADS_BUCKET
from bannister.settings import Settings

MODEL: Final = service_model("s3")
OPERATIONS: Final = [name for name in SUPPORTED if name in MODEL.operation_names]
#: Those that a request of its own must not be answered with; AWS lists them, too.
CODES: Final = {
    *(
        "BadDigest",
        "BadRequest",
        "InvalidTag",
        "BucketNotEmpty",
        "EntityTooLarge",
        "EntityTooSmall",
        "IncompleteBody",
        "InvalidArgument",
    ),
    *("InvalidBucketName", "InvalidDigest", "InvalidEncryptionAlgorithmError", "InvalidPart", "InvalidPartOrder"),
    *("InvalidRange", "InvalidRequest", "InvalidStorageClass", "InvalidURI", "KeyTooLongError", "MalformedXML"),
    *("MetadataTooLarge", "MethodNotAllowed", "MissingContentLength", "NoSuchBucket", "NoSuchKey", "NoSuchUpload"),
    *("NotImplemented", "PreconditionFailed", "XAmzContentSHA256Mismatch"),
    # Of an answer without a document there is only the status.
    *("400", "404", "405", "412", "416", "501"),
}
#: Where a number is asked for.
NO_NUMBERS: Final = ("zz", "-1", "1.5", "9" * 30, "٣", "1e3", " ")
DOCUMENTS: Final = (
    b"",
    b"zz",
    b"<",
    b"<a/>",
    b"<Delete/>",
    b"<Delete><Object/></Delete>",
    b"<Delete>" + b"<Object><Key>there</Key></Object>" * 1001 + b"</Delete>",
    b"<CompleteMultipartUpload/>",
    b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>zz</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    b"<Tagging/>",
    b"<Tagging><TagSet><Tag><Key/><Value/></Tag></TagSet></Tagging>",
    b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
    b"<a>" * 100,
    b'<!DOCTYPE a [<!ENTITY e "e">]><a>&e;</a>',
    b'<?xml version="1.0" encoding="nope"?><a/>',
    "<a>\uffff</a>".encode(),
    b"\xff\xfe<a/>",
)
#: Those of the odd texts that UTF-8 and XML can say: of others S3 too writes documents that nobody can read, unless asked for another encoding.
WRITABLE: Final = [text for text in ODD if text not in ("\0", "\ud800", "\uffff")]
#: S3 takes it for none that was given.
NOT_THERE: Final = ""


@dataclass(frozen=True)
class Sent:
    """A request as it goes over the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answered:
    status: int
    parsed: dict[str, Any]
    body: bytes

    @property
    def code(self) -> str:
        return str(self.parsed.get("Error", {}).get("Code", ""))


class World:
    """A bucket with an object, and an upload with a part."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryObjects(100_000)
        self._door = S3Door(self.store, SystemClock(), SeededIds(1), Settings(folder))
        self.upload = ""

    async def begin(self) -> World:
        await self.ask("CreateBucket", {"Bucket": "bucket"})
        await self.ask("PutObject", {"Bucket": "bucket", "Key": "there", "Body": b"content"})
        begun = await self.ask("CreateMultipartUpload", {"Bucket": "bucket", "Key": "whole"})
        self.upload = begun.parsed["UploadId"]
        await self.ask("UploadPart", {**self.likely("UploadPart"), "Body": b"part"})
        return self

    def likely(self, operation: str) -> dict[str, Any]:
        """What makes the operation succeed, as little as there must be."""
        of_upload = {"UploadPart", "UploadPartCopy", "ListParts", "CompleteMultipartUpload", "AbortMultipartUpload"}
        known: dict[str, Any] = {
            "Bucket": "bucket",
            "Key": "whole" if operation in of_upload else "there",
            "CopySource": "bucket/there",
            "UploadId": self.upload,
            "PartNumber": 1,
            "Delete": {"Objects": [{"Key": "there"}]},
            "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]},
            "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"70f3f2d02a2cfd7e5f1f1d3a1a8b8a1f"'}]},
        }
        if operation == "CopyObject":
            known["Key"] = "copy"
        shape = input_of(operation)
        wanted = {*shape.required_members, *({"MultipartUpload"} & shape.members.keys())}
        return {name: known[name] for name in wanted}

    async def ask(self, operation: str, given: Mapping[str, Any]) -> Answered:
        return await self.send(operation, written(operation, given))

    async def send(self, operation: str, sent: Sent) -> Answered:
        headers = {"host": "localhost", "content-length": str(len(sent.body)), **sent.headers}
        arguments = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sent.query.items())
        scope = {
            "type": "http",
            "method": sent.method,
            "path": sent.path,
            "raw_path": sent.path.encode(),
            "query_string": arguments.encode(),
            "headers": [(name.lower().encode(), value.encode("utf-8", "replace")) for name, value in headers.items()],
        }
        events: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": sent.body}

        async def send(event: Any) -> None:
            events.append(event)

        await self._door(scope, receive, send)
        body = b"".join(event.get("body", b"") for event in events[1:])
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in events[0]["headers"]}
        told.pop("expires", None)  # any text; botocore's clients take it out before they read the rest
        model = MODEL.operation_model(operation)
        answer: dict[str, Any] = {"status_code": events[0]["status"], "headers": HeadersDict(told), "body": body}
        if model.has_streaming_output and answer["status_code"] < 300:
            answer["body"] = b""  # a stream, which the parser hands on
        parsed = botocore.parsers.create_parser("rest-xml").parse(answer, model.output_shape)
        return Answered(events[0]["status"], parsed, body)

    async def content(self) -> list[tuple[str, str, str, str]]:
        """All that is there."""
        found = []
        for bucket in [name for name, _ in await self.store.buckets()] + [UPLOADS_BUCKET]:
            found += [(bucket, one.key, one.etag, str(one.metadata)) for one in (await self.store.list(bucket)).objects]
        return found


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path).begin()


def input_of(operation: str) -> Any:
    return MODEL.operation_model(operation).input_shape


def written(operation: str, given: Mapping[str, Any]) -> Sent:
    """A request as botocore writes it."""
    serializer = botocore.serialize.create_serializer("rest-xml", include_validation=False)
    request = serializer.serialize_to_request(given, MODEL.operation_model(operation))
    path, _, arguments = request["url_path"].partition("?")
    query = {part.partition("=")[0]: part.partition("=")[2] for part in arguments.split("&") if part}
    body = request["body"] or b""
    return Sent(
        request["method"],
        path,
        query | {name: str(value) for name, value in request["query_string"].items()},
        {name: str(value) for name, value in request["headers"].items()},
        body if isinstance(body, bytes) else body.encode(),
    )


async def sound(world: World, operation: str, sent: Sent, why: Any) -> Answered:
    """Send, and check whatever must be true of every answer."""
    before = await world.content()
    answered = await world.send(operation, sent)
    if answered.status < 400:
        shape = MODEL.operation_model(operation).output_shape
        found = {name: value for name, value in answered.parsed.items() if name != "ResponseMetadata"}
        if shape is not None:
            found.pop("Body", None)
            report = ParamValidator().validate(found, shape)
            assert not report.has_errors(), (why, report.generate_report())
        return answered
    assert answered.code in CODES, (why, answered)
    assert answered.status < 500 or answered.code in ("NotImplemented", "501"), (why, answered)
    assert await world.content() == before, (why, "it was refused, and something was changed")
    return answered


# --- what is right


KEPT: Final = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata")


@pytest.mark.parametrize("number", range(30))
async def test_what_is_put_comes_back(world: World, number: int) -> None:
    rng = random.Random(number)
    drawing, members = Drawing(rng), input_of("PutObject").members
    texts = ("text/csv", "no-cache", 'attachment; filename="a b.gz"', "gzip", "de, en", "x" * 300)
    given: dict[str, Any] = {name: rng.choice(texts) for name in KEPT[:-1] if rng.random() < 0.7}
    given["Metadata"] = {f"Name-{index}".lower(): rng.choice(texts) for index in range(rng.randint(0, 3))}
    body = drawing.value(members["Body"])
    key = rng.choice(("k", "a//b c/../x", "ünï/📦", "per%cent+plus&amp;?query#hash", "x" * 1024))
    await world.ask("PutObject", {"Bucket": "bucket", "Key": key, "Body": body, **given})
    for operation in ("GetObject", "HeadObject"):
        found = await world.ask(operation, {"Bucket": "bucket", "Key": key})
        assert {name: found.parsed[name] for name in given} == given
        assert (found.parsed["ContentLength"], found.status) == (len(body), 200)
        assert found.body == (body if operation == "GetObject" else b"")
    listed = await world.ask("ListObjectsV2", {"Bucket": "bucket", "Prefix": key})
    assert [(one["Key"], one["Size"]) for one in listed.parsed["Contents"]] == [(key, len(body))]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_member_that_is_supported_or_without_effect_is_taken(tmp_path: Path, operation: str) -> None:
    """With a value that AWS knows; that a condition does not hold, or a digest is another's, is a refusal like any other."""
    rng, world = random.Random(operation), await World(tmp_path).begin()
    for name, member in input_of(operation).members.items():
        drawing = Drawing(rng, {"Bucket": ("bucket",), "Key": ("there",)})
        base = world.likely(operation)
        given = base if name in base else {**base, name: drawing.value(member, name)}
        answered = await sound(world, operation, written(operation, given), (operation, name, given))
        if member.metadata.get("enum") and answered.status >= 400:
            assert answered.code not in ("InvalidArgument", "InvalidStorageClass"), (given, answered)
        if answered.status < 400:
            world = await World(tmp_path).begin()


# --- what is wrong


def places(operation: str) -> Iterator[tuple[str, str, Any]]:
    """Where a member is written, under which name, and its shape."""
    for member in input_of(operation).members.values():
        location = member.serialization.get("location")
        if location in ("header", "querystring"):
            yield location, member.serialization["name"], member


def wrong_values(shape: Any) -> Iterator[str]:
    match shape.type_name:
        case "integer" | "long":
            yield from NO_NUMBERS
        case "boolean" | "timestamp":
            yield from ("zz", "-1", "Mon, 99 Foo 2020 00:00:00 GMT", "9" * 30, "Sun, 06 Nov 99999 08:49:37 GMT")
        case _:
            yield from ("TELEPORT", "x" * 10_000)
    yield from (text for text in ODD if text.isprintable())
    yield NOT_THERE


def spoilt(sent: Sent, location: str, name: str, value: str) -> Sent:
    if location == "header":
        kept = {known: text for known, text in sent.headers.items() if known.lower() != name.lower()}
        return replace(sent, headers={**kept, name: value})
    return replace(sent, query={**sent.query, name: value})


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_wrong_value_is_no_fault_of_the_server_and_changes_nothing(tmp_path: Path, operation: str) -> None:
    world = await World(tmp_path).begin()
    for location, name, shape in places(operation):
        for value in wrong_values(shape):
            sent = spoilt(written(operation, world.likely(operation)), location, name, value)
            if (await sound(world, operation, sent, (operation, name, value))).status < 400:
                world = await World(tmp_path).begin()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_value_that_s3_does_not_know_is_refused(world: World, operation: str) -> None:
    for location, name, shape in places(operation):
        if shape.metadata.get("enum"):
            assert set(shape.metadata["enum"]) <= set(values()[name.lower()])
            sent = spoilt(written(operation, world.likely(operation)), location, name, "TELEPORT")
            answered = await sound(world, operation, sent, (operation, name))
            assert 400 <= answered.status < 500, (name, answered)
            if sent.method != "HEAD":
                assert name.lower() in answered.parsed["Error"]["Message"].lower()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_is_no_number_is_refused(world: World, operation: str) -> None:
    for location, name, shape in places(operation):
        if shape.type_name not in ("integer", "long") or (location, name) == ("header", "x-amz-if-match-size"):
            continue
        for value in NO_NUMBERS:
            sent = spoilt(written(operation, world.likely(operation)), location, name, value)
            answered = await sound(world, operation, sent, (operation, name, value))
            assert answered.status >= 400, (name, value, answered)


@pytest.mark.parametrize("operation", ["CreateBucket", "DeleteObjects", "CompleteMultipartUpload"])
@pytest.mark.parametrize("number", range(len(DOCUMENTS)))
async def test_a_document_that_is_none_is_refused(world: World, operation: str, number: int) -> None:
    sent = replace(written(operation, world.likely(operation)), body=DOCUMENTS[number])
    answered = await sound(world, operation, sent, DOCUMENTS[number])
    if operation != "CreateBucket":  # whose document has no effect
        assert answered.status == 400


@pytest.mark.parametrize("text", WRITABLE, ids=ascii)
async def test_odd_names_are_no_fault_of_the_server(world: World, text: str) -> None:
    for operation in OPERATIONS:
        for path in (f"/{quote(text)}", f"/bucket/{quote(text)}", f"/bucket/{'x' * 1025}", "/bucket/%ff", "//", "/"):
            sent = replace(written(operation, world.likely(operation)), path=path)
            await sound(await World(Path("/nonexistent")).begin(), operation, sent, (operation, path))
