"""The members that SageMaker's List operations have in common."""

from __future__ import annotations

from typing import Any

from bannister.operations.listing import PAGE_SIZE_DEFAULT, ListRequest


def list_request(params: dict[str, Any]) -> ListRequest:
    """SageMaker sorts by creation time, newest first, unless told otherwise."""
    return ListRequest(
        sort_by=params.get("SortBy", "CreationTime"),
        ascending=params.get("SortOrder", "Descending") == "Ascending",
        limit=params.get("MaxResults", PAGE_SIZE_DEFAULT),
        token=params.get("NextToken"),
        name_contains=params.get("NameContains"),
        created_before=params.get("CreationTimeBefore"),
        created_after=params.get("CreationTimeAfter"),
        modified_before=params.get("LastModifiedTimeBefore"),
        modified_after=params.get("LastModifiedTimeAfter"),
        status=params.get("StatusEquals"),
    )
