"""Payload keys: what Temporal keeps is unreadable without them, and they change without stopping anything."""

import asyncio
import base64
import dataclasses
import os
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError
from typer.testing import CliRunner

import worker
from cli.main import app
from cli.payload_keys import payloads_of
from cli.stack.temporal import SEARCH_ATTRIBUTES
from dispatch.codec import (
    VARIABLE,
    Encryption,
    PayloadKeysWrong,
    PayloadUnreadable,
    data_converter,
    key_id_of,
    payload_codec,
)
from tests.world import World, open_world
from workflows.enabled import JOURNEYS

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"words"')
A, B = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))


def codec_of(keys: str, patch: pytest.MonkeyPatch) -> Encryption:
    patch.setenv(VARIABLE, keys)
    codec = payload_codec()
    assert codec is not None
    return codec


# Keys.


async def test_the_first_key_encrypts_and_all_decrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    old = codec_of(f"a:{A}", monkeypatch)
    both = codec_of(f" b:{B} , a:{A} ", monkeypatch)
    first, second = [*await old.encode([PLAIN]), *await both.encode([PLAIN])]
    assert (key_id_of(first), key_id_of(second), key_id_of(PLAIN)) == ("a", "b", None)
    assert await both.decode([first, second, PLAIN]) == [PLAIN] * 3
    assert both.key_ids == ["b", "a"]
    with pytest.raises(PayloadUnreadable, match="no key 'b'"):
        await old.decode([second])


async def test_the_same_words_never_look_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = codec_of(f"a:{A}", monkeypatch)
    first, second = await codec.encode([PLAIN, PLAIN])
    assert first.data != second.data
    assert b"words" not in first.SerializeToString()
    assert b"json" not in first.SerializeToString()


async def test_a_payload_is_bound_to_its_key_and_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = codec_of(f"a:{A},b:{A}", monkeypatch)
    (encrypted,) = await codec.encode([PLAIN])
    moved = Payload(metadata={**encrypted.metadata, "encryption-key-id": b"b"}, data=encrypted.data)
    for wrong in (moved, Payload(metadata=encrypted.metadata, data=encrypted.data[:-1]), _flipped(encrypted)):
        with pytest.raises(PayloadUnreadable):
            await codec.decode([wrong])


def _flipped(payload: Payload) -> Payload:
    return Payload(metadata=payload.metadata, data=payload.data[:20] + b"?" + payload.data[21:])


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        (A, "key 1 must be id:base64"),
        (f"a:{A},", "key 2 must be id:base64"),
        (f"a b:{A}", "key 1 must be id:base64"),
        (f"{'a' * 33}:{A}", "key 1 must be id:base64"),
        (f"a:{A},a:{B}", "key 2 has the id of an earlier one"),
        (f"a:{A[:-4]}", "key 1 must be 32 bytes in base64"),
        (f"b:{B},a:{A[:-2]}!!", "key 2 must be 32 bytes in base64"),
    ],
    # Keys are drawn anew by each process, which must agree about the tests there are.
    ids=["no id", "an empty one", "a space", "too long an id", "twice", "too short", "no base64"],
)
def test_wrong_keys_are_refused_at_start_and_never_shown(
    keys: str, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, keys)
    with pytest.raises(PayloadKeysWrong, match=wrong) as refused:
        data_converter()
    assert A[:12] not in str(refused.value)
    assert B[:12] not in str(refused.value)


def test_nothing_is_encrypted_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert data_converter().payload_codec is None
    monkeypatch.setenv(VARIABLE, " ")
    assert data_converter().payload_codec is None


# Runs.


@pytest.fixture(scope="module")
async def namespace(world: World) -> str:
    """A namespace in which everything is encrypted."""
    client, name = world.temporal, f"private-{uuid4().hex[:8]}"
    retention = Duration()
    retention.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    wanted = AddSearchAttributesRequest(namespace=name, search_attributes=dict.fromkeys(SEARCH_ATTRIBUTES, keyword))
    await _when_it_is_known(client.operator_service.add_search_attributes, wanted)
    return name


async def _when_it_is_known(call: Any, request: Message) -> None:
    """The server takes some seconds to know a new namespace."""
    for _ in range(200):
        try:
            await call(request)
        except RPCError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("the namespace never became known")


async def client_with(world: World, namespace: str, keys: str, patch: pytest.MonkeyPatch) -> Client:
    patch.setenv(VARIABLE, keys)
    return await Client.connect(world.stack.temporal_address, namespace=namespace, data_converter=data_converter())


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


async def history_of(run: WorkflowHandle[Any, Any]) -> list[Any]:
    return [event async for event in run.fetch_history_events()]


async def keys_in(run: WorkflowHandle[Any, Any]) -> set[str | None]:
    """The keys of everything in a history that is not Temporal's own: search attributes, and its notes on markers."""
    found: set[str | None] = set()
    for event in await history_of(run):
        event.workflow_execution_started_event_attributes.ClearField("search_attributes")
        event.marker_recorded_event_attributes.details.pop("data", None)
        found |= {key_id_of(payload) for payload in payloads_of(event)}
    return found


async def needed(private: World, keys: str) -> dict[str, int]:
    """What `journeys payload-keys` says: how many runs under way need each key."""
    environment = {
        "TEMPORAL_ADDRESS": private.stack.temporal_address,
        "TEMPORAL_NAMESPACE": private.temporal.namespace,
        "TEMPORAL_CONFIG_FILE": os.devnull,
        VARIABLE: keys,
    }
    result = await asyncio.to_thread(CliRunner().invoke, app, ["payload-keys"], env=environment)
    assert A[:12] not in result.output
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if line.startswith("│")]
    assert result.exit_code == (1 if "missing" in result.stdout else 0), result.output
    return {key.strip(): int(count) for key, _, count in rows}


async def test_a_bug_is_told_to_nobody_without_the_key(world: World, namespace: str, patch: pytest.MonkeyPatch) -> None:
    client = await client_with(world, namespace, f"a:{A}", patch)
    async with open_world(world.stack, client, world.settings) as private:
        person = await private.person()
        await person.does("buggy_begun")
        await private.until(person.attempts, 2, at_least=True)
        run = await person.run()
        failures = [
            event.workflow_task_failed_event_attributes.failure
            for event in await history_of(run)
            if event.HasField("workflow_task_failed_event_attributes")
        ]
        assert failures
        for failure in (*failures, *(each.cause for each in failures)):
            assert (failure.message, failure.stack_trace) == ("Encoded failure", "")
            assert key_id_of(failure.encoded_attributes) == "a"
        # A key that is gone is missed.
        assert await needed(private, f"b:{B}") == {"b": 0, "a": 1}
        await run.terminate()


async def test_runs_go_on_while_keys_change(world: World, namespace: str, patch: pytest.MonkeyPatch) -> None:
    first = await client_with(world, namespace, f"a:{A}", patch)
    async with open_world(world.stack, first, world.settings) as private:
        person = await private.person()
        await person.begins(filled=10)
        await person.passes(timedelta(minutes=31))
        assert await person.count() == 3
        run = await person.run()
        # An operator with the keys reads what one without them cannot.
        assert "AbandonedApplication of customer" in str(await (await run.describe()).static_summary())
        assert (await person.standing())["waiting"]
        assert await keys_in(run) == {"a"}
        assert await needed(private, f"b:{B},a:{A}") == {"b": 0, "a": 1}

    # The new key is first everywhere now.
    second = await client_with(world, namespace, f"b:{B},a:{A}", patch)
    async with open_world(world.stack, second, world.settings) as private:
        person = dataclasses.replace(person, world=private)
        await person.passes(timedelta(days=1))
        await private.until(person.count, 4)
        await person.does("credit_application_submitted", application_id="A-1")
        assert await person.outcome() == "goal"
        assert await keys_in(run) == {"a", "b"}
        # Whoever runs no more needs no key.
        assert await needed(private, f"b:{B},a:{A}") == {"b": 0, "a": 0}
    events = await history_of(run)
    raw = b"".join(event.SerializeToString() for event in events)
    for word in (b"abandoned_application", b"parameters", b"Waits", b"waits for", b"considered_gone_after"):
        assert word not in raw

    # Without the old key what it encrypted is lost, and nobody takes it for something else.
    history = WorkflowHistory(run.id, events)
    patch.setenv(VARIABLE, f"b:{B},a:{A}")
    await worker.build_replayer(JOURNEYS).replay_workflow(history)
    patch.setenv(VARIABLE, f"b:{B}")
    with pytest.raises(Exception, match=r"PayloadUnreadable|no key 'a'"):
        await worker.build_replayer(JOURNEYS).replay_workflow(history)
