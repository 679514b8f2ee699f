import pytest
from cryptography.fernet import Fernet

from control_plane.common.secrets import UnsealError, seal, unseal


def test_what_was_sealed_is_read_again_and_cannot_be_seen():
    sealed = seal("node-token")
    assert "node-token" not in sealed
    assert unseal(sealed) == "node-token"


def test_an_older_key_still_opens_after_a_rotation(settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.NODE_TOKEN_KEYS = (old,)
    sealed = seal("node-token")
    settings.NODE_TOKEN_KEYS = (new, old)
    assert unseal(sealed) == "node-token"
    resealed = seal("node-token")
    settings.NODE_TOKEN_KEYS = (new,)
    assert unseal(resealed) == "node-token"
    with pytest.raises(UnsealError, match="AIVONX_NODE_TOKEN_KEYS"):
        unseal(sealed)
