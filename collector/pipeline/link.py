"""What persons decide about documents: link two, cut what joins them, take that back.

A decision is a fact. It is applied to what is stored in the transaction that enters it, and from then on
every batch and every rebuild abides by it; what sources told stays as they told it. A link is a name that
only two documents hold; a cut is a name that joins nothing for one document.
"""

from collections.abc import Sequence

from collector.clock import Clock
from collector.errors import Permanent
from collector.model.reference import CUT, IDENTITY, OWN, content_id, link_name
from collector.model.words import counted
from collector.pipeline import correlate
from collector.pipeline.correlate import Limit
from collector.pipeline.regroup import regroup
from collector.store import evidence, ingest, links, membership, rows
from collector.store.evidence import QUESTIONED, Candidate, Evidence, Made, Rival, Suggestion
from collector.store.ingest import Connection
from collector.store.links import Decision


class Links:
    """Decides over one connection, in the name of one person."""

    def __init__(self, conn: Connection, limit: Limit, clock: Clock, actor: str) -> None:
        self._conn = conn
        self._limit = limit
        self._clock = clock
        self._actor = actor

    async def add(self, a: str, b: str, reason: str) -> Decision:
        """Have two documents, by number or id, belong to one transaction.

        Raises:
            Permanent: a key names no document or several, both name the same, or they are linked already.
        """
        async with self._conn.transaction():
            seq = await self._begin()
            one, other = await self._two(a, b)
            pair = one.id, other.id
            if pair in (linked := await links.added(self._conn)) or pair[::-1] in linked:
                raise Permanent(f"{one.number} and {other.number} are linked already.")
            number = await links.insert(self._conn, seq, "add", reason, self._actor, about=pair)
            await _name(self._conn, [pair])
            await self._regroup({one.component, other.component}, seq)
            return await links.decision(self._conn, number)

    async def cut(self, document: str, other: str, reason: str) -> list[Decision]:
        """Take a document, by number or id, away from another: what they share joins nothing for it.

        Where the other one holds its own name by which it is joined, that one is cut instead. A link that a rule
        made is taken back.

        Raises:
            Permanent: a key names no document or several, both name the same, or nothing that sources told joins
                the two directly.
        """
        async with self._conn.transaction():
            seq = await self._begin()
            one, two = await self._two(document, other)
            shared = await links.shared_names(self._conn, one.document, two.document)
            ruled = await evidence.number_of(self._conn, one.id, two.id)
            numbers = []
            if ruled is not None:
                numbers.append(ruled)
                await self._undo(seq, ruled, reason)
            elif not shared:
                raise Permanent(
                    f"{one.number} and {two.number} share no name that joins them. `tieout transaction"
                    " explain` shows what does; a link that a person added is taken back with"
                    " `tieout link undo`."
                )
            for name, (role, _) in sorted(shared.items()):
                loose = two if role == OWN else one
                touched = await self._components_of(name) | {one.component, two.component}
                numbers.append(
                    await links.insert(
                        self._conn, seq, "cut", reason, self._actor, about=(loose.id, name)
                    )
                )
                await ingest.change_role(self._conn, loose.document, name, IDENTITY, CUT)
                await self._regroup(touched, seq)
            return [await links.decision(self._conn, number) for number in numbers]

    async def ignore(
        self, kind: str, value: str, reason: str, scope: str | None = None
    ) -> Decision:
        """Have a value of a kind join nothing, whichever documents hold it now or later.

        Raises:
            Permanent: no document holds it as identity, several scopes have it, or it is ignored already.
        """
        async with self._conn.transaction():
            seq = await self._begin()
            name = content_id(await links.name_held(self._conn, kind, value, scope))
            if name in (await links.cuts(self._conn)).ignored:
                raise Permanent(f"The {kind} '{value}' joins nothing already: a person said so.")
            touched = await membership.components_holding(self._conn, [name])
            number = await links.insert(
                self._conn, seq, "ignore", reason, self._actor, about=(name, name)
            )
            await ingest.change_roles(self._conn, name, IDENTITY, CUT)
            await self._regroup(touched, seq)
            return await links.decision(self._conn, number)

    async def accept(self, id_: str, n: int, reason: str) -> Decision:
        """Link the document of a suggestion with its `n`-th candidate.

        Raises:
            Permanent: there is no such suggestion or candidate, or a rule linked one of the two before.
        """
        async with self._conn.transaction():
            seq = await self._begin()
            suggested, (candidate,) = await self._suggested(id_, n)
            if suggested.why == QUESTIONED:
                raise Permanent(
                    "A link that a rule made is questioned: take it back with `tieout link undo`, if it is wrong,"
                    " and link what belongs together with `tieout link add`."
                )
            others = [
                Rival(suggested.document, c.document, c.score)
                for c in suggested.candidates
                if c != candidate
            ]
            seen = Evidence(
                automatic=False,
                rule=suggested.rule,
                version=suggested.version,
                score=candidate.score,
                fields=candidate.fields,
                rivals=others + candidate.rivals,
                seen=suggested.seen,
            )
            pair = bytes.fromhex(suggested.document), bytes.fromhex(candidate.document)
            made = [Made(*pair, reason, self._actor, seen)]
            (number,) = await enter_links(self._conn, seq, made, self._limit)
            await evidence.drop_suggestion(self._conn, id_)
            return await links.decision(self._conn, number)

    async def reject(self, id_: str, n: int | None, reason: str) -> list[Decision]:
        """Have no rule link the document of a suggestion with its `n`-th candidate, or with any of them.

        Raises:
            Permanent: there is no such suggestion or candidate.
        """
        async with self._conn.transaction():
            seq = await self._begin()
            suggested, rejected = await self._suggested(id_, n)
            document = bytes.fromhex(suggested.document)
            numbers = []
            for candidate in rejected:
                name = content_id(link_name(document, bytes.fromhex(candidate.document)))
                numbers.append(
                    await links.insert(
                        self._conn, seq, "cut", reason, self._actor, about=(document, name)
                    )
                )
            await evidence.drop_suggestion(self._conn, id_)
            return [await links.decision(self._conn, number) for number in numbers]

    async def _suggested(self, id_: str, n: int | None) -> tuple[Suggestion, list[Candidate]]:
        """Find a suggestion that still holds, and its n-th candidate or all of them."""
        found = await evidence.suggestion(self._conn, id_)
        if found is None:
            raise Permanent(
                f"There is no suggestion {id_}, or none any more. See `tieout link suggestions`."
            )
        asked = found.candidates if n is None else found.candidates[n - 1 : n]
        wanted = [c for c in asked if c.linked != found.document]
        if not wanted:
            if asked:
                raise Permanent("A rule linked the two: take that back with `tieout link undo`.")
            raise Permanent(f"Suggestion {id_} has {counted(len(found.candidates), 'candidate')}.")
        about = {bytes.fromhex(d) for d in (found.document, *(c.document for c in wanted))}
        if about & await evidence.decided_since(self._conn, found.seen):
            raise Permanent(
                "Something was decided about one of these documents since; `tieout link match` says what is left."
            )
        return found, wanted

    async def undo(self, number: int, reason: str) -> Decision:
        """Take a link, a cut or an ignored value back.

        Raises:
            Permanent: there is none of that number, or it was taken back before.
        """
        async with self._conn.transaction():
            seq = await self._begin()
            await self._undo(seq, number, reason)
            return await links.decision(self._conn, number)

    async def _undo(self, seq: int, number: int, reason: str) -> None:
        decided = await links.decision(self._conn, number)
        if decided.undone_by is not None:
            raise Permanent(f"Link {number} was taken back before.")
        await links.insert(self._conn, seq, "undo", reason, self._actor, undoes=number)
        if decided.action == "ignore":
            await ingest.change_roles(self._conn, decided.other, CUT, IDENTITY)
            touched = await membership.components_holding(self._conn, [decided.other])
            await self._regroup(touched, seq)
            return
        document = await links.member(self._conn, decided.document.hex())
        if decided.action == "add":
            name = content_id(link_name(decided.document, decided.other))
            touched = await self._components_of(name)
            await ingest.unlink(self._conn, name)
        else:
            if decided.other not in (await links.cuts(self._conn)).ignored:
                await ingest.change_role(
                    self._conn, document.document, decided.other, CUT, IDENTITY
                )
            touched = await self._components_of(decided.other)
        await self._regroup(touched | {document.component}, seq)

    async def _begin(self) -> int:
        seq = await ingest.lock(self._conn) + 1
        await ingest.append_commit(self._conn, seq, "link decision", self._clock())
        return seq

    async def _two(self, a: str, b: str) -> tuple[links.Member, links.Member]:
        one, other = [await links.member(self._conn, key) for key in (a, b)]
        if one.id == other.id:
            raise Permanent(f"'{a}' and '{b}' are the same document.")
        return one, other

    async def _components_of(self, name: bytes) -> set[int]:
        """Return the components of the documents that hold a name, if they are few enough to be joined.

        One more than that counts as well: where one of these is cut, the name joins the others.
        """
        kind = await ingest.kind_of(self._conn, name)
        if kind is None:
            return set()
        holders = await ingest.look_up(self._conn, [name], [self._limit(kind)])
        return {holder.component for holder in holders.get(name, ())}

    async def _regroup(self, components: set[int], seq: int) -> None:
        label_of = await regroup(self._conn, components, self._limit, seq)
        touched = components | set(label_of.values())
        await membership.note_suspended(self._conn, touched, correlate.COMPONENT_DOCUMENTS_MAX, seq)


async def enter_links(conn: Connection, seq: int, made: Sequence[Made], limit: Limit) -> list[int]:
    """Enter links with what stands behind them and apply them, in the caller's transaction, under its lock."""
    numbers = await evidence.insert(conn, seq, made)
    pairs = [(m.document, m.other) for m in made]
    components = await _name(conn, pairs)
    label_of = await regroup(conn, components, limit, seq)
    touched = components | set(label_of.values())
    await membership.note_suspended(conn, touched, correlate.COMPONENT_DOCUMENTS_MAX, seq)
    return numbers


async def _name(conn: Connection, pairs: Sequence[tuple[bytes, bytes]]) -> set[int]:
    """Give both documents of pairs a name that only they hold; return their components."""
    stored = await membership.own(conn, {id_ for pair in pairs for id_ in pair})
    packed: list[bytes] = []
    for pair in pairs:
        name = link_name(*pair)
        tail = rows.reference_tail(IDENTITY, name, content_id(name))
        for id_ in pair:
            packed += rows.reference_head(stored[id_][0], links.DECIDED), tail
    await ingest.copy(conn, "reference", packed)
    return {component for _, component in stored.values()}
