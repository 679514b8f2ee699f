from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from control_plane.accounts.models import AuditRecord
from control_plane.proxy_config.selectors import proxy_config_current, warm_models_current
from control_plane.revisions.selectors import revision_current
from shared.snapshot import DriftPolicy, ProxyConfig, Strategy

if TYPE_CHECKING:
    from rest_framework.test import APIClient

CONFIG = "/api/proxy/config"


def test_an_untouched_database_answers_with_the_defaults(as_viewer: APIClient) -> None:
    answer = as_viewer.get(CONFIG)
    assert answer.status_code == 200
    shipped = msgspec.to_builtins(ProxyConfig(), str_keys=True)
    assert proxy_config_current() == ProxyConfig()
    assert shipped == {}  # every value is its default, so nothing is written out
    for name, value in msgspec.structs.asdict(ProxyConfig()).items():
        assert answer.data[name] == value


def test_a_change_is_stored_audited_and_counted(as_operator: APIClient) -> None:
    before = revision_current()[1]
    answer = as_operator.patch(CONFIG, {"strategy": "lowest_latency", "health_interval_s": 5})
    assert answer.status_code == 200, answer.data
    assert answer.data["revision"] == 1
    current = proxy_config_current()
    assert (current.strategy, current.health_interval_s) == (Strategy.LOWEST_LATENCY, 5.0)
    assert revision_current()[1] == before + 1
    record = AuditRecord.objects.get()
    assert (record.before["strategy"], record.after["strategy"]) == (
        "least_active",
        "lowest_latency",
    )


def test_a_model_may_have_a_strategy_of_its_own(as_operator: APIClient) -> None:
    wishes = {"registry.ollama.ai/library/*": "predicted"}
    answer = as_operator.patch(CONFIG, {"model_strategies": wishes, "explain": True}, format="json")
    assert answer.status_code == 200, answer.data
    current = proxy_config_current()
    assert current.model_strategies == {"registry.ollama.ai/library/*": Strategy.PREDICTED}
    assert current.explain


def test_which_version_is_served_where_nodes_drift_apart(as_operator: APIClient) -> None:
    assert proxy_config_current().digest_drift is DriftPolicy.MAJORITY
    answer = as_operator.patch(CONFIG, {"digest_drift": "newest"})
    assert answer.status_code == 200, answer.data
    assert proxy_config_current().digest_drift is DriftPolicy.NEWEST


def test_how_many_may_wait_and_how_long(as_operator: APIClient) -> None:
    answer = as_operator.patch(CONFIG, {"max_waiting": 0, "max_wait_s": 30})
    assert answer.status_code == 200, answer.data
    assert (proxy_config_current().max_waiting, proxy_config_current().max_wait_s) == (0, 30.0)
    assert as_operator.patch(CONFIG, {"max_wait_s": 0}).status_code == 400
    assert as_operator.patch(CONFIG, {"max_waiting": -1}).status_code == 400


def test_models_to_keep_warm_are_no_business_of_the_data_planes(as_operator: APIClient) -> None:
    before = revision_current()
    answer = as_operator.patch(CONFIG, {"warm_models": {"Qwen3": 2, "me/x:8b": 1}}, format="json")
    assert (answer.status_code, answer.data["revision"]) == (200, 1)
    assert answer.data["warm_models"] == {"Qwen3": 2, "me/x:8b": 1}
    assert warm_models_current() == {
        "registry.ollama.ai/library/qwen3:latest": 2,
        "registry.ollama.ai/me/x:8b": 1,
    }
    assert revision_current() == before  # nothing to publish
    assert AuditRecord.objects.get().after["warm_models"] == {"Qwen3": 2, "me/x:8b": 1}
    assert as_operator.put(CONFIG, {}).data["warm_models"] == {}


def test_a_wish_that_cannot_be_kept_says_what_to_write(as_operator: APIClient) -> None:
    body = {"warm_models": {"qwen3": 1, "qwen3:latest": 2}}
    answer = as_operator.patch(CONFIG, body, format="json")
    (said,) = answer.data["errors"]["warm_models"]
    assert said == "'qwen3:latest' and 'qwen3' are one model; give it once."


def test_a_choice_that_is_none_is_told_what_there_is(as_operator: APIClient) -> None:
    answer = as_operator.patch(CONFIG, {"strategy": "fastest"})
    assert answer.status_code == 400
    said = ["Give one of least_active, lowest_latency, predicted."]
    assert answer.data["errors"] == {"strategy": said}


def test_how_many_nodes_a_pull_is_for(as_operator: APIClient) -> None:
    assert proxy_config_current().pull_replicas == 0
    answer = as_operator.patch(CONFIG, {"pull_replicas": 2})
    assert answer.status_code == 200, answer.data
    assert proxy_config_current().pull_replicas == 2
    record = AuditRecord.objects.get()
    assert (record.before["pull_replicas"], record.after["pull_replicas"]) == (0, 2)


def test_a_change_to_the_same_values_counts_nothing(as_operator: APIClient) -> None:
    before = revision_current()
    assert as_operator.patch(CONFIG, {"fall": 3}).status_code == 200
    assert revision_current() == before
    assert not AuditRecord.objects.exists()


def test_put_sets_what_is_left_out_back_to_its_default(as_operator: APIClient) -> None:
    as_operator.patch(CONFIG, {"fall": 7, "rise": 7})
    answer = as_operator.put(CONFIG, {"fall": 5})
    assert (answer.data["fall"], answer.data["rise"]) == (5, 2)


def test_what_was_read_can_be_sent_back(as_operator: APIClient) -> None:
    as_operator.patch(CONFIG, {"fall": 7})
    read = as_operator.get(CONFIG).data
    assert as_operator.put(CONFIG, read).status_code == 200


def test_a_stale_edit_is_refused(as_operator: APIClient) -> None:
    """F55, C16."""
    as_operator.patch(CONFIG, {"fall": 7})
    answer = as_operator.patch(CONFIG, {"fall": 8, "revision": 0})
    assert (answer.status_code, answer.data["code"]) == (409, "version_conflict")
    assert as_operator.patch(CONFIG, {"fall": 8, "revision": 1}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"strategy": "random"},
        {"digest_drift": "oldest"},
        {"model_strategies": {"*": "random"}},
        {"model_strategies": {"": "predicted"}},
        {"model_strategies": {"a\0": "predicted"}},
        {"model_strategies": {"a\nb": "predicted"}},
        {"model_strategies": {"*a" * 9: "predicted"}},
        {"model_strategies": {"a" * 513: "predicted"}},
        {"model_strategies": {f"m{n}": "predicted" for n in range(201)}},
        {"model_strategies": {"*": ["predicted"]}},
        {"model_strategies": {"*": {"predicted": 1}}},
        {"id": 2},
        {"max_wait_s": 10**400},
        {"max_waiting": 10**400},
        {"pull_replicas": -1},
        {"pull_replicas": 1_001},
        {"model_strategies": ["predicted"]},
        {"warm_models": ["qwen3"]},
        {"warm_models": {"qwen*": 1}},
        {"warm_models": {"": 1}},
        {"warm_models": {"qwen3": 0}},
        {"warm_models": {"qwen3": 1_001}},
        {"warm_models": {"qwen3": True}},
        {"warm_models": {"qwen3": 1.5}},
        {"warm_models": {"qwen3": "2"}},
        {"warm_models": {f"m{number}": 1 for number in range(101)}},
        {"health_interval_s": 0},
        {"health_interval_s": "nan"},
        {"health_interval_s": "inf"},
        {"health_path": "api/health"},
        {"health_path": "/api/../health"},
        {"health_path": "/api/health?x=1"},
        {"health_path": "//evil.example/x"},
        {"fall": 0},
        {"rise": 21},
        {"max_attempts": 0},
        {"probe_timeout_s": -1},
        {"unknown": 1},
        [1],
    ],
)
def test_values_out_of_range_are_refused(as_operator: APIClient, body: object) -> None:
    """C08, C17."""
    answer = as_operator.patch(CONFIG, body)
    assert (answer.status_code, answer.data["code"]) == (400, "invalid")
    assert proxy_config_current() == ProxyConfig()
    assert warm_models_current() == {}


def test_the_values_that_tests_and_fast_fleets_use_are_in_range(as_operator: APIClient) -> None:
    quick = {
        "health_interval_s": 2,
        "model_refresh_interval_s": 2,
        "probe_interval_s": 0.3,
        "probe_timeout_s": 0.5,
        "connect_timeout_s": 0.5,
        "stream_idle_timeout_s": 0,
    }
    assert as_operator.patch(CONFIG, quick).status_code == 200


def test_viewers_read_and_do_not_write(as_viewer: APIClient) -> None:
    assert as_viewer.put(CONFIG, {}).status_code == 403
    assert as_viewer.patch(CONFIG, {}).status_code == 403
    assert as_viewer.delete(CONFIG).status_code == 405
