"""An app to check, with a store of its own."""

import pytest


@pytest.fixture
def app(new_app, folder):
    return new_app(jobtastic_store=f"disk://{folder}")


@pytest.fixture
def report(app):
    @app.task(name="report", shared=False, cache_duration=60)
    def report():
        pass

    return app.tasks["report"]
