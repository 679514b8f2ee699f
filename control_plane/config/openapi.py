"""How the API describes itself."""

from __future__ import annotations

from typing import Any

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Aivonx Proxy control plane",
    "DESCRIPTION": (
        "Nodes, models, jobs, proxy config, state, accounts, API keys and audit. Sign in at "
        "/api/account/login and send the access token as `Authorization: Bearer …`. Every error "
        "has the shape "
        '`{"detail", "code", "errors", "request_id"}`.'
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["control_plane.common.permissions.SchemaPermission"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Fields of one name with different choices; without a name of their own they get a hash.
    "ENUM_NAME_OVERRIDES": {
        "JobStateEnum": "control_plane.jobs.models.STATES",
        "JobPartStateEnum": "control_plane.jobs.models.PART_STATES",
        "PlaceEnum": "control_plane.jobs.matrix.PLACES",
    },
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "control_plane.common.schema.name_plainly",
        "control_plane.common.schema.document_errors",
    ],
}
