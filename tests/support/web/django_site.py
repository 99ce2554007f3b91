"""A Django site with the endpoints, under Waitress (WSGI) or Uvicorn (ASGI)."""

from __future__ import annotations

from types import SimpleNamespace

import django
from django.conf import settings

from . import site

settings.configure(
    SECRET_KEY=site.SECRET,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=[
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        f"{__name__}.with_user",
        f"{__name__}.failing",
    ],
)
django.setup()

from django.contrib.auth.models import AnonymousUser  # noqa: E402 - they need the settings
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path  # noqa: E402

from jobtastic_signals.web.django import (  # noqa: E402
    may_see,
    operator_page,
    remember,
    status_routes,
    task_token,
)


def failing(get_response):
    def answer(request):
        if status := site.failure(request.path):
            return HttpResponse("failed on purpose", status=status)
        return get_response(request)

    return answer


def page(request, reference):
    text = site.page(reference, request.GET.dict())
    return HttpResponse(text, headers={"Content-Security-Policy": site.POLICY})


def file(request, name):
    content, kind = site.file(name)
    return HttpResponse(content, content_type=kind, headers={"Content-Security-Policy": site.POLICY})


def token(request, task_id):
    return HttpResponse(task_token(task_id), content_type="text/plain")


def held(request, token):
    return HttpResponse(task_token(site.held(celery_app, token)), content_type="text/plain")


def with_user(get_response):
    def answer(request):
        name = request.COOKIES.get("user")
        request.user = AnonymousUser() if name is None else SimpleNamespace(pk=name, is_authenticated=True)
        return get_response(request)

    return answer


def ask(request, task_id):
    remember(request, task_id)
    return HttpResponse("remembered")


def start(request, number):
    return HttpResponse(site.start(celery_app, number))


celery_app = site.create_celery(site.config["conf"])
site.create_tasks(celery_app)

urlpatterns = [
    path(
        "task/", include(status_routes(celery_app, **site.options(lambda request: request.COOKIES, may_see)))
    ),
    path("page/<reference>", page),
    path("file/<name>", file),
    path("token/<task_id>", token),
    path("held/<token>", held),
    path("ask/<task_id>", ask),
    path("start/<int:number>", start),
]


if (operator := site.operator_options(lambda request: request.COOKIES)) is not None:
    urlpatterns.append(path("jobtastic/", include(operator_page(celery_app, **operator))))


def create_app():
    app = get_wsgi_application()
    site.warm_up(lambda path: Client(headers={"host": "localhost"}).get(path).content)
    return app


def run(port: int) -> None:
    site.log_everything()
    if site.config["server"] == "uvicorn":
        import uvicorn

        uvicorn.run(get_asgi_application(), host="127.0.0.1", port=port, lifespan="off", log_level="warning")
    else:
        import waitress

        waitress.serve(create_app(), host="127.0.0.1", port=port, threads=8)


if __name__ == "__main__":
    run(site.config["port"])
