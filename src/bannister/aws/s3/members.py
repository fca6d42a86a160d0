"""What becomes of each member of S3's operations: which do what they say, which have no effect, and which are refused.

They arrive as headers, in the query and in documents. The names are botocore's, and mean the same in every operation, but for conditions: of a reader they hold,
of a writer they are refused, because a write that ignored them would overwrite or delete what it was to spare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bannister.aws.s3.faults import Fault
from bannister.aws.s3.request import Request

_BODY_CHECKSUMS: Final = (
    "ChecksumCRC32 ChecksumCRC32C ChecksumCRC64NVME ChecksumSHA1 ChecksumSHA256 ChecksumSHA512 ChecksumMD5 ChecksumXXHASH64 "
    "ChecksumXXHASH3 ChecksumXXHASH128"
)
_KEPT: Final = "CacheControl ContentDisposition ContentEncoding ContentLanguage ContentType Expires Metadata"
_READ: Final = (
    "Bucket Key IfMatch IfModifiedSince IfNoneMatch IfUnmodifiedSince Range ResponseCacheControl ResponseContentDisposition "
    "ResponseContentEncoding ResponseContentLanguage ResponseContentType ResponseExpires ChecksumMode"
)
_SOURCE: Final = (
    "CopySource CopySourceIfMatch CopySourceIfModifiedSince CopySourceIfNoneMatch CopySourceIfUnmodifiedSince"
)
_LISTED: Final = "Bucket Delimiter EncodingType MaxKeys Prefix"

#: By operation, and by structure in a document: the members that do what they say.
SUPPORTED: Final[Mapping[str, str]] = {
    "ListBuckets": "MaxBuckets ContinuationToken Prefix BucketRegion",
    "CreateBucket": "Bucket",
    "HeadBucket": "Bucket",
    "DeleteBucket": "Bucket",
    "GetBucketLocation": "Bucket",
    "ListObjects": f"{_LISTED} Marker",
    "ListObjectsV2": f"{_LISTED} ContinuationToken StartAfter",
    "DeleteObjects": "Bucket Delete ChecksumAlgorithm",
    "Delete": "Objects Quiet",
    "ObjectIdentifier": "Key",
    "PutObject": f"Bucket Key Body ContentLength ContentMD5 ChecksumAlgorithm {_BODY_CHECKSUMS} {_KEPT}",
    "GetObject": _READ,
    "HeadObject": _READ,
    "GetObjectTagging": "Bucket Key",
    "PutObjectTagging": "Bucket Key ContentMD5 ChecksumAlgorithm",
    "DeleteObjectTagging": "Bucket Key",
    "DeleteObject": "Bucket Key",
    "CopyObject": f"Bucket Key {_SOURCE} MetadataDirective {_KEPT}",
    "CreateMultipartUpload": f"Bucket Key ChecksumAlgorithm ChecksumType {_KEPT}",
    "UploadPart": f"Bucket Key UploadId PartNumber Body ContentLength ContentMD5 ChecksumAlgorithm {_BODY_CHECKSUMS}",
    "UploadPartCopy": f"Bucket Key UploadId PartNumber CopySourceRange {_SOURCE}",
    "ListParts": "Bucket Key UploadId MaxParts PartNumberMarker",
    "AbortMultipartUpload": "Bucket Key UploadId",
    "CompleteMultipartUpload": f"Bucket Key UploadId MultipartUpload MpuObjectSize {_BODY_CHECKSUMS}",
    "CompletedMultipartUpload": "Parts",
    "CompletedPart": f"PartNumber ETag {_BODY_CHECKSUMS}",
}

_NO_LISTS: Final = "there are no access lists"
_AS_SENT: Final = "objects are kept as they are sent"
_ONE_OWNER: Final = "there is one account"

#: They change nothing, and no answer claims that they did.
IGNORED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ["ACL", "GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP", "ObjectOwnership"],
        _NO_LISTS,
    ),
    **dict.fromkeys(["ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled"], _AS_SENT),
    **dict.fromkeys(["ExpectedBucketOwner", "ExpectedSourceBucketOwner", "RequestPayer"], _ONE_OWNER),
    **dict.fromkeys(["Tagging", "TaggingDirective"], "objects have no tags"),
    **dict.fromkeys(["MFA", "BypassGovernanceRetention"], "nothing is protected from deletion"),
    "AnnotationDirective": "objects have no annotations",
    "StorageClass": "there is one class, STANDARD",
    "WebsiteRedirectLocation": "buckets are no websites",
    "CreateBucketConfiguration": "there is one place, whatever it is called",
    "BucketNamespace": "there is one account",
    "FetchOwner": "the owner of an object is not told",
    "OptionalObjectAttributes": "nothing is archived, so nothing is restored",
    "ChecksumAlgorithm": "a copy keeps the checksums of its source",
    "ChecksumType": "it is said when the upload is created",
}

_CONDITIONS: Final = "conditions of a write are not supported"
_CUSTOMERS_KEYS: Final = "encryption with keys of the customer's own is not supported"
_LOCKS: Final = "locks on objects are not supported"
_VERSIONS: Final = "versions are not supported"

#: By the header that says it: the member, and why it is refused.
REFUSED_HEADERS: Final[Mapping[str, tuple[str, str]]] = {
    "if-match": ("IfMatch", _CONDITIONS),
    "if-none-match": ("IfNoneMatch", _CONDITIONS),
    "x-amz-if-match-last-modified-time": ("IfMatchLastModifiedTime", _CONDITIONS),
    "x-amz-if-match-size": ("IfMatchSize", _CONDITIONS),
    "x-amz-if-match-initiated-time": ("IfMatchInitiatedTime", _CONDITIONS),
    "x-amz-write-offset-bytes": ("WriteOffsetBytes", "appending to objects is not supported"),
    "x-amz-server-side-encryption-customer-algorithm": ("SSECustomerAlgorithm", _CUSTOMERS_KEYS),
    "x-amz-server-side-encryption-customer-key": ("SSECustomerKey", _CUSTOMERS_KEYS),
    "x-amz-server-side-encryption-customer-key-md5": ("SSECustomerKeyMD5", _CUSTOMERS_KEYS),
    "x-amz-copy-source-server-side-encryption-customer-algorithm": ("CopySourceSSECustomerAlgorithm", _CUSTOMERS_KEYS),
    "x-amz-copy-source-server-side-encryption-customer-key": ("CopySourceSSECustomerKey", _CUSTOMERS_KEYS),
    "x-amz-copy-source-server-side-encryption-customer-key-md5": ("CopySourceSSECustomerKeyMD5", _CUSTOMERS_KEYS),
    "x-amz-bucket-object-lock-enabled": ("ObjectLockEnabledForBucket", _LOCKS),
    "x-amz-object-lock-mode": ("ObjectLockMode", _LOCKS),
    "x-amz-object-lock-retain-until-date": ("ObjectLockRetainUntilDate", _LOCKS),
    "x-amz-object-lock-legal-hold": ("ObjectLockLegalHoldStatus", _LOCKS),
    "x-amz-object-lock-event-hold": ("ObjectLockEventHold", _LOCKS),
    "x-amz-object-lock-event-hold-duration-days": ("ObjectLockEventHoldDurationDays", _LOCKS),
    "x-amz-object-lock-event-hold-duration-years": ("ObjectLockEventHoldDurationYears", _LOCKS),
}
#: What a document says of an object that is to be deleted.
REFUSED_OF_DELETIONS: Final[Mapping[str, str]] = {
    "VersionId": _VERSIONS,
    "ETag": _CONDITIONS,
    "LastModifiedTime": _CONDITIONS,
    "Size": _CONDITIONS,
}
#: In the query, where the door looks for operations: with them a call is none that it knows.
REFUSED_IN_QUERY: Final[Mapping[str, str]] = {
    "VersionId": _VERSIONS,
    "PartNumber": "reading one part of an object is not supported",
}
#: Of a reader these hold.
_OF_READERS: Final = ("if-match", "if-none-match")
_ASKS_NOTHING: Final = ("false", "OFF")


def refuse(request: Request) -> None:
    """Raises `Fault`: a header asks for what is not supported, and what the call would do without it is not what was wanted."""
    reads = request.method in ("GET", "HEAD")
    for header, (member, why) in REFUSED_HEADERS.items():
        given = request.headers.get(header)
        if given is not None and given not in _ASKS_NOTHING and not (reads and header in _OF_READERS):
            raise Fault("NotImplemented", f"{member} cannot be used: {why}.")


def refused_deletion(given: Mapping[str, str]) -> Fault | None:
    """Why an object is not deleted, by what the document says of it besides its key."""
    for member, why in REFUSED_OF_DELETIONS.items():
        if member in given and given[member] != "null":
            return Fault("NotImplemented", f"{member} cannot be used: {why}.")
    return None
