"""Each mistake gives one problem: in the file, line and column where it was made, with its remedy."""

from pathlib import Path

import pytest

from api.wiring import Application
from collector.errors import Misconfigured
from collector.settings.kinds import built_in
from collector.settings.load import load
from connectors.registry import CONNECTORS
from tests.collector.settings.house import FILES, PARAMETERS, changed, look, said, write

T, C, F = "tieout.yaml", "claims.yaml", "flow.yaml"
MISTAKES = [
    # file, what stands there, what is written instead, where the problem is, which words it has
    (T, "tieout: 1", "tieout: 2", "tieout.yaml:1:1: tieout:", "not possible. Write one of 1"),
    (T, "tieout: 1\n", "", "tieout.yaml:1:1: tieout:", "is missing. Add it."),
    (T, "flows: [flow", "flow: [flow", "tieout.yaml:16:1: flow:", "Did you mean 'flows'?"),
    (T, "calendar: office}", "calender: office}", "tieout.yaml:3:23: entities.DE10.calender:", "'calendar'"),
    (T, "calendar: office}", "calendar: ofice}", "tieout.yaml:3:23: entities.DE10.calendar:", "Did you mean 'office'?"),
    (T, "Europe/Berlin", "Europe/Berln", "tieout.yaml:6:5: calendars.office.timezone:", "no timezone 'Europe/Berln'. Write an IANA name"),
    (T, 'closes: "18:00"', "closes: 18", "tieout.yaml:7:5: calendars.office.closes:", 'Write for example "18:00"'),
    (T, 'closes: "18:00"', 'closes: "07:00"', "tieout.yaml:5:3: calendars.office:", "`opens` is not before `closes`"),
    (T, 'closes: "18:00"', "week: []", "tieout.yaml:7:5: calendars.office.week:", "at least 1 item"),
    (T, 'closes: "18:00"', "holidays: [2026-01-01, 20260106]", "tieout.yaml:7:28: calendars.office.holidays.1:", "2026-01-31"),
    (T, "connector: files", "connector: file", "tieout.yaml:10:5: sources.erp.connector:", "Did you mean 'files'?"),
    (T, "path: claims.csv, ", "", "tieout.yaml:14:9: sources.erp.streams.claims.read.path:", "is missing"),
    (T, "format: csv}", "form: csv}", "tieout.yaml:14:34: sources.erp.streams.claims.read.form:", "Did you mean 'format'?"),
    (T, "format: csv}", "format: text, pattern: '(a'}", "tieout.yaml:14:48: sources.erp.streams.claims.read.pattern:", "not a regular expression"),
    (T, "format: csv}", "file_name: 'claims'}", "tieout.yaml:14:9: sources.erp.streams.claims.read:", "`file_name` has no named group"),
    (T, "format: csv}", "header: {a: 1}}", "tieout.yaml:14:34: sources.erp.streams.claims.read.header:", "must be"),
    (T, "mapping: claims.yaml", "mapping: claims.yaml\n        entity: DE1", "tieout.yaml:16:9: sources.erp.streams.claims.entity:", "Did you mean 'DE10'?"),
    (T, "mapping: claims.yaml", "mapping: claim.yaml", "tieout.yaml:15:9: sources.erp.streams.claims.mapping:", "no such file"),
    (T, "mapping: claims.yaml", "mapping: [a]", "tieout.yaml:15:9: sources.erp.streams.claims.mapping:", "must be text"),
    (T, "flows: [flow.yaml]", "flows: [folw.yaml]", "tieout.yaml:16:9: flows.0:", "no such file"),
    (T, "flows: [flow.yaml]", "flows: [flow.yaml, flow.yaml]", "flow.yaml:1:1: flows.1.flow:", "flow 'claims' stands twice"),
    (T, "check: approved_not_paid", "check: approved_not_pad", "tieout.yaml:19:5: controls.paid.check:", "Did you mean 'approved_not_paid'?"),
    (T, "flows: [claims]", "flows: [claims, claim]", "tieout.yaml:20:21: controls.paid.flows.1:", "there is no flow 'claim'. Did you mean 'claims'?"),
    (T, 'schedule: "0 6 * * *"', 'schedule: "61 6 * * *"', "tieout.yaml:21:5: controls.paid.schedule:", "no cron expression"),
    (T, 'schedule: "0 6 * * *"', 'schedule: "0 6 * * 0"', "tieout.yaml:21:5: controls.paid.schedule:", "weekdays as numbers"),
    (T, 'schedule: "0 6 * * *"', 'schedule: "0 6 30 2 *"', "tieout.yaml:21:5: controls.paid.schedule:", "never comes"),
    (T, 'schedule: "0 6 * * *"', 'schedule: "0 6 1 * mon"', "tieout.yaml:21:5: controls.paid.schedule:", "either of the two in cron and both at once elsewhere. Write * for one"),
    (T, 'schedule: "0 6 * * *"', 'schedule: "0  6 */2 *  mon-fri"', "tieout.yaml:21:5: controls.paid.schedule:", "a day of the month and a weekday"),
    (T, 'schedule: "0 6 * * *"', "parameters: {paid: payd}", "tieout.yaml:21:18: controls.paid.parameters.paid:", "no step in the flow 'claims' called 'payd'. Did you mean 'paid'?"),
    (T, 'schedule: "0 6 * * *"', "parameters: {posted: booked}", "tieout.yaml:21:18: controls.paid.parameters.posted:", "no step 'booked'. Known: approved, paid."),
    (T, "check: approved_not_paid", "check: approval_missing", "tieout.yaml:18:3: controls.paid.parameters.commitment:", "no step in the flow 'claims' called 'posted'. Known: approved, paid."),
    (T, "check: approved_not_paid", "check: stuck_transaction\n    parameters: {owned: [approved, payed]}", "tieout.yaml:20:36: controls.paid.parameters.owned.1:", "no step 'payed'. Did you mean 'paid'?"),
    (T, 'schedule: "0 6 * * *"', "parameters: {due: soon}", "tieout.yaml:21:18: controls.paid.parameters.due:", "has the wrong form"),
    (T, 'schedule: "0 6 * * *"', "parameters: {dew: 1 day}", "tieout.yaml:21:18: controls.paid.parameters.dew:", "Did you mean 'due'?"),
    (T, "tieout: 1", "tieout: 1\nlimits: {earliest: 2000}", "tieout.yaml:2:10: limits.earliest:", "2026-01-31"),
    (T, "tieout: 1", "tieout: 1\nalerts: {pager: {to: pagerduty, url: x}}", "tieout.yaml:2:10: alerts.pager:", "this `to` is not possible. Write one of 'alertmanager', 'webhook'."),
    (T, "tieout: 1", "tieout: 1\nalerts: {pager: {url: 'http://pager:9093'}}", "tieout.yaml:2:10: alerts.pager:", "has no `to`. Add it."),
    (T, "tieout: 1", "tieout: 1\nalerts: {pager: {to: alertmanager}}", "tieout.yaml:2:10: alerts.pager.url:", "is missing"),
    (T, "tieout: 1", "tieout: 1\nalerts: {pager: {to: alertmanager, url: 'pager:9093'}}", "tieout.yaml:2:36: alerts.pager.url:", "is no address. Write for example https://"),
    (T, "tieout: 1", "tieout: 1\nalerts: {pager: {to: alertmanager, ulr: 'http://pager:9093'}}", "tieout.yaml:2:36: alerts.pager.ulr:", "Did you mean 'url'?"),
    (T, "tieout: 1", "tieout: 1\nalerts: {pager: {to: alertmanager, url: 'http://p', secret: '${file:tieout.yaml}'}}", "tieout.yaml:2:53: alerts.pager.secret:", "unknown key"),
    (T, "tieout: 1", "tieout: 1\nalerts: {cases: {to: webhook, url: 'https://cases', secret: '${file:flow.yaml}'}}", "tieout.yaml:2:53: alerts.cases.secret:", "is no secret for signing: whsec_ and 24 to 64 bytes in base64. Make one"),
    (T, "tieout: 1", "tieout: 1\ntieout: 1", "tieout.yaml:2:1: tieout:", "stands twice"),
    (T, "tieout: 1", "tieout: 1\napi: {port: many}", "tieout.yaml:2:7: api.port:", "must be a whole number"),
    (T, "tieout: 1", "tieout: 1\nkinds: {claim: {normalise: [lower]}}", "tieout.yaml:2:29: kinds.claim.normalise.0:", "should be 'strip_zeros', 'upper' or 'alnum'. Correct it. Given: 'lower'."),
    (T, "tieout: 1", "tieout: 1\nkinds: {claim: {max_documents: 1}}", "tieout.yaml:2:17: kinds.claim.max_documents:", "greater than or equal to 2"),
    (T, "tieout: 1", "tieout: 1\nkinds: {claim: {within: company code}}", "claims.yaml:2:1: sources.erp.streams.claims.mapping.document:", "unique within its company code only. Say by `scope`"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.payed]}, right: {documents: [claim]}, within: {days_after: 3}}}", "tieout.yaml:2:32: links.bank.left.events.0:", "no stream that produces 'claim.payed'. Did you mean 'claim.paid'?"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.paid]}, right: {documents: [claims]}, within: {days_after: 3}}}", "tieout.yaml:2:66: links.bank.right.documents.0:", "no mapping with a document of the type 'claims'. Did you mean 'claim'?"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {sources: [erp]}, right: {documents: [claim]}, within: {days_after: 3}}}", "tieout.yaml:2:16: links.bank.left:", "names neither events nor documents. Write for example"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.paid], sources: [epr]}, right: {documents: [claim]}, within: {days_after: 3}}}", "tieout.yaml:2:55: links.bank.left.sources.0:", "no source 'epr'. Did you mean 'erp'?"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.paid]}, right: {documents: [claim]}, equal: [entity], within: {days_after: 3}}}", "tieout.yaml:2:9: links.bank:", "`equal` lacks the amount or the currency"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.paid]}, right: {documents: [claim]}, equal: [amount, currency, attribute.x], within: {days_after: 3}}}", "tieout.yaml:2:101: links.bank.equal.2:", ""),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.paid]}, right: {documents: [claim]}, accept: 90}}", "tieout.yaml:2:9: links.bank.within:", "is missing"),
    (T, "tieout: 1", "tieout: 1\nlinks: {bank: {left: {events: [claim.paid]}, right: {documents: [claim]}, margin: 0, within: {days_after: 3}}}", "tieout.yaml:2:75: links.bank.margin:", "greater than or equal to 1"),
    (T, "tieout: 1", "tieout: 1\nlinks: {a: {left: {events: [claim.paid]}, right: {documents: [claim]}, within: {}}, bank: {left: {documents: [claim]}, right: {events: [claim.paid]}, within: {}}}", "tieout.yaml:2:85: links.bank:", "links the same documents as 'a'"),
    (T, "connector: files", "? [a]\n    : b\n    connector: files", "tieout.yaml:10:7: sources.erp:", "a key is no plain text"),
    (T, "tieout: 1", "\ttieout: 1", "tieout.yaml:1:1: (file):", "a tab. Indent with spaces"),
    (T, "name: House", "name: 'House", "tieout.yaml:3:16: (file):", "a quote is not closed"),
    (T, "name: House", 'name: "a\\0b"', "tieout.yaml:3:16: entities.DE10.name:", "cannot be stored"),
    (T, "name: House", "name: H\udce4user", "tieout.yaml:3:17: (file):", "is no UTF-8: byte 0xe4"),
    (T, "name: House", "name: &a [*a]", "tieout.yaml:3:16: (file):", "nested too deeply"),
    (T, "format: csv}", "format: xml, split: a/b}", "claims.yaml:1:1: sources.erp.streams.claims.mapping.key:", "all records that `split: a/b` makes of one have this `key`"),
    (C, "key: id\n", "", "claims.yaml:1:1: sources.erp.streams.claims.mapping.key:", "is missing"),
    (C, "key: id", "key: '{id'", "claims.yaml:1:1: sources.erp.streams.claims.mapping.key:", "a brace is not closed"),
    (C, "key: id", "key: id\nkey: id", "claims.yaml:2:1: sources.erp.streams.claims.mapping.key:", "stands twice"),
    (C, "key: id", "key: 'id", "claims.yaml:1:6: (file):", "a quote is not closed"),
    (C, "number: id}", "numbr: id}", "claims.yaml:2:25: sources.erp.streams.claims.mapping.document.numbr:", "Did you mean 'number'?"),
    (C, "document: {type: claim, number: id}\n", "", "claims.yaml:9:5: sources.erp.streams.claims.mapping.events.0:", "has no `document`"),
    (C, "occurred_at:\n  value: at\n  timezone: in value\n", "", "claims.yaml:7:5: sources.erp.streams.claims.mapping.events.0:", "has no `occurred_at`"),
    (C, "timezone: in value", "timezone: Berlin", "claims.yaml:3:1: sources.erp.streams.claims.mapping.occurred_at:", "no timezone 'Berlin'"),
    (C, "timezone: in value", "timezone: Europe/Berlin\n  format: epoch_s", "claims.yaml:3:1: sources.erp.streams.claims.mapping.occurred_at:", "Say timezone: in value"),
    (C, "timezone: in value", "timezone: UTC\n  format: '%H:%M'", "claims.yaml:3:1: sources.erp.streams.claims.mapping.occurred_at:", "year, month and day"),
    (C, "timezone: in value", "timezone: UTC\n  format: '%Y%m%Q'", "claims.yaml:3:1: sources.erp.streams.claims.mapping.occurred_at:", "no date format"),
    (C, "entity: =DE10", "entity: =DE1", "claims.yaml:6:1: sources.erp.streams.claims.mapping.entity:", "Did you mean 'DE10'?"),
    (C, "actor: who", "amount: {value: a, currency: =EURO}\nactor: who", "claims.yaml:7:1: sources.erp.streams.claims.mapping.amount:", "'EURO' is no ISO 4217"),
    (C, "personal: [actor]", "personal: [actr]", "claims.yaml:1:1: sources.erp.streams.claims.mapping:", "`personal` names 'actr'"),
    (C, "actor: who", "actor: who\nreferences: [{kind: expence_report, role: identity, value: r}]", "claims.yaml:8:15: sources.erp.streams.claims.mapping.references.0.kind:", "there is no kind 'expence_report'. Did you mean 'expense_report'? Another is declared under `kinds`."),
    (C, "actor: who", "actor: who\nreferences: [{kind: payment, role: identity, value: '{a}/{b}', field_length: 16}]", "claims.yaml:8:14: sources.erp.streams.claims.mapping.references.0:", "`field_length` is the length of a field. Let `value` name that field alone"),
    (C, "- rule: status", "- rule: status\n    references: [{kind: journal, role: group, value: r}]", "claims.yaml:11:18: sources.erp.streams.claims.mapping.events.0.references.0:", "unique within its company code and fiscal year only. Say by `scope`"),
    (C, "- rule: status", "- rule: status\n    document: {type: payments, number: id}", "claims.yaml:11:16: sources.erp.streams.claims.mapping.events.0.document.type:", "there is no kind 'payments'. Did you mean 'payment'?"),
    (C, "actor: who", "actor: who\nnulls: [A]", "claims.yaml:1:1: sources.erp.streams.claims.mapping:", "looks for 'A', which never comes"),
    (C, "unknown: quarantine", "unknown: maybe", "claims.yaml:13:7: sources.erp.streams.claims.mapping.events.0.type.unknown:", "has the wrong form"),
    (C, "A: claim.approved", "A: Approved", "claims.yaml:15:9: sources.erp.streams.claims.mapping.events.0.type.values.A:", "has the wrong form"),
    (C, "      unknown: quarantine\n", "", "claims.yaml:11:5: sources.erp.streams.claims.mapping.events.0.type.unknown:", "is missing"),
    (F, "after: approved", "after: approvd", "flow.yaml:4:1: flows.0.steps:", "comes after 'approvd', which is no earlier step"),
    (F, "done_by: [claim.approved]", "done_by: [claim.aproved]", "flow.yaml:5:45: flows.0.steps.0.done_by.0:", "Did you mean 'claim.approved'?"),
    (F, "done_by: [claim.paid]", "done_by: [claim.paid]\n    undone_by: [claim.returned]", "flow.yaml:11:17: flows.0.steps.1.undone_by.0:", "no stream that produces 'claim.returned'"),
    (F, "anchor: claim", "anchor: report", "flow.yaml:3:1: flows.0.anchor:", "document of the type 'report'"),
    (F, "done_by: [claim.paid]", "done_by: [claim.paid]\n    via: [claims]", "flow.yaml:11:11: flows.0.steps.1.via.0:", "document of the type 'claims'. Did you mean 'claim'?"),
    (F, "due: 1 business day", "due: a day", "flow.yaml:9:5: flows.0.steps.1.due:", "has the wrong form"),
    (F, "title: Claims", "title: Claims\ncompare: [{left: approved, right: posted}]", "flow.yaml:3:28: flows.0.compare.0.right:", "no step 'posted'"),
    (F, "title: Claims", "title: [Claims]", "flow.yaml:2:1: flows.0.title:", "must be text"),
]  # fmt: skip


def test_the_house_stands_as_it_is(tmp_path: Path) -> None:
    assert said(tmp_path, FILES) == []


@pytest.mark.parametrize(("name", "old", "new", "where", "words"), MISTAKES)
def test_a_mistake_is_one_problem_at_its_place(
    tmp_path: Path, name: str, old: str, new: str, where: str, words: str
) -> None:
    (problem,) = said(tmp_path, changed(name, old, new))
    assert problem.startswith(where)
    assert words in problem


def test_a_whole_list_is_not_tailed(tmp_path: Path) -> None:
    files = changed(C, "occurred_at:", "snapshot:")
    assert said(tmp_path, files) == []
    files[T] = files[T].replace("format: csv}", "format: csv, follow: true}")
    (problem,) = said(tmp_path, files)
    assert problem.startswith("tieout.yaml:14:47: sources.erp.streams.claims.read.follow:")
    assert "is never a whole list" in problem


@pytest.mark.parametrize(
    "kind",
    [
        "{kind: payment, role: identity",
        "{kind: journal, role: context",
        "{kind: claim, role: group",
    ],
)
def test_a_kind_that_is_built_in_or_made_by_a_mapping_needs_no_entry(
    tmp_path: Path, kind: str
) -> None:
    new = f"actor: who\nreferences: [{kind}, value: r}}]"
    assert said(tmp_path, changed(C, "actor: who", new)) == []


def test_a_kind_that_is_declared_is_none_that_was_mistyped(tmp_path: Path) -> None:
    files = changed(
        C, "- rule: status", "- rule: status\n    document: {type: payments, number: id}"
    )
    assert len(said(tmp_path, files)) == 1
    files[T] = f"{files[T]}kinds:\n  payments: {{title: Payments of a day}}\n"
    assert said(tmp_path, files) == []


def test_what_a_configuration_says_of_a_kind_leaves_the_rest_of_it(tmp_path: Path) -> None:
    extra = "kinds: {idoc: {max_documents: 50}, claim: {}}\nlimits: {max_documents: 30}\n"
    configuration, _ = look(tmp_path, {**FILES, T: FILES[T] + extra})
    assert configuration is not None
    known = configuration.settings.known_kinds
    assert known["idoc"].max_documents == 50
    assert known["idoc"].normalise == built_in()["idoc"].normalise == ["strip_zeros"]
    assert built_in()["idoc"].max_documents is None
    limit = Application(configuration, None, None).limit  # type: ignore[arg-type]  # neither is asked
    assert [limit(kind) for kind in ("idoc", "claim", "payment", "unheard_of")] == [50, 30, 30, 30]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("key: id", "key: '{id}/{#number}'"),
        ("key: id", "key: '{id}/{a.b.no}'"),
        ("- rule: status", "- rule: status\n    discriminators: ['#number']"),
    ],
)
def test_what_is_split_is_told_apart_by_its_number_or_a_value_of_its_own(
    tmp_path: Path, old: str, new: str
) -> None:
    files = changed(T, "format: csv}", "format: xml, split: a/b}")
    assert old in files[C]
    assert said(tmp_path, files | {C: files[C].replace(old, new, 1)}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty. `tieout init` writes one."),
        ("# nothing yet\n", "the file is empty"),
        ("- a\n- b\n", "must be a section of keys"),
        ("just words\n", "must be a section of keys"),
        ("{}\n", "tieout: is missing"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_problem(
    tmp_path: Path, text: str, words: str
) -> None:
    (problem,) = said(tmp_path, {"tieout.yaml": text})
    assert words in problem


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("- a\n", "must be a section"), ("word\n", "must be")]
)
def test_an_included_file_that_holds_no_mapping_is_one_problem_in_that_file(
    tmp_path: Path, text: str, words: str
) -> None:
    (problem,) = said(tmp_path, {**FILES, "claims.yaml": text})
    assert problem.startswith("claims.yaml:1:1: ")
    assert words in problem


def test_a_missing_file_is_a_problem_and_names_what_writes_one(tmp_path: Path) -> None:
    (problem,) = said(tmp_path, {})
    assert "there is no such file" in problem
    assert "`tieout init` writes one." in problem


def test_mistakes_in_different_parts_are_all_found_at_once(tmp_path: Path) -> None:
    files = changed("tieout.yaml", "connector: files", "connector: filez")
    files["tieout.yaml"] = files["tieout.yaml"].replace("tieout: 1", "tieout: 1\nstor: {}")
    files["tieout.yaml"] = files["tieout.yaml"].replace("approved_not_paid", "nothing")
    files["tieout.yaml"] = files["tieout.yaml"].replace("calendar: office", "calendar: home")
    files["claims.yaml"] = files["claims.yaml"].replace("key: id", "kye: id")
    files["flow.yaml"] = files["flow.yaml"].replace("due: 1 business day", "due: later")
    keys = [line.split(": ")[1] for line in said(tmp_path, files)]
    assert keys == [
        "sources.erp.streams.claims.mapping.kye",
        "flows.0.steps.1.due",
        "stor",
        "entities.DE10.calendar",
        "sources.erp.connector",
        "controls.paid.check",
    ]


def test_business_time_without_an_entity_is_a_problem(tmp_path: Path) -> None:
    files = changed("tieout.yaml", "  DE10: {name: House, calendar: office}\n", "  {}\n")
    files["claims.yaml"] = files["claims.yaml"].replace("entity: =DE10\n", "")
    (problem,) = said(tmp_path, files)
    assert problem.startswith("flow.yaml:9:5: flows.0.steps.1.due: business time needs a calendar")


def test_loading_raises_every_problem_a_line_each(tmp_path: Path) -> None:
    files = changed("tieout.yaml", "Europe/Berlin", "Nowhere")
    files["claims.yaml"] = files["claims.yaml"].replace("key: id", "kye: id")
    with pytest.raises(Misconfigured) as caught:
        load(write(tmp_path, files), CONNECTORS, PARAMETERS)
    assert len(str(caught.value).splitlines()) == 2
