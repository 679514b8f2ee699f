"""A hook for drf-spectacular: every operation says which errors it may answer."""

from __future__ import annotations

from typing import Any, Final

ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["detail", "code", "errors", "request_id"],
    "properties": {
        "detail": {"type": "string", "description": "What went wrong and what to do next."},
        "code": {"type": "string", "description": "Stable; match on this."},
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
            "description": "Faults by field.",
        },
        "request_id": {"type": "string", "description": "Find it in the log under this id."},
    },
}

_ALWAYS: Final = {
    "406": "No representation fits the Accept header.",
    "503": "The database cannot be reached.",
}
_WITH_SIGN_IN: Final = {"401": "Not signed in, or the token is not valid.", "403": "Not allowed."}
_WITH_BODY: Final = {
    "400": "Something in the request is not acceptable.",
    "409": "It conflicts with what is there.",
    "413": "The body is too large.",
    "415": "Send application/json.",
    "429": "Too many tries; see Retry-After.",
}
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def name_plainly(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Paths without the slash that is merely tolerated at their end, and a summary on each."""
    paths = result.get("paths", {})
    result["paths"] = {path.rstrip("/") or "/": operations for path, operations in paths.items()}
    for operations in result["paths"].values():
        for method in _METHODS:
            if method in operations:
                said = " ".join(operations[method].get("description", "").split())
                operations[method].setdefault("summary", said.partition(". ")[0].rstrip("."))
    return result


def document_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the error answers that the framework does not declare."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    for path, operations in result.get("paths", {}).items():
        for method in _METHODS:
            if method in operations:
                _document(path, method, operations[method])
    return result


def _document(path: str, method: str, operation: dict[str, Any]) -> None:
    answers = dict(_ALWAYS)
    if operation.get("security") != [{}]:
        answers |= _WITH_SIGN_IN
    if method in {"post", "put", "patch"} or operation.get("parameters"):
        answers |= _WITH_BODY
    if "{" in path:
        answers["404"] = "There is no such thing."
    for status, description in answers.items():
        operation["responses"].setdefault(
            status,
            {
                "description": description,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        )
