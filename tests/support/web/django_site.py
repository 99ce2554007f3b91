"""A Django site with the endpoints, under Waitress (WSGI) or Uvicorn (ASGI)."""

from __future__ import annotations

import django
from django.conf import settings

from . import site

settings.configure(
    SECRET_KEY=site.SECRET,
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        f"{__name__}.failing",
    ],
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 - they need the settings
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402

from jobtastic_signals.web.django import status_routes, task_token  # noqa: E402


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


celery_app = site.create_celery(site.config["conf"])

urlpatterns = [
    path("task/", include(status_routes(celery_app, **site.options(lambda request: request.COOKIES)))),
    path("page/<reference>", page),
    path("file/<name>", file),
    path("token/<task_id>", token),
]


def run(port: int) -> None:
    site.log_everything()
    if site.config["server"] == "uvicorn":
        import uvicorn

        uvicorn.run(get_asgi_application(), host="127.0.0.1", port=port, lifespan="off", log_level="warning")
    else:
        import waitress

        waitress.serve(get_wsgi_application(), host="127.0.0.1", port=port, threads=8)


if __name__ == "__main__":
    run(site.config["port"])
