"""What can be wrong with an edit of a node, each with its status and code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from shared.addresses import InvalidAddressError


class AddressRefusedError(ApiError):
    """The address is no address, or one where nodes may not be."""

    def __init__(self, error: InvalidAddressError) -> None:
        super().__init__(400, error.fault.value, str(error), errors={"address": [str(error)]})


class TokenNeededError(ApiError):
    """The node's token was given for another address."""

    def __init__(self) -> None:
        detail = (
            "The node's token was given for its old address and would be sent to the new one: give "
            "it again with the address, or an empty one to drop it."
        )
        super().__init__(400, "invalid", detail, {"token": [detail]})


class NodeExistsError(ApiError):
    """Another node has this name or address."""

    def __init__(self, field: str) -> None:
        detail = f"Another node has this {field}."
        super().__init__(409, "already_exists", detail, errors={field: [detail]})


class VersionConflictError(ApiError):
    """The edit was made against older data."""

    def __init__(self, current: int) -> None:
        detail = (
            f"This was changed meanwhile (it is at revision {current}); read it again, then edit."
        )
        super().__init__(409, "version_conflict", detail)


class InvalidFilterError(ApiError):
    """A query parameter that this list does not take."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(400, "invalid_filter", detail, errors={parameter: [detail]})
