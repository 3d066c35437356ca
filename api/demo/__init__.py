"""The demo: an invented company, what its five systems show of it, and the truth about it.

It knows neither mappings nor connectors nor controls: what it plants must be found by others.
"""

from api.demo.folder import MIDDLEWARE, create, tenant
from api.demo.truth import Fate, Truth

__all__ = ["MIDDLEWARE", "Fate", "Truth", "create", "tenant"]
