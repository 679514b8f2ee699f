"""An operator at the control plane's API: logs in, and says in a sentence what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2

if TYPE_CHECKING:
    from collections.abc import Collection

TIMEOUT_S: Final = 10.0
UNAUTHORIZED: Final = 401


class ControlApi:
    """The routes that scenarios use. Answers are plain JSON values, as a script would see them."""

    def __init__(self, port: int, password: str) -> None:
        self._password = password
        self._token = ""
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """One request as the first operator, whatever the answer; logs in when the token is old."""
        answer = self._send(method, path, body) if self._token else None
        if answer is None or answer.status_code == UNAUTHORIZED:
            self._log_in()
            answer = self._send(method, path, body)
        return answer

    def _send(self, method: str, path: str, body: object) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._client.request(method, path, json=body, headers=headers)

    def _log_in(self) -> None:
        answer = self._client.post(
            "/api/account/login", json={"username": "root", "password": self._password}
        )
        assert answer.status_code == 200, f"login: {answer.status_code} {answer.text}"
        self._token = answer.json()["access"]

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        expect: Collection[int] = (200, 201, 204),
    ) -> Any:
        """One request that must succeed, and its JSON."""
        answer = self.ask(method, path, body)
        assert answer.status_code in expect, (
            f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        )
        return answer.json() if answer.content else None

    def node_add(self, name: str, address: str, **fields: object) -> dict[str, Any]:
        """Register a node."""
        body = {"name": name, "address": address, **fields}
        node: dict[str, Any] = self.call("POST", "/api/proxy/nodes", body)
        return node

    def node_change(self, node_id: str, **fields: object) -> dict[str, Any]:
        """Change some fields of a node."""
        node: dict[str, Any] = self.call("PATCH", f"/api/proxy/nodes/{node_id}", fields)
        return node

    def node_remove(self, node_id: str) -> None:
        """Forget a node."""
        self.call("DELETE", f"/api/proxy/nodes/{node_id}")

    def nodes(self) -> list[dict[str, Any]]:
        """Every node (scenarios have few)."""
        found: list[dict[str, Any]] = self.call("GET", "/api/proxy/nodes?limit=200")["results"]
        return found

    def config_change(self, **fields: object) -> dict[str, Any]:
        """Change some fields of the proxy config."""
        config: dict[str, Any] = self.call("PATCH", "/api/proxy/config", fields)
        return config

    def state(self) -> dict[str, Any]:
        """What the data planes report."""
        state: dict[str, Any] = self.call("GET", "/api/proxy/state")
        return state

    def explain(self, model: str) -> dict[str, Any]:
        """Where the next request for the model would go."""
        said: dict[str, Any] = self.call("GET", f"/api/proxy/explain?model={model}")
        return said

    def key_create(self, name: str, **fields: object) -> dict[str, Any]:
        """A new inference key; its text is in the answer, this once."""
        key: dict[str, Any] = self.call("POST", "/api/account/keys", {"name": name, **fields})
        return key

    def key_change(self, key_id: str, **fields: object) -> dict[str, Any]:
        """Change some fields of a key."""
        key: dict[str, Any] = self.call("PATCH", f"/api/account/keys/{key_id}", fields)
        return key

    def inference_keys(self) -> list[dict[str, Any]]:
        """Every inference key."""
        found: list[dict[str, Any]] = self.call("GET", "/api/account/keys?limit=200")["results"]
        return found

    def key_delete(self, key_id: str) -> None:
        """Forget a key."""
        self.call("DELETE", f"/api/account/keys/{key_id}")
