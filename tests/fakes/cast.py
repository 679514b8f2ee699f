"""Who acts in tests of the control plane: Alice owns, Bob operates, Charlie may only look."""

from __future__ import annotations

from dataclasses import dataclass

from rest_framework.test import APIClient

from control_plane.accounts.models import User
from control_plane.accounts.tokens import pair_issue
from control_plane.common.roles import Role

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Cast:
    """One user for each role."""

    alice: User
    bob: User
    charlie: User

    @classmethod
    def enter(cls) -> Cast:
        """Make them."""
        create = User.objects.create_user
        return cls(
            create("alice", PASSWORD, Role.ADMIN),
            create("bob", PASSWORD, Role.OPERATOR),
            create("charlie", PASSWORD, Role.VIEWER),
        )

    @staticmethod
    def client(user: User) -> APIClient:
        """A client that is signed in by a real token."""
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair_issue(user).access}")
        return client
