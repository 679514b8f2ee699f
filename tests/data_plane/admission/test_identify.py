"""Who is asking: every place a credential may be in, and what is refused."""

import base64
import itertools
import time

import pytest

from data_plane.admission.identify import (
    ANYONE,
    Identifier,
    NotIdentifiedError,
    Principal,
)
from data_plane.settings import MAX_BAD_KEYS_PER_MINUTE
from shared.codes import ErrorCode
from shared.credentials import MintedKey, mint
from shared.snapshot import ApiKey, Scope

ALICE = mint()
CHARLIE = mint()


def known(key: MintedKey = ALICE, **fields: object) -> dict[str, ApiKey]:
    return {key.id: ApiKey(id=key.id, sha256=key.sha256, **fields)}


def identify(
    *,
    authorization: tuple[str, ...] = (),
    x_api_key: tuple[str, ...] = (),
    path_key: str | None = None,
    query: str = "",
    keys: dict[str, ApiKey] | None = None,
    identifier: Identifier | None = None,
) -> Principal:
    identifier = identifier or Identifier(is_key_always_required=False)
    keys = known() if keys is None else keys
    return identifier.identify(
        keys,
        authorization=authorization,
        x_api_key=x_api_key,
        path_key=path_key,
        query=query,
        address="192.0.2.7",
    )


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "credential",
    [
        {"authorization": (f"Bearer {ALICE.text}",)},
        {"authorization": (f"bearer  {ALICE.text}",)},
        {"authorization": (basic("anyone", ALICE.text),)},
        {"authorization": (basic(ALICE.text, ""),)},
        {"x_api_key": (ALICE.text,)},
        {"path_key": ALICE.text},
        {"path_key": ALICE.text, "authorization": ("Bearer none",)},
        {"authorization": (f"Bearer {ALICE.text}",), "x_api_key": (ALICE.text,)},
    ],
)
def test_a_key_is_found_wherever_clients_put_it(credential: dict[str, object]) -> None:
    assert identify(**credential).key_id == ALICE.id


def refusal(**given: object) -> tuple[int, ErrorCode]:
    with pytest.raises(NotIdentifiedError) as caught:
        identify(**given)
    return caught.value.status, caught.value.code


def test_without_a_key_one_is_asked_for() -> None:
    assert refusal() == (401, ErrorCode.MISSING_API_KEY)


@pytest.mark.parametrize(
    "text",
    [
        CHARLIE.text,
        ALICE.text[:-1],
        ALICE.text.swapcase(),
        "olp_\u0661_x_y",
        "none",
        "x" * 1_000_000,
        "\x00",
    ],
    ids=itertools.count(),  # the keys are new at each run
)
def test_every_wrong_key_is_refused_alike(text: str) -> None:
    """B53."""
    assert refusal(authorization=(f"Bearer {text}",)) == (401, ErrorCode.INVALID_API_KEY)


def test_a_known_id_with_another_secret_is_refused() -> None:
    """B53."""
    other = {ALICE.id: ApiKey(id=ALICE.id, sha256=CHARLIE.sha256)}
    assert refusal(x_api_key=(ALICE.text,), keys=other)[0] == 401


def test_disabled_and_expired_keys_are_refused() -> None:
    assert refusal(x_api_key=(ALICE.text,), keys=known(enabled=False))[0] == 401
    assert refusal(x_api_key=(ALICE.text,), keys=known(expires_at=time.time() - 1))[0] == 401
    assert identify(x_api_key=(ALICE.text,), keys=known(expires_at=time.time() + 60)).key_id


@pytest.mark.parametrize(
    "credential",
    [
        {"authorization": (f"Bearer {ALICE.text}", f"Bearer {CHARLIE.text}")},
        {"authorization": (f"Bearer {ALICE.text}",), "x_api_key": ("other",)},
        {"path_key": ALICE.text, "x_api_key": (CHARLIE.text,)},
    ],
)
def test_two_credentials_are_ambiguous(credential: dict[str, object]) -> None:
    assert refusal(**credential) == (400, ErrorCode.AMBIGUOUS_CREDENTIALS)


@pytest.mark.parametrize(
    "query",
    [f"q={ALICE.text}", "api_key=x", "TOKEN=x", "a=1&access_token=y"],
    ids=["any name", "api_key", "TOKEN", "access_token"],
)
def test_a_key_in_the_query_string_is_refused(query: str) -> None:
    assert refusal(query=query) == (400, ErrorCode.CREDENTIAL_IN_URL)


def test_while_no_key_exists_any_credential_is_ignored() -> None:
    assert identify(keys={}) is ANYONE
    assert identify(keys={}, authorization=("Bearer a", "Bearer b"), query="token=1") is ANYONE


def test_beyond_loopback_a_key_is_required_even_when_none_exists() -> None:
    assert refusal(keys={}, identifier=Identifier(is_key_always_required=True)) == (
        401,
        ErrorCode.MISSING_API_KEY,
    )


def test_guessing_is_slowed_down_and_good_keys_still_work() -> None:
    """B57."""
    identifier = Identifier(is_key_always_required=False)
    statuses = [
        refusal(x_api_key=("wrong",), identifier=identifier)[0]
        for _ in range(MAX_BAD_KEYS_PER_MINUTE + 2)
    ]
    assert statuses == [401] * MAX_BAD_KEYS_PER_MINUTE + [429, 429]
    assert identify(x_api_key=(ALICE.text,), identifier=identifier).key_id == ALICE.id


def test_a_key_that_is_not_for_inference_may_use_no_model() -> None:
    credential = {"authorization": (f"Bearer {ALICE.text}",)}
    managing = identify(keys=known(scopes=(Scope.MANAGE,)), **credential)
    assert managing.allowed_models == ()
    both = identify(keys=known(scopes=(Scope.MANAGE, Scope.INFERENCE)), **credential)
    assert both.allowed_models is None
