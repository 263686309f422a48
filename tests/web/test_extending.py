"""docs/extending.md says how to add to the gateway; its example is added as it stands there."""

import re
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from gateway.web import routes
from tests.rig import StartRig
from tests.web.api import Api

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
NOTE = {"text": "call before you come"}


def files() -> dict[str, str]:
    """Return the files of the example: each begins with a comment that names it."""
    blocks = re.findall(r"```(?:sql|python)\n(?:--|#) (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(blocks)


def add_module(monkeypatch: pytest.MonkeyPatch, path: str, text: str) -> ModuleType:
    """Make a module as if the file were there."""
    name = path.removesuffix(".py").replace("/", ".")
    package, _, short = name.rpartition(".")
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules[package], short, module, raising=False)
    exec(compile(text, path, "exec"), vars(module))  # noqa: S102 - it is our own page
    return module


@pytest.fixture
async def extended(start_rig: StartRig, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A gateway with the example in it."""
    (migration, table), statement, handler = files().items()
    assert migration.startswith("gateway/db/migrations/")
    add_module(monkeypatch, *statement)
    module = add_module(monkeypatch, *handler)
    monkeypatch.setattr(routes, "ROUTES", (*routes.ROUTES, *module.ORDER_NOTES))
    rig = await start_rig()
    await rig.desk.pool.execute(table)
    return Api(rig)


async def test_the_example_of_the_page_works(extended: Api) -> None:
    order = (await extended.open_order()).id
    url = f"/v1/orders/{order}/notes"
    added, again = await extended.post(url, NOTE), await extended.post(url, NOTE)
    assert (added.status, added.json) == (201, NOTE)
    assert (again.status, again.code) == (409, "duplicate_submission")
    assert "`order`, `text`" in str(again.json["detail"])
    wrong = await extended.post(url, {"text": ""})
    assert (wrong.status, wrong.json["field"]) == (422, "text")
    nowhere = await extended.post(f"/v1/orders/ord_{'0' * 26}/notes", NOTE)
    assert (nowhere.status, nowhere.code) == (404, "not_found")
    assert await extended.rig.desk.pool.fetchval("SELECT count(*) FROM order_notes") == 1


async def test_the_example_describes_itself(extended: Api) -> None:
    document = (await extended.get("/openapi.json")).body
    described = msgspec.json.decode(document)["paths"]["/v1/orders/{order}/notes"]["post"]
    assert described["operationId"] == "addNote"
    assert "`duplicate_submission`" in described["responses"]["409"]["description"]
    assert "Retry-After" in described["responses"]["409"]["headers"]


async def test_a_key_keeps_no_answer_that_time_alone_changes(extended: Api) -> None:
    url = f"/v1/orders/{(await extended.open_order()).id}/notes"
    first = await extended.post(url, NOTE, key="first")
    repeated = await extended.post(url, NOTE, key="first")
    assert (repeated.status, repeated.replayed) == (201, True)
    assert first.body == repeated.body
    assert (await extended.post(url, NOTE, key="second")).code == "duplicate_submission"
    await extended.rig.desk.redis.flushdb()
    await extended.rig.desk.pool.execute("UPDATE submissions SET ends_at = now()")
    later = await extended.post(url, NOTE, key="second")
    assert (later.status, later.replayed) == (201, False)
