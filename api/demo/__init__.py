"""The demo: a small invented company, its four systems' files, and the truth about them.

It knows neither mappings nor connectors nor controls: what it plants must be found by others.
"""

from api.demo.folder import create
from api.demo.truth import Truth

__all__ = ["Truth", "create"]
