"""Writes of nodes by operators. What probes find is written by `findings`.

Order of every edit: judge the address and probe the node first, with no transaction open (it may
take seconds), then change row, audit and revision in one transaction. Tasks are woken by name once
it is committed; nothing here imports them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from control_plane.accounts.services import audit_record
from control_plane.common import secrets
from control_plane.common.wake import wake_on_commit
from control_plane.nodes.client import NodeClient, Observation, Target, ask
from control_plane.nodes.errors import (
    AddressRefusedError,
    NodeExistsError,
    TokenNeededError,
    VersionConflictError,
)
from control_plane.nodes.findings import findings_save, health_take, inventory_take
from control_plane.nodes.models import Node, NodeInventory
from control_plane.nodes.resolver import ResolveError, address_check
from control_plane.nodes.selectors import target_of
from control_plane.proxy_config.selectors import proxy_config_current
from control_plane.revisions.services import revision_bump
from shared.addresses import InvalidAddressError
from shared.snapshot import Verdict

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from rest_framework.request import Request

    from control_plane.accounts.models import User
    from shared.addresses import NodeAddress

CHECK_TASK: Final = "nodes.check_node"
PLAIN_FIELDS: Final = ("name", "active", "weight", "max_parallel")


@dataclass(frozen=True, slots=True)
class By:
    """Who edits, for the audit log."""

    actor: User | str
    request: Request | None = None

    def record(
        self,
        action: str,
        target: str,
        before: Mapping[str, object] | None,
        after: Mapping[str, object] | None,
    ) -> None:
        """Append to the audit log."""
        audit_record(self.actor, action, target, before, after, self.request)


@dataclass(frozen=True, slots=True)
class Edited:
    """A node after an edit, and what the probe of that edit saw (None: the edit needed none)."""

    node: Node
    seen: Observation | None


def node_create(values: Mapping[str, Any], by: By) -> Edited:
    """Register a node. An unreachable one is saved too, in standby with the reason."""
    address: NodeAddress = values["address"]
    _refuse_duplicates(values["name"], address.url, than=None)
    _refuse_forbidden(address)
    node = Node(address=address.url)
    _plain_fields_set(node, values)
    node.sealed_token = _sealed(values.get("token"))
    seen = _everything(target_of(node))
    with transaction.atomic():
        inventory = NodeInventory(node=node)
        _take(node, inventory, seen)
        _save(node, force_insert=True)
        inventory.save(force_insert=True)
        _announce(node, "node.create", None, by)
    return Edited(node, seen)


def node_update(
    node_id: uuid.UUID, values: Mapping[str, Any], by: By, *, revision: int | None = None
) -> Edited:
    """Edit a node; `revision` is the edit that the operator saw (None: whatever it is now)."""
    node = Node.objects.get(pk=node_id)
    _refuse_stale(node, revision)
    _refuse_to_carry_token(node, values)
    seen = _probe_edit(node, values)
    with transaction.atomic():
        node = Node.objects.select_for_update().get(pk=node_id)
        _refuse_stale(node, revision)
        _refuse_to_carry_token(node, values)
        before, before_target = node_public(node), (node.address, node.sealed_token)
        was_active = node.active
        _plain_fields_set(node, values)
        if "address" in values:
            node.address = values["address"].url
        if "token" in values and values["token"] != target_of(node).token:
            node.sealed_token = _sealed(values["token"])
        is_retargeted = before_target != (node.address, node.sealed_token)
        if is_retargeted:
            _forget_health(node)
            NodeInventory.objects.filter(pk=node.pk).update(memory="")  # of another machine
        if is_retargeted or (node.active and not was_active):
            node.is_fresh = True
        node.revision += 1
        seen = seen if seen and _is_about(seen, node) else None
        inventory = NodeInventory.objects.filter(pk=node.pk).first() or NodeInventory(node=node)
        if seen:
            _take(node, inventory, seen)
            inventory.save()
        _save(node)
        _announce(node, "node.update", before, by)
    return Edited(node, seen)


def node_delete(node_id: uuid.UUID, by: By, *, revision: int | None = None) -> None:
    """Remove a node. Requests that it is answering end undisturbed; no new ones go there."""
    with transaction.atomic():
        node = Node.objects.select_for_update().get(pk=node_id)
        _refuse_stale(node, revision)
        before = node_public(node)
        node.delete()
        revision_bump()
        by.record("node.delete", f"node:{node_id}", before, None)


def node_check(node: Node) -> Observation:
    """Probe a node now because somebody asks. One good probe brings it back (see `health`)."""
    config = proxy_config_current()
    if node.health != Verdict.HEALTHY:
        Node.objects.filter(pk=node.pk, revision=node.revision).update(is_fresh=True)
    now = timezone.now()
    Node.objects.filter(pk=node.pk).update(check_claimed_at=now, refresh_claimed_at=now)
    seen = _everything(target_of(node))
    findings_save([seen], config)
    return seen


def node_public(node: Node) -> dict[str, object]:
    """What the audit log may hold of a node."""
    return {
        "name": node.name,
        "address": node.address,
        "active": node.active,
        "weight": node.weight,
        "max_parallel": node.max_parallel,
        "sends_credential": bool(node.sealed_token),
        "revision": node.revision,
    }


def _plain_fields_set(node: Node, values: Mapping[str, Any]) -> None:
    for field in PLAIN_FIELDS:
        if field in values:
            setattr(node, field, values[field])


def _sealed(token: str | None) -> str:
    return secrets.seal(token) if token else ""


def _probe_edit(node: Node, values: Mapping[str, Any]) -> Observation | None:
    """Probe when the edit leads elsewhere or with another credential."""
    current = target_of(node)
    address: NodeAddress | None = values.get("address")
    if "name" in values or address is not None:
        url = address.url if address else node.address
        _refuse_duplicates(values.get("name", node.name), url, than=node)
    url = address.url if address else current.url
    token = (values["token"] or "") if "token" in values else current.token
    if (url, token) == (current.url, current.token):
        return None
    if address is not None:
        _refuse_forbidden(address)
    return _everything(Target(node.pk, url, token, node.revision))


def _is_about(seen: Observation, node: Node) -> bool:
    target = target_of(node)
    return (seen.target.url, seen.target.token) == (target.url, target.token)


def _everything(target: Target) -> Observation:
    return ask(
        [target], NodeClient.everything, settings.NODE_ADDRESS_POLICY, proxy_config_current()
    )[0]


def _take(node: Node, inventory: NodeInventory, seen: Observation) -> None:
    now = timezone.now()
    health_take(node, seen, proxy_config_current(), now)
    node.check_claimed_at = node.refresh_claimed_at = now
    inventory_take(inventory, seen, now)


def _forget_health(node: Node) -> None:
    """What was counted was counted against another address or with another credential."""
    node.health, node.health_reason, node.health_changed_at = Verdict.UNKNOWN.value, "", None
    node.failures = node.successes = 0
    node.latency_s, node.version = None, ""
    node.check_claimed_at = node.refresh_claimed_at = None


def _refuse_stale(node: Node, revision: int | None) -> None:
    if revision is not None and revision != node.revision:
        raise VersionConflictError(node.revision)


def _refuse_to_carry_token(node: Node, values: Mapping[str, Any]) -> None:
    """A token cannot be read back; sent to wherever an operator points the node, it could be."""
    address: NodeAddress | None = values.get("address")
    if address is None or not node.sealed_token or "token" in values:
        return
    held = node.location
    if (address.scheme, address.authority) != (held.scheme, held.authority):
        raise TokenNeededError


def _refuse_duplicates(name: str, url: str, *, than: Node | None) -> None:
    others = Node.objects.exclude(pk=than.pk) if than else Node.objects.all()
    if others.filter(name=name).exists():
        raise NodeExistsError("name")
    if others.filter(address=url).exists():
        raise NodeExistsError("address")


def _refuse_forbidden(address: NodeAddress) -> None:
    try:
        asyncio.run(address_check(address, settings.NODE_ADDRESS_POLICY))
    except InvalidAddressError as error:
        raise AddressRefusedError(error) from error
    except ResolveError:
        return  # saved in standby with the reason; every connect asks the policy again


def _save(node: Node, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():  # a savepoint: PostgreSQL refuses queries after a failed one
            node.save(force_insert=force_insert)
    except IntegrityError as error:  # somebody was quicker than our look at the duplicates
        taken = Node.objects.exclude(pk=node.pk).filter(name=node.name).exists()
        raise NodeExistsError("name" if taken else "address") from error


def _announce(node: Node, action: str, before: dict[str, object] | None, by: By) -> None:
    """In the caller's transaction: the revision, the audit record, and the check to be woken."""
    revision_bump()
    by.record(action, f"node:{node.pk}", before, node_public(node))
    wake_on_commit(CHECK_TASK, str(node.pk))
