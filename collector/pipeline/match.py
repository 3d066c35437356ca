"""Link documents that share no name, by the rules of the configuration: what is unique is linked, the rest suggested.

A pair is decided once both sides are complete beyond the days in which a rival of either document could lie. All
facts from within that time are stored then: neither their order, nor in which batches they came, nor how often
rules were matched meanwhile decides anything. What comes all the same, or says something new of a document,
finds the link made: it is questioned, as a suggestion to a person, and stays.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import lt, mul
from typing import NamedTuple

import msgspec

from collector.clock import Clock
from collector.model.reference import content_id, digest, link_name
from collector.pipeline.completeness import Coverage, known_coverage
from collector.pipeline.correlate import Limit
from collector.pipeline.likeness import name_likeness, text_likeness
from collector.pipeline.link import enter_links
from collector.pipeline.regroup import regrouped
from collector.pipeline.settle import Bar, Pair, settle
from collector.settings.check import feeding
from collector.settings.links import LinkRule, LinkSide
from collector.settings.load import Configuration
from collector.store import candidates, evidence, ingest, links, membership, totals
from collector.store.candidates import Item, Linked
from collector.store.evidence import QUESTIONED, Candidate, Evidence, Made, Rival, Suggestion

CANDIDATES_MAX = 100
"""A document with more candidates than this is left out, and nothing that it may belong to is linked."""
SHOWN_MAX, RIVALS_MAX = 3, 10
LINKS_A_COMMIT = 1_000
"""So many links take the lock for some tenths of a second."""

_LIKENESS: dict[str, Callable[[str, str], int]] = {"name": name_likeness, "text": text_likeness}


class Matched(msgspec.Struct):
    """What became of a rule: pairs looked at, links made, suggestions by reason, documents left out."""

    rule: str
    version: str
    pairs: int = 0
    linked: int = 0
    suggested: dict[str, int] = {}
    crowded: int = 0


class Matcher:
    """Matches the rules of a configuration over one connection."""

    def __init__(
        self, conn: ingest.Connection, configuration: Configuration, limit: Limit, clock: Clock
    ) -> None:
        self._conn = conn
        self._configuration = configuration
        self._limit = limit
        self._clock = clock

    async def match(
        self, *, dry_run: bool = False, tell: Callable[[str], None] = lambda _: None
    ) -> list[Matched]:
        """Match all rules, in the order of their names; with `dry_run` nothing is kept."""
        rules = self._configuration.settings.links
        done = []
        for name, rule in sorted(rules.items()):
            tell(name)
            work = await self._look(name, rule)
            if not dry_run:
                for n in range(0, len(work.links), LINKS_A_COMMIT):
                    tell(f"{name}: {work.matched.linked:,} linked")
                    await self._enter(work, work.links[n : n + LINKS_A_COMMIT])
                await evidence.replace_suggestions(self._conn, name, work.suggestions)
            else:
                work.matched.linked = len(work.links)
            done.append(work.matched)
        if not dry_run:
            await evidence.forget_rules(self._conn, list(rules))
        return done

    async def _look(self, name: str, rule: LinkRule) -> "Work":
        """Find in one snapshot what a rule links and suggests."""
        conn, before = self._conn, timedelta(days=rule.within.days_before)
        after = timedelta(days=rule.within.days_after)
        async with conn.transaction(isolation="repeatable_read"):
            seen = await ingest.last_seq(conn)
            ruled = await evidence.made_by_rules(conn)
            await candidates.gather(
                conn, _wanted(rule, "left"), _wanted(rule, "right"), await self._told(ruled)
            )
            sight = Sight(
                await self._reaches(rule),
                await evidence.apart(conn),
                await links.cuts(conn),
                await candidates.linked(conn),
            )
            work = Work(name, rule, seen, sight)
            async for buckets, items in candidates.pairs(conn, before, after, CANDIDATES_MAX):
                await asyncio.to_thread(work.take, buckets, items)
        work.close()
        return work

    async def _told(self, ruled: Iterable[tuple[bytes, bytes]]) -> Mapping[int, int]:
        """Say to which components documents would belong if no rule had linked any."""
        names = frozenset(content_id(link_name(*pair)) for pair in ruled)
        if not names:
            return {}
        components = await membership.components_holding(self._conn, names)
        before = await membership.documents_of(self._conn, components)
        return await regrouped(self._conn, before, self._limit, without=names)

    async def _reaches(self, rule: LinkRule) -> "Reaches":
        as_known = await totals.last_recorded(self._conn, self._clock())
        covered = await known_coverage(self._conn, self._configuration.document(), as_known)
        return Reaches(self._configuration, rule, covered)

    async def _enter(self, work: "Work", chunk: Sequence[Made]) -> None:
        """Enter links in one transaction, but for documents of which somebody decided meanwhile."""
        async with self._conn.transaction():
            await ingest.plan_by_key(self._conn)
            seq = await ingest.lock(self._conn) + 1
            work.decided |= await evidence.decided_since(self._conn, work.checked)
            work.checked = seq
            made = [m for m in chunk if not {m.document, m.other} & work.decided]
            if made:
                await ingest.append_commit(self._conn, seq, "link match", self._clock())
                await enter_links(self._conn, seq, made, self._limit)
        work.matched.linked += len(made)


def _wanted(rule: LinkRule, side: str) -> candidates.Wanted:
    asked: LinkSide = getattr(rule, side)
    return candidates.Wanted(
        asked.events, asked.documents, asked.sources, rule.fields(side), rule.texts(side)
    )


class Reaches:
    """From when until when both sides of a rule are complete, by entity where that must be equal."""

    def __init__(
        self,
        configuration: Configuration,
        rule: LinkRule,
        covered: Mapping[tuple[str, str], Coverage],
    ) -> None:
        streams, settings = configuration.streams(), configuration.settings
        self._feeds = {
            side: [(streams[s].entity, covered[s]) for s in feeding(settings, getattr(rule, side))]
            for side in ("left", "right")
        }
        self._by_entity = all("entity" in rule.fields(side) for side in ("left", "right"))
        self._known: dict[tuple[str, str | None], tuple[datetime | None, datetime | None]] = {}

    def whole(self, side: str, item: Item, since: datetime, until: datetime) -> bool:
        """Say whether all of a side is known from one instant to another, as far as it can rival an item."""
        entity = item.entity if self._by_entity else None
        if (side, entity) not in self._known:
            self._known[side, entity] = self._reach(side, entity)
        start, end = self._known[side, entity]
        return end is not None and until < end and (start is None or start <= since)

    def _reach(self, side: str, entity: str | None) -> tuple[datetime | None, datetime | None]:
        feeds = [c for of, c in self._feeds[side] if None in (of, entity) or of == entity]
        ends = [c.watermark for c in feeds if c.watermark is not None]
        starts = [c.covers_from for c in feeds if c.covers_from is not None]
        complete = feeds and len(ends) == len(feeds)
        return max(starts, default=None), min(ends) if complete else None


class Sight(NamedTuple):
    """What stands beside the facts when a rule is matched."""

    reaches: Reaches
    apart: set[frozenset[bytes]]
    cuts: links.Cuts
    linked: list[Linked]

    def forbids(self, left: bytes, right: bytes) -> bool:
        """Say whether a person decided that two documents do not belong together."""
        if self.apart and frozenset((left, right)) in self.apart:
            return True
        if not self.cuts:
            return False
        cut = {name for end in (left, right) for name in self.cuts.of(end)}
        return bool(cut) and content_id(link_name(left, right)) in cut


class Work:
    """A rule being matched, from pairs to links and suggestions."""

    def __init__(self, name: str, rule: LinkRule, seen: int, sight: Sight) -> None:
        self._name, self._rule, self._seen, self._sight = name, rule, seen, sight
        self._bar = Bar(rule.accept, rule.margin)
        self._before = timedelta(days=rule.within.days_before)
        self._after = timedelta(days=rule.within.days_after)
        self._equal: dict[str, str | int] = dict.fromkeys(rule.titles(), "equal")
        self._titles = [s.title for s in rule.similar]
        self._likeness = [_LIKENESS[s.as_] for s in rule.similar]
        self._least = [s.least for s in rule.similar]
        self._weights = [s.weight for s in rule.similar]
        self._linked = {e: o for p in sight.linked for e, o in (p[:2], p[1::-1])}
        self._scores = {p.left: p.score for p in sight.linked}
        self._met: set[bytes] = set()
        self.matched = Matched(name, rule.version)
        self.links: list[Made] = []
        self.suggestions: list[Suggestion] = []
        self.checked, self.decided = seen, set[bytes]()

    def take(self, buckets: Iterable[Iterable[tuple[int, int]]], items: Mapping[int, Item]) -> None:
        """Decide about pairs, in a thread of its own: scoring many takes seconds."""
        for bucket in buckets:
            self._decide([(items[left], items[right]) for left, right in bucket])

    def _decide(self, found: Sequence[tuple[Item, Item]]) -> None:
        """Decide about all candidates that have their fields in common."""
        pairs = sorted(self._pairs(found), key=_rank)
        self.matched.pairs += len(pairs)
        done = settle(pairs, self._linked, self._bar)
        by_end = _by_end(pairs)
        for pair in done.made:
            self.links.append(self._made(pair, _rivals(pair, by_end)))
        self._met.update(p.left for p in pairs if self._linked.get(p.left) == p.right)
        busy = {p.left for p in done.made}
        self._suggest([p for p in done.left if p.left not in busy])

    def _pairs(self, found: Sequence[tuple[Item, Item]]) -> Iterable[Pair]:
        """Score pairs; those of documents with too many candidates are left out, and what they may rival waits."""
        counted = Counter(left.id for left, _ in found)
        crowded = {left.id: left for left, _ in found if counted[left.id] > CANDIDATES_MAX}
        self.matched.crowded += len(crowded)
        known = self._known(found, crowded.values())
        for left, right in found:
            likeness = tuple(
                [
                    alike(a, b) if a and b else 0
                    for alike, a, b in zip(self._likeness, left.texts, right.texts, strict=True)
                ]
            )
            score = self._score(likeness)
            if self._is_silent(left, right):
                score = self._scores[left.id]
            elif (
                any(map(lt, likeness, self._least))
                or left.id in crowded
                or self._sight.forbids(left.id, right.id)
            ):
                continue
            settled = left.id in known and right.id in known
            apart_s = round(abs((right.at - left.at).total_seconds()))
            yield Pair(left.id, right.id, score, apart_s, settled, likeness)

    def _is_silent(self, left: Item, right: Item) -> bool:
        """Say whether the two are linked, and a text that spoke for it is there no more: personal ones are erased."""
        lacks = None in left.texts or None in right.texts
        return lacks and self._linked.get(left.id) == right.id

    def _known(self, found: Sequence[tuple[Item, Item]], crowded: Iterable[Item]) -> set[bytes]:
        """Name the items of which all candidates are known, and none may belong to one that was left out."""
        whole = self._sight.reaches.whole
        lefts = {left.id: left for left, _ in found}.values()
        rights = {right.id: right for _, right in found}.values()
        known = {i.id for i in lefts if whole("right", i, i.at - self._before, i.at + self._after)}
        known |= {i.id for i in rights if whole("left", i, i.at - self._after, i.at + self._before)}
        for left in crowded:
            since, until = left.at - self._before, left.at + self._after
            known -= {i.id for i in rights if since <= i.at <= until}
        return known

    def _score(self, likeness: Sequence[int]) -> int:
        return (
            round(sum(map(mul, self._weights, likeness)) / sum(self._weights)) if likeness else 100
        )

    def _made(self, pair: Pair, rivals: list[Rival]) -> Made:
        said = f"the next one {rivals[0].score}" if rivals else "no other candidate"
        return Made(
            pair.left,
            pair.right,
            f"score {pair.score}, {said}",
            f"rule {self._name} {self.matched.version}",
            Evidence(
                automatic=True,
                rule=self._name,
                version=self.matched.version,
                score=pair.score,
                fields=self._fields(pair),
                rivals=rivals,
                seen=self._seen,
            ),
        )

    def _fields(self, pair: Pair) -> dict[str, str | int]:
        return self._equal | dict(zip(self._titles, pair.likeness, strict=True))

    def _suggest(self, pairs: Sequence[Pair]) -> None:
        """Suggest what nothing has set aside; of linked documents only what questions the link."""
        by_end = _by_end(pairs)
        for left in dict.fromkeys(p.left for p in pairs):
            found = by_end[left]
            if all(self._linked.get(left) == p.right for p in found):
                continue
            shown = [self._candidate(p, _rivals(p, by_end)) for p in found[:SHOWN_MAX]]
            self._add(left, self._why(found), shown, len(found) - len(shown))

    def _why(self, found: Sequence[Pair]) -> str:
        if any(end in self._linked for p in found for end in p.ends):
            return QUESTIONED
        if found[0].score < self._rule.accept:
            return "WEAK"
        return "AMBIGUOUS" if all(p.settled for p in found) else "WAITING"

    def _candidate(self, pair: Pair, rivals: list[Rival]) -> Candidate:
        linked = self._linked.get(pair.right)
        return Candidate(
            pair.right.hex(),
            pair.score,
            pair.apart_s // 86_400,
            self._fields(pair),
            [r for r in rivals if r.other == pair.right.hex()],
            None if linked is None else linked.hex(),
        )

    def _add(self, left: bytes, why: str, shown: list[Candidate], more: int) -> None:
        named = [f"{c.document} {c.linked}" for c in shown]
        id_ = digest("suggestion", self._name, self.matched.version, left.hex(), why, *named).hex()[
            :10
        ]
        self.suggestions.append(
            Suggestion(
                id_, self._name, self.matched.version, left.hex(), why, shown, more, self._seen
            )
        )

    def close(self) -> None:
        """Question the links of which nothing is left, unless somebody else joins the two by now."""
        for pair in self._sight.linked:
            if pair.left not in self._met and not pair.confirmed:
                gone = Candidate(pair.right.hex(), 0, 0, {}, [], pair.left.hex())
                self._add(pair.left, QUESTIONED, [gone], 0)
        self.matched.suggested = dict(Counter(s.why for s in self.suggestions))


def _rank(pair: Pair) -> tuple[int, int, bytes, bytes]:
    """Order pairs: the likeliest first, and of equally likely ones the nearest in time."""
    return -pair.score, pair.apart_s, *pair.ends


def _by_end(pairs: Iterable[Pair]) -> Mapping[bytes, list[Pair]]:
    found: dict[bytes, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.left].append(pair)
        found[pair.right].append(pair)
    return found


def _rivals(pair: Pair, by_end: Mapping[bytes, Sequence[Pair]]) -> list[Rival]:
    """List the other pairs of both documents, the likeliest first, from lists that are in this order."""
    others = {p for end in pair.ends for p in by_end[end][: RIVALS_MAX + 1]} - {pair}
    ranked = sorted(others, key=_rank)[:RIVALS_MAX]
    return [Rival(p.left.hex(), p.right.hex(), p.score) for p in ranked]
