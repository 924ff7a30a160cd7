"""A segment as a file for an advertising cabinet: everybody is in it, or counted with the reason why not."""

import csv
import io
from base64 import b64encode
from hashlib import sha256
from uuid import uuid4

import httpx
import pytest

from domain.advertising import Cabinet, audience
from tests.api.scene import Scene
from tests.api.test_segments import a_name, put


async def segment(scene: Scene, *people: dict[str, str | None]) -> str:
    """A segment of these people, looked at."""
    name, group = a_name(), uuid4().hex
    await scene.context.pool.execute("insert into customers select from generate_series(1, 30)")
    assert (await put(scene, name, {"trait": "group", "is": group})).status_code == 201
    await scene.context.pool.execute("update segments set scanned_at = now() where name = $1", name)
    for traits in people:
        user = f"u-{uuid4().hex}"
        await scene.tells("identify", user, traits={**traits, "group": group})
        await scene.context.pool.execute(
            "insert into segment_members (segment_id, customer_id, entered_at) "
            "select id, $2, now() from segments where name = $1",
            name,
            await scene.customer_of(user),
        )
    return name


async def exported(scene: Scene, name: str, cabinet: str = "yandex") -> httpx.Response:
    return await scene.as_operator("POST", f"/v1/segments/{name}/audience?cabinet={cabinet}")


def lines(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_people_are_hashed_as_the_cabinet_wants_them(scene: Scene) -> None:
    name = await segment(scene, {"email": "Mail@yandex.ru", "phone": "+79995551111"})
    # Their own examples: yandex.com/dev/metrika/en/data-import/contacts-data
    assert lines(await exported(scene, name)) == [
        {"emails_md5": "3c56ff8fef0f6c65b36b2d25720fe276", "phones_md5": "f09f2c3d48f31e2a802944ade2e5aec5"}
    ]
    assert lines(await exported(scene, name, "google")) == [
        {"Email": sha256(b"mail@yandex.ru").hexdigest(), "Phone": sha256(b"+79995551111").hexdigest()}
    ]


async def test_of_2500_exported_2500_arrive(scene: Scene) -> None:
    name = await segment(scene)
    await scene.context.pool.execute(
        """
        with people as (
            insert into customers (email, phone)
            select case when n % 3 > 0 then 'a' || n || '-' || $1 || '@example.com' end,
                   case when n % 3 < 2 then '+1415' || lpad(n::text, 7, '0') end
            from generate_series(1, 2500) n returning id
        )
        insert into segment_members (segment_id, customer_id, entered_at)
        select s.id, p.id, now() from segments s, people p where s.name = $1
        """,
        name,
    )
    answer = await exported(scene, name)
    assert len(lines(answer)) == 2500
    assert (answer.headers["Audience-Members"], answer.headers["Audience-Exported"]) == ("2500", "2500")
    assert answer.headers["Content-Digest"] == f"sha-256=:{b64encode(sha256(answer.content).digest()).decode()}:"


async def test_who_is_not_in_the_file_is_counted_with_the_reason(scene: Scene) -> None:
    name = await segment(
        scene,
        {"email": "one@example.com"},
        {"phone": "+14155550101"},
        {"first_name": "Nobody"},
        {"email": "two@example.com", "city": "silent"},
    )
    await scene.context.pool.execute(
        """
        insert into consents (customer_id, channel, topic, given, source, proof)
        select id, '*', '*', false, 'tests', '{}' from customers where traits ->> 'city' = 'silent'
        """
    )
    answer = await exported(scene, name)
    counts = {each: answer.headers[f"Audience-{each}"] for each in ("Members", "Exported", "Forbidden", "Unmatchable")}
    assert counts == {"Members": "4", "Exported": "2", "Forbidden": "1", "Unmatchable": "1"}
    assert len(lines(answer)) == 2


async def test_the_erased_and_those_who_became_another_are_not_in_it(scene: Scene) -> None:
    name = await segment(scene, {"email": "gone@example.com"})
    await scene.context.pool.execute("update customers set erased_at = now() where email = 'gone@example.com'")
    assert (await exported(scene, name)).headers["Audience-Members"] == "0"


async def test_a_segment_nobody_was_looked_at_by_is_not_taken_for_an_empty_one(scene: Scene) -> None:
    name = await segment(scene)
    await scene.context.pool.execute("update segments set scanned_at = null where name = $1", name)
    assert (await exported(scene, name)).status_code == 409
    assert (await exported(scene, a_name())).status_code == 404


async def test_an_unknown_cabinet_is_refused_with_those_there_are(scene: Scene) -> None:
    answer = await exported(scene, await segment(scene), "billboard")
    assert answer.status_code == 422
    assert "google" in answer.text


@pytest.mark.parametrize("cabinet", Cabinet)
def test_spaces_and_capitals_make_nobody_another(cabinet: Cabinet) -> None:
    assert audience(cabinet, [(" A da@Example.com ", None)]) == audience(cabinet, [("ada@example.com", None)])
