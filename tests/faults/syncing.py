"""A stream read once, as `tieout sync` does."""

from api.wiring import Application
from collector.pipeline.ahead import Source
from collector.pipeline.collect import Tally


async def sync(application: Application, source: Source | None = None) -> Tally:
    """Read a stream to its present end; the first one where none is named."""
    async with application.store.connect() as conn:
        with application.collector(conn) as collector:
            return await collector.sync(source or application.sources()[0])
