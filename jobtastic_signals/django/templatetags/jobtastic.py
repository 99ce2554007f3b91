"""``{% load jobtastic %}{% jobtastic_progress result label="Yearly report" %}``."""

from __future__ import annotations

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.forms.utils import flatatt
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ...web.django import task_token
from ...web.tokens import SEPARATOR, Task

__all__ = ["jobtastic_progress", "register"]

register: template.Library = template.Library()

_SCRIPT = "jobtastic_progress.script"


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]  # Django has no types
def jobtastic_progress(
    context: template.Context,
    task: Task,
    label: str = "",
    *,
    cancel: bool | str = False,
    stream: bool = False,
    interval: int | None = None,
) -> SafeString:
    """Return a ``<jobtastic-progress>`` for *task*. The first one of a page comes with its script.

    :param task: the result of a call, what ``sharing_of`` returned for that, a task id, or what
        :func:`.web.django.task_token` returned for one of them.
    :param label: what people see above the bar.
    :param cancel: whether there is a button to cancel, or its text. The routes need ``cancel=True`` as well,
        and *task* must not be an id.
    :param stream: whether to follow server-sent events. The routes need ``stream=True`` as well.
    :param interval: milliseconds between two polls; by default 1000.
    :raises ImproperlyConfigured: if the site has no routes for the status of tasks.
    :raises ValueError: if *task* is none of these.
    """
    script = _script(context)
    is_token = isinstance(task, str) and SEPARATOR in task
    status = _url("status", task if is_token else task_token(task))
    given = flatatt({"src": status, "cancel": cancel, "stream": stream, "interval": interval})
    return format_html("{}<jobtastic-progress{}>{}</jobtastic-progress>", script, given, label)


def _script(context: template.Context) -> str:
    # The lowest of these dictionaries is that of the whole page, with all templates that it includes.
    of_page: dict[str, Any] = context.render_context.dicts[0]
    if _SCRIPT in of_page:
        return ""
    of_page[_SCRIPT] = True
    return str(format_html('<script type="module" src="{}"></script>\n', _url("script")))


def _url(name: str, *arguments: Any) -> str:
    try:
        return str(reverse(f"jobtastic:{name}", args=arguments))
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "{% jobtastic_progress %} needs the routes for the status of tasks; put "
            'path("task/", include(status_routes(celery_app))) into the urlpatterns, with status_routes of '
            "jobtastic_signals.web.django"
        ) from error
