"""The reference tells the truth: it is valid, complete, and what is answered fits it."""

import html
import re
import shlex
from collections.abc import Iterator

import msgspec
import pytest
from aiohttp import web
from msgspec import inspect
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from gateway.errors import Problem
from gateway.web import examples, idempotency
from gateway.web.calls import MerchantOnce, Route
from gateway.web.openapi import describe, plain_path, problems_of
from gateway.web.routes import ROUTES, add_routes
from tests.web.api import H5, NATIVE, Answer, Api, new_order

Json = dict[str, object]


@pytest.fixture(scope="module")
def spec() -> Json:
    return msgspec.json.decode(describe(ROUTES).body, type=Json)


def schema_of(spec: Json, name: str) -> OAS31Validator:
    """Return what checks a value against a schema of the document."""
    return OAS31Validator(
        {"$ref": f"#/components/schemas/{name}", "components": spec["components"]},
        format_checker=OAS31Validator.FORMAT_CHECKER,
    )


def test_the_document_is_valid_openapi(spec: Json) -> None:
    validate(spec)
    assert spec["openapi"] == "3.1.0"


def test_every_url_of_the_application_is_described(spec: Json) -> None:
    app = web.Application()
    add_routes(app)
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    paths = spec["paths"]
    assert isinstance(paths, dict)
    described = {(method.upper(), path) for path, calls in paths.items() for method in calls}
    assert described == routed


def test_operations_have_names_of_their_own() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_problem_of_a_call_is_described_with_an_example(spec: Json, route: Route) -> None:
    paths = spec["paths"]
    assert isinstance(paths, dict)
    operation = paths[plain_path(route)][route.method.lower()]
    for kind in problems_of(route):
        if kind.status in route.answers:
            continue
        said = operation["responses"][str(kind.status)]["content"]["application/problem+json"]
        example = said["examples"][kind.code]["value"]
        assert (example["code"], example["status"]) == (kind.code, kind.status)
        schema_of(spec, "ProblemObject").validate(example)
    keyed = {"$ref": "#/components/parameters/IdempotencyKey"} in operation["parameters"]
    assert keyed is isinstance(route.call, MerchantOnce)
    assert bool(operation["security"]) is operation["responses"].keys().__contains__("401")


def leaves(kind: type[Problem]) -> Iterator[type[Problem]]:
    for each in kind.__subclasses__():
        yield each
        yield from leaves(each)


def test_every_problem_can_be_shown() -> None:
    for kind in leaves(Problem):
        shown = examples.problem_example(kind)
        assert isinstance(shown, dict)
        assert shown["code"] == kind.code
        assert shown["detail"]


def test_every_time_is_described_as_one(spec: Json) -> None:
    shapes = [each.shape for route in ROUTES for each in route.answers.values() if each.shape]
    schemas = spec["components"]
    assert isinstance(schemas, dict)
    seen = 0
    for shape in {*shapes, *(route.body for route in ROUTES if route.body)}:
        for field in msgspec.structs.fields(shape):
            kind = inspect.type_info(field.type)
            kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
            if any(isinstance(each, inspect.DateTimeType) for each in kinds):
                member = schemas["schemas"][shape.__name__]["properties"][field.encode_name]
                assert "date-time" in str(member)
                seen += 1
    assert seen > 5


def test_examples_fit_their_schemas(spec: Json) -> None:
    for example in (examples.ORDER, examples.ATTEMPT, examples.SNAPSHOT, examples.EVENT):
        name = type(example).__name__
        schema_of(spec, name).validate(msgspec.to_builtins(example))
    for route in ROUTES:
        if route.example is not None:
            assert route.body is not None
            schema_of(spec, route.body.__name__).validate(route.example)
            msgspec.convert(route.example, route.body)


async def test_what_is_answered_fits_what_is_described(api: Api, spec: Json) -> None:
    def fits(answer: Answer, name: str) -> None:
        schema_of(spec, name).validate(answer.json)

    body = new_order(
        items=[{"name": "Tea", "quantity": 2}], metadata={"a": "b"}, return_url="https://a.example/"
    )
    order = await api.post("/v1/orders", body)
    attempt = await api.apply(order.id, NATIVE)
    fits(attempt, "AttemptObject")
    fits(await api.apply(order.id, H5), "AttemptObject")
    fits(await api.get(f"/v1/orders/{order.id}"), "OrderObject")
    token = str(order.json["checkout_url"]).rpartition("/")[2]
    fits(await api.get(f"/checkout/{token}/status"), "Snapshot")
    await api.pay(await api.apply(order.id, NATIVE))
    fits(await api.get(f"/v1/orders/{order.id}"), "OrderObject")
    fits(await api.get("/v1/orders"), "OrderPage")
    fits(await api.get(f"/v1/orders/{order.id}/events"), "Timeline")
    fits(await api.get("/v1/events"), "EventPage")
    fits(await api.get("/health/live"), "Alive")
    fits(await api.get("/health/ready"), "Readiness")
    fits(await api.get("/nowhere"), "ProblemObject")
    fits(await api.post("/v1/orders", {}), "ProblemObject")


async def test_the_document_is_served_as_it_was_made(api: Api) -> None:
    answer = await api.get("/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == describe(ROUTES).body
    schemes = answer.json["components"]
    assert isinstance(schemes, dict)
    assert schemes["parameters"]["IdempotencyKey"]["name"] == idempotency.HEADER


async def test_the_page_shows_every_call_and_every_object(api: Api, spec: Json) -> None:
    answer = await api.get("/docs")
    page = answer.body.decode()
    assert answer.status == 200
    anchors = set(re.findall(r'<section id="([^"]+)"', page))
    schemas = spec["components"]
    assert isinstance(schemas, dict)
    assert {route.name for route in ROUTES} <= anchors
    assert set(schemas["schemas"]) <= anchors
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links - {"about"} <= anchors


async def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(api: Api) -> None:
    answer = await api.get("/docs")
    page = answer.body.decode()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<script" not in page
    assert " style=" not in page
    fetched = re.findall(r'(?:src|<link [^>]*href)="(?!data:)([^"]+)"', page)
    assert len(fetched) == 1
    style = await api.get(fetched[0])
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css")


async def test_a_command_of_the_page_works_as_it_stands(api: Api, spec: Json) -> None:
    page = (await api.get("/docs")).body.decode()
    commands = re.findall(r'class="copy"[^>]*><code>(.*?)</code>', page, re.DOTALL)
    command = next(html.unescape(each) for each in commands if "2026-11-000417" in each)
    filled_in = (
        command.replace("\\\n", "")
        .replace("$PAYONCE_KEY", api.api_key)
        .replace("$(uuidgen)", "one")
    )
    program, *words = shlex.split(filled_in)
    said = dict.fromkeys(("-X", "-d"), "")
    headers = {}
    url = ""
    words_left = iter(words)
    for word in words_left:
        if word == "-H":
            name, _, value = next(words_left).partition(": ")
            headers[name] = value
        elif word in said:
            said[word] = next(words_left)
        else:
            url = word
    assert program == "curl"
    assert url.startswith(api.rig.url)
    async with api.rig.http.request(
        said["-X"], url, data=said["-d"].encode(), headers=headers
    ) as answer:
        assert answer.status == 201
        schema_of(spec, "OrderObject").validate(await answer.json())
