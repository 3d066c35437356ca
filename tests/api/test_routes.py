import json
import re
from datetime import timedelta
from hashlib import sha256

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.routes import ROUTERS
from tests.api.described import conforms
from tests.api.till import NOW, START, Served, append, sale
from tests.support.postgres import Database


async def run(api: Served, control: str = "stuck_sales") -> int:
    ran = await api.application.engine().run(control, NOW, None, trigger="command", actor="test")
    return ran.run


async def test_any_key_leads_to_the_whole_transaction(api: Served) -> None:
    for key in ("1001", "SLIP-1001", "slip-1001", "BANK-1001"):
        found = await api.get("/v1/traces", key=key)
        assert found["key"] == key
        assert found["candidates"] == []
        assert found["has_more"] is False
        (transaction,) = found["transactions"]
        assert (transaction["flow"], transaction["status"]) == ("sales", "completed")
        documents = {(d["type"], d["number"], d["system"]) for d in transaction["documents"]}
        assert documents == {("sale", "1001", "till"), ("booking", "BANK-1001", "bank")}
        steps = [(s["name"], s["system"], s["status"]) for s in transaction["steps"]]
        assert steps == [("sold", "till", "DONE"), ("banked", "bank", "DONE")]
        events = [(e["type"], e["source"], e["amount_minor"]) for e in transaction["events"]]
        assert events == [("sale.sold", "till", 1250), ("booking.booked", "bank", 1250)]


async def test_a_trace_as_of_an_earlier_time_does_not_see_what_came_later(api: Served) -> None:
    as_of = (START + timedelta(hours=1)).isoformat()
    (transaction,) = (await api.get("/v1/traces", key="1001", as_of=as_of))["transactions"]
    assert [s["status"] for s in transaction["steps"]] == ["DONE", "PENDING"]
    assert [e["type"] for e in transaction["events"]] == ["sale.sold"]


async def test_a_key_that_names_nothing_is_404_with_what_it_may_have_meant(api: Served) -> None:
    found = await api.client.get("/v1/traces", params={"key": "SLIP-100"})
    assert found.status_code == 404
    body = found.json()
    assert body["type"] == "urn:tieout:problem:no-such-key"
    assert {c["value"] for c in body["candidates"]} == {"SLIP-1001", "SLIP-1002"}
    found = await api.client.get("/v1/traces", params={"key": "nowhere at all"})
    assert (found.status_code, found.json()["candidates"]) == (404, [])


async def test_the_id_of_any_document_finds_its_transaction(api: Served) -> None:
    (transaction,) = (await api.get("/v1/traces", key="1001"))["transactions"]
    for document in transaction["documents"]:
        found = await api.get(f"/v1/transactions/{document['id']}")
        assert found == transaction
    absent = await api.client.get(f"/v1/transactions/{'0' * 32}")
    assert (absent.status_code, absent.json()["type"]) == (404, "urn:tieout:problem:not-found")


async def test_why_documents_belong_together_is_told(api: Served) -> None:
    (transaction,) = (await api.get("/v1/traces", key="1001"))["transactions"]
    one, other = (d["id"] for d in transaction["documents"])
    found = await api.get(f"/v1/transactions/{one}/explanation", other=other)
    assert found["transaction"] == transaction["id"]
    assert [(e["kind"], e["value"]) for e in found["path"]] == [("slip", "SLIP-1001")]
    absent = await api.client.get(f"/v1/transactions/{'0' * 32}/explanation")
    assert (absent.status_code, absent.json()["type"]) == (404, "urn:tieout:problem:not-found")


async def test_a_flow_counts_items_and_amounts_per_step_and_status(api: Served) -> None:
    found = await api.get("/v1/flows/sales", as_of=(START + timedelta(days=2.5)).isoformat())
    sold, banked = found["steps"]
    assert (found["flow"], sold["title"], banked["due"]) == ("sales", "Sold", "2 days")
    assert sold["statuses"] == {"DONE": {"count": 3, "amounts": {"EUR": 3750}}}
    assert {s: n["count"] for s, n in banked["statuses"].items()} == {"DONE": 1, "PENDING": 2}
    before = await api.get("/v1/flows/sales", as_known="2020-01-01T00:00:00Z")
    assert [s["statuses"] for s in before["steps"]] == [{}, {}]
    absent = await api.client.get("/v1/flows/sale")
    assert (absent.status_code, absent.json()["flows"]) == (404, ["sales"])


async def test_controls_tell_what_they_expect_and_how_their_last_run_went(api: Served) -> None:
    number = await run(api)
    again, sales = (await api.get("/v1/controls"))["items"]
    assert (again["control"], again["last_run"]) == ("stuck_again", None)
    assert (sales["control"], sales["severity"], sales["schedule"]) == (
        "stuck_sales",
        "medium",
        "0 6 * * mon-fri",
    )
    assert sales["title"]
    assert sales["last_run"]["run"] == number


async def test_a_run_shows_its_exceptions_by_number_and_by_document(api: Served) -> None:
    number = await run(api, "stuck_again")
    (listed,) = (await api.get("/v1/controls/stuck_again/runs"))["items"]
    shown = await api.get(f"/v1/controls/stuck_again/runs/{number}")
    assert {**listed, "exceptions": shown["exceptions"], "has_more": False} == shown
    assert (shown["trigger"], shown["actor"]) == ("command", "test")
    assert (shown["verdict"], shown["complete"]) == ("FAIL", False)
    assert [(g["stream"], g["what"]) for g in shown["gaps"]] == [("bank/bookings", "NOT_COVERED")]
    assert {e["subject"] for e in shown["exceptions"]} == {"1002", "2003", "2004"}
    assert shown["population"]["exceptions"] == 3
    paged = await api.get(f"/v1/controls/stuck_again/runs/{number}/exceptions")
    assert paged["items"] == shown["exceptions"]
    for path in (f"stuck_again/runs/{number + 1}", f"stuck_sales/runs/{number}", "none/runs"):
        assert (await api.client.get(f"/v1/controls/{path}")).status_code == 404


async def test_open_exceptions_are_those_of_the_last_run_that_evaluated(api: Served) -> None:
    assert (await api.get("/v1/exceptions"))["items"] == []
    number = await run(api, "stuck_again")
    shown = await api.get(f"/v1/controls/stuck_again/runs/{number}")
    found = (await api.get("/v1/exceptions"))["items"]
    assert [e["subject"] for e in found] == [e["subject"] for e in shown["exceptions"]]
    for exception in found:
        assert (exception["control"], exception["run"]) == ("stuck_again", number)
        story = await api.get(f"/v1/transactions/{exception['document']}")
        assert exception["subject"] in {d["number"] for d in story["documents"]}
    assert (await api.get("/v1/exceptions", control="stuck_sales"))["items"] == []
    before = await api.get("/v1/exceptions", as_known="2020-01-01T00:00:00Z")
    assert before["items"] == []


async def test_coverage_states_control_totals_and_gaps_of_each_stream(api: Served) -> None:
    bank, till = (await api.get("/v1/coverage"))["items"]
    assert (till["source"], till["stream"], till["grade"]) == ("till", "sales", "C")
    assert (till["declared"], till["read"], till["accepted"], till["unread"]) == (4, 4, 4, 0)
    assert till["covers"] == ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"]
    assert till["amounts"] == {"EUR": 5000}
    assert till["gaps"] == []
    assert int(till["hash_total"]) > 0
    assert (bank["watermark"], bank["declared"]) == ("2026-01-20T00:00:00Z", None)
    before = await api.get("/v1/coverage", as_known="2020-01-01T00:00:00Z")
    assert before["items"] == []


async def test_the_quarantine_is_told_by_defect_in_pages_of_one_state(api: Served) -> None:
    path = api.application.configuration.folder / "sales.jsonl"
    at = ("05.01.2026", "soon", "06.01.2026", "2026-01-05", "07.01.2026", "later")
    append(path, [{**sale(f"3{n}", 0), "at": text} for n, text in enumerate(at)])
    await collect_again(api)
    found = (await api.get("/v1/quarantine"))["items"]
    told = [(g["reason"], g["shape"], g["records"], g["share_ppm"]) for g in found]
    assert told[0] == ("IMPOSSIBLE_TIME", "99.99.9999", 3, 500_000)
    assert sorted(told[1:]) == [
        ("IMPOSSIBLE_TIME", "A+", 1, 166_666),
        ("IMPOSSIBLE_TIME", "AAAA", 1, 166_666),
        ("NO_TIMEZONE", "9999-99-99", 1, 166_666),
    ]
    page = await api.get("/v1/quarantine", limit=1)
    walked = page["items"]
    while page["next"] is not None:
        append(path, [{**sale(f"4{len(walked)}", 0), "at": "08.01.2026"}])
        await collect_again(api)
        page = await api.get("/v1/quarantine", limit=1, cursor=page["next"])
        walked += page["items"]
    assert walked == found
    assert (await api.get("/v1/quarantine", reason="NO_TIMEZONE"))["items"][0]["records"] == 1
    assert (await api.get("/v1/quarantine", source="bank"))["items"] == []
    before = await api.get("/v1/quarantine", as_known="2020-01-01T00:00:00Z")
    assert before["items"] == []


async def collect_again(api: Served) -> None:
    async with api.application.store.connect() as conn:
        with api.application.collector(conn) as collector:
            for source in api.application.sources(("till",)):
                await collector.sync(source)


async def test_readiness_counts_the_records_that_coverage_counts(api: Served) -> None:
    found = await api.get("/v1/readiness")
    streams = (await api.get("/v1/coverage"))["items"]
    counted = {(s["source"], s["stream"]): s["events"] for s in streams if s["events"]}
    assert {(r["source"], r["stream"]): r["records"] for r in found["interfaces"]} == counted
    assert counted["till", "sales"] == 4
    assert found["defaults"] == []


async def test_a_certificate_is_answered_to_the_byte_and_has_the_hash_that_its_run_names(
    api: Served, database: Database
) -> None:
    number = await run(api)
    hashed = (await api.get(f"/v1/controls/stuck_sales/runs/{number}"))["certificate"]
    found = await api.client.get(f"/v1/coverage/certificates/{hashed}")
    assert found.status_code == 200
    assert sha256(found.content).hexdigest() == hashed
    assert [s["stream"] for s in found.json()["streams"]] == ["bank/bookings", "till/sales"]
    absent = await api.client.get(f"/v1/coverage/certificates/{'0' * 64}")
    assert (absent.status_code, absent.json()["type"]) == (404, "urn:tieout:problem:not-found")
    conn = await asyncpg.connect(database.dsn("postgres"))
    try:
        await conn.execute(
            "ALTER TABLE tieout.coverage_certificate DROP CONSTRAINT genuine;"
            "SET session_replication_role = replica;"
            "UPDATE tieout.coverage_certificate SET body = body || ' '"
        )
    finally:
        await conn.close()
    altered = await api.client.get(f"/v1/coverage/certificates/{hashed}")
    assert (altered.status_code, altered.json()["type"]) == (500, "urn:tieout:problem:altered")


async def test_metrics_are_in_the_format_that_prometheus_reads(api: Served) -> None:
    found = await api.client.get("/metrics")
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(found.text)}
    assert "tieout_ingest_events" in names


async def test_the_description_of_the_api_names_every_route(api: Served) -> None:
    described = (await api.get("/openapi.json"))["paths"]
    routes = {getattr(route, "path", "") for router in ROUTERS for route in router.routes}
    assert set(described) == routes
    page = await api.client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_the_description_says_what_every_route_answers(api: Served) -> None:
    described = await api.get("/openapi.json")
    for path, operations in described["paths"].items():
        assert list(operations) == ["get"]
        said = operations["get"]["responses"]
        assert set(said) == {"200", "default"}, path
        for content in (answer["content"] for answer in said.values()):
            (schema,) = (media["schema"] for media in content.values())
            assert (
                schema == {"type": "string"}
                or described["components"]["schemas"][
                    schema["$ref"].removeprefix("#/components/schemas/")
                ]
            )
    assert not re.search(r'"\$ref": "(?!#/components/schemas/\w+")', json.dumps(described))


async def test_an_answer_unlike_its_description_is_noticed(api: Served) -> None:
    described = await api.get("/openapi.json")
    schema = {"$ref": "#/components/schemas/controls_page"}
    page = await api.get("/v1/controls")
    conforms(described, schema, page)
    page["items"][0]["surprise"] = 1
    with pytest.raises(AssertionError, match="surprise"):
        conforms(described, schema, page)
    for wrong in ('{"items": []}', '{"items": [{}], "next": null}', '{"items": [], "next": 7}'):
        with pytest.raises(AssertionError):
            conforms(described, schema, json.loads(wrong))


async def test_nothing_is_cached_or_guessed_by_the_browser(api: Served) -> None:
    for path in ("/healthz", "/v1/controls", "/nowhere"):
        headers = (await api.client.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
