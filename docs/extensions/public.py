"""The modules whose ``__all__`` is public, as ``docs/compatibility.md`` says."""

MODULES = (
    "jobtastic_signals",
    "jobtastic_signals.compat",
    "jobtastic_signals.errors",
    "jobtastic_signals.events",
    "jobtastic_signals.metrics",
    "jobtastic_signals.stores.memory",
    "jobtastic_signals.testing",
    "jobtastic_signals.typing",
    "jobtastic_signals.web.asgi",
    "jobtastic_signals.web.django",
    "jobtastic_signals.web.flask",
)
