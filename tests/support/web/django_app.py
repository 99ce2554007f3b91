"""A Django project with our app: prints what its template tag, its admin and its checks do, as JSON."""

from __future__ import annotations

import json
from typing import Any

import django
from celery import Celery
from django.conf import settings

from jobtastic_signals import Jobtastic
from jobtastic_signals.installation import installation_on

settings.configure(
    DEBUG=True,
    SECRET_KEY="of nobody",
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "jobtastic_signals.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
celery_app = Celery("shop", broker="memory://", backend="cache+memory://")
celery_app.conf.jobtastic_store = "memory://"
Jobtastic(celery_app)
django.setup()

from django.contrib import admin  # noqa: E402 - they need the settings
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.core import checks  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.template import Context, Template  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from django.urls import include, path  # noqa: E402

from jobtastic_signals import sharing_of  # noqa: E402
from jobtastic_signals.web.django import status_routes, task_token  # noqa: E402

urlpatterns = [
    path("admin/", admin.site.urls),
    path("task/", include(status_routes(celery_app, cancel=True))),
]

PAGE = "/admin/jobtastic/sharedrun/"
KEY = f"v1:shop.report:{'0' * 40}"


@celery_app.task(name="shop.report", herd_avoidance_timeout=60)
def report(customer):
    return customer


def findings() -> dict[str, Any]:
    memory = [[each.id, each.msg, each.hint] for each in checks.run_checks()]
    celery_app.conf.jobtastic_store = "disk:///dev/null/store"
    broken = [
        [each.id for each in checks.run_checks(tags=["jobtastic"], include_deployment_checks=deploys)]
        for deploys in (False, True)
    ]
    celery_app.conf.jobtastic_store = "memory://"
    return {"with memory://": memory, "with a broken store": broken}


def rendered(tag: str, **context: Any) -> str:
    return Template(f"{{% load jobtastic %}}{tag}").render(Context(context))


def refused(tag: str, **context: Any) -> str:
    try:
        rendered(tag, **context)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def tags() -> dict[str, Any]:
    result = report.delay("acme")
    tag = "{% jobtastic_progress task label=label cancel=True interval=500 %}"
    hostile = {"task": result, "label": "<b>Ada & Co</b>"}
    twice = Template("{% load jobtastic %}{% for each in tasks %}{% include part %}{% endfor %}")
    part = Template("{% load jobtastic %}{% jobtastic_progress each %}")
    with override_settings(ROOT_URLCONF="tests.support.web.no_urls"):
        without_routes = refused(tag, **hostile)
    return {
        "token": task_token(result),
        "token of the id": task_token(result.id),
        "result": rendered(tag, **hostile),
        "others": [
            rendered("{% jobtastic_progress task %}", task=task)
            for task in (result.id, task_token(result), sharing_of(result))
        ],
        "twice": twice.render(Context({"tasks": [result, result], "part": part})),
        "without routes": without_routes,
        "no task": refused("{% jobtastic_progress task %}", task=""),
        "misspelt": refused("{% jobtastic_progress task cancle=True %}", task=result),
    }


def user(name: str, *permissions: str) -> Client:
    made = User.objects.create_user(name, is_staff=True)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=True)
    client.force_login(made)
    return client


def admin_pages() -> dict[str, Any]:
    everybody = {
        "nobody": Client(),
        "staff": user("staff"),
        "viewer": user("viewer", "view_sharedrun"),
        "operator": user("operator", "change_sharedrun"),
    }
    store = installation_on(celery_app).store
    store.claim(KEY, "one", "celery@web1~0f/5a", 300)
    pages = {name: client.get(PAGE) for name, client in everybody.items()}
    rows = {name: client.get(f"{PAGE}rows.json") for name, client in everybody.items()}
    index = everybody["viewer"].get("/admin/")
    token = pages["operator"].content.decode().split('name="csrfmiddlewaretoken" value="')[-1].split('"')[0]
    release = f"{PAGE}release?key={KEY}&owner=one&state=running"
    posts = {}
    for name, data in {"without a token": {}, "with a token": {"csrfmiddlewaretoken": token}}.items():
        for who in ("viewer", "operator"):
            sent = dict(data)
            if data and who == "viewer":
                everybody[who].get(PAGE)
                sent["csrfmiddlewaretoken"] = everybody[who].cookies["csrftoken"].value
            posts[f"{who} {name}"] = everybody[who].post(release, sent, headers={"X-Jobtastic": "release"})
    return {
        "pages": {name: reply.status_code for name, reply in pages.items()},
        "page": pages["operator"].content.decode(),
        "rows": {name: reply.status_code for name, reply in rows.items()},
        "may change": {name: rows[name].json()["may_change"] for name in ("viewer", "operator")},
        "files": [everybody["viewer"].get(f"{PAGE}operator.{kind}").status_code for kind in ("js", "css")],
        "index": f'href="{PAGE}"' in index.content.decode(),
        "posts": {name: reply.status_code for name, reply in posts.items()},
        "claim": store.lookup(KEY) is not None,
    }


if __name__ == "__main__":
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
    call_command("migrate", verbosity=0)
    print(json.dumps({"checks": findings(), "tags": tags(), "admin": admin_pages()}))
