"""The commands there are, in reading order, by the module that has them: `tieout --help` loads none of these."""

from typing import Final

MODULES: Final[dict[str, dict[str, str]]] = {
    "config": {
        "init": "Write a commented configuration that runs.",
        "config": "Check the configuration, or print its JSON Schema.",
    },
    "data": {
        "sync": "Read sources to their present end and stop.",
        "dump": "Write facts and derived state as canonical, sorted JSON Lines.",
        "rebuild": "Recompute everything derived (documents, transactions, steps) from the facts.",
        "migrate": "Bring the database to the current schema.",
        "reset": "Delete everything that was read: the embedded store's data folder.",
    },
    "readiness": {
        "readiness": "Say what share of records carries a usable key, what the rest costs, and who must mend it.",
    },
    "sweep": {
        "sweep": "Hold all keys that sources have today against the store.",
    },
    "coverage": {
        "coverage": "Show how completely each stream is known: totals, until when, on whose word, and the gaps.",
    },
    "flow": {
        "flow": "Show flows: the expected steps of a kind of transaction.",
        "transactions": "List cases by the status of their steps: where to begin when one knows no key yet.",
    },
    "story": {
        "trace": "Tell the whole story behind a key: any reference, number, document id, or unique fragment.",
        "status": "Show the server, the data folder, its size, retention, the last read of each stream, and gaps.",
    },
    "link": {
        "transaction": "Look into one transaction: why its documents belong together.",
        "link": "Decide, as a person, which documents belong together: kept as facts, and abided by ever after.",
    },
    "control": {
        "control": "Run controls, list them and look at their runs.",
        "exceptions": "List the exceptions of every control's last run, each with its sentence.",
    },
    "dimension": {
        "dimension": "Look at master data: cost centres, vendors, rates, and who has which value of them.",
    },
    "bridge": {
        "bridge": "Show that what was approved in a period is posted, paid and returned, or why not.",
    },
    "alerts": {
        "alerts": "See what was told to whom, send what is due, and try a destination.",
    },
    "quarantine": {
        "quarantine": "Look at records that could not be taken, and bring them in or accept them.",
    },
    "mapping": {
        "mapping": "See what a changed mapping makes of records that are in the store, and have it count.",
    },
    "backup": {
        "backup": "Write all that the store holds into FILE, as of one instant; other commands may go on.",
        "restore": "Load FILE into a store that is empty, and bring it to the current schema.",
    },
    "service": {
        "run": "Run everything: the embedded PostgreSQL, tailing, scheduled controls and the HTTP interface.",
    },
    "grafana": {
        "grafana": "Grafana: its folder, data sources and dashboards.",
    },
    "demo": {
        "demo": "Make a company with known troubles, read its five systems, and see what is found.",
    },
}
"""By module the names of its commands, each with the first sentence of its own help."""
