from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
REPOSITORY = "https://github.com/jobtastic-signals/jobtastic-signals"
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "jobtastic_signals" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

CELERY = ">=5.4,<5.8"
# Celery 5.4 by itself takes any kombu, whose newest releases need a newer redis-py than it allows.
REDIS = [f"celery[redis]{CELERY}", "kombu[redis]>=5.4", "redis>=5"]
MEMCACHED = ["pymemcache>=4"]
DJANGO = ["django>=4.2"]
FLASK = ["flask>=3", "itsdangerous>=2.1"]
ASGI = ["starlette>=0.37", "itsdangerous>=2.1"]
PROMETHEUS = ["prometheus-client>=0.20"]
OTEL = ["opentelemetry-api>=1.20"]
CLI = ["rich>=13"]
DEMO = [*CLI, *FLASK]
TESTING = ["hypothesis>=6.100", "pytest>=8"]

setup(
    name="jobtastic-signals",
    version=VERSION,
    description="Cached results, herd avoidance and progress for any Celery task, without a base class",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
    },
    packages=find_packages(include=["jobtastic_signals", "jobtastic_signals.*"]),
    package_data={
        "jobtastic_signals": [
            "py.typed",
            "web/static/*",
            "demo/web/*",
            "django/templates/admin/jobtastic/*/*",
        ]
    },
    entry_points={"celery.commands": ["jobtastic = jobtastic_signals.cli:jobtastic"]},
    python_requires=">=3.10",
    install_requires=[
        f"celery{CELERY}",
        "blinker>=1.8",
        "diskcache>=5.6",
        "platformdirs>=4",
        "psutil>=5.9",
    ],
    extras_require={
        "redis": REDIS,
        "memcached": MEMCACHED,
        "django": DJANGO,
        "flask": FLASK,
        "asgi": ASGI,
        "prometheus": PROMETHEUS,
        "otel": OTEL,
        "cli": CLI,
        "demo": DEMO,
        "testing": TESTING,
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Celery",
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
