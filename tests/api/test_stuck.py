"""Runs whose steps fail again and again, where Temporal cannot tell which they are."""

from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli.stack import EmbeddedStack
from tests.api.scene import Scene


@pytest.fixture
async def bare(stack: EmbeddedStack) -> Client:
    """A Temporal on which nobody has registered what runs are searched by."""
    name = f"bare-{uuid4().hex[:8]}"
    client = await Client.connect(stack.temporal_address, namespace=name)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    while True:
        try:
            await client.count_workflows()
        except RPCError:
            continue  # Every part of Temporal hears of a namespace in its own time.
        return client


async def test_a_temporal_that_cannot_look_for_them_is_told_from_one_that_is_away(
    scene: Scene, bare: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.context, "temporal", bare)
    answer = await scene.get("/v1/stuck")
    assert (answer.status_code, answer.json()["code"]) == (503, "temporal_refuses")
    assert "JourneyName" in answer.json()["message"]
