"""The shared runs in the admin: what runs, waits and is cached. Some users may release and forget."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from ..web.django import answer_visit, with_own_connections
from ..web.operate.html import content_of
from ..web.operate.page import OperatorPage
from .models import SharedRun

__all__ = ["SharedRunAdmin"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[SharedRun]
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(SharedRun)
class SharedRunAdmin(_ModelAdmin):  # type: ignore[misc, valid-type]  # Django has no types
    """The operator page below the admin. Who may view shared runs sees it; who may change them frees them."""

    change_list_template: str = "admin/jobtastic/sharedrun/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        return [
            path("", self.admin_site.admin_view(self.changelist_view), name="jobtastic_sharedrun_changelist"),
            path("<path:path>", self.admin_site.admin_view(self.part_view), name="jobtastic_sharedrun_part"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Return the page in the layout of the admin."""
        answer = answer_visit(self._page, request)
        if answer.status_code != 200:
            return answer
        context = {
            **self.admin_site.each_context(request),
            "title": self.opts.verbose_name_plural.capitalize(),
            "opts": self.opts,
            "page": answer.content.decode(),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_list_template, context)

    def part_view(self, request: HttpRequest, path: str) -> HttpResponse:
        """Return the data, the script or the style of the page, or change what it asks for."""
        return answer_visit(self._page, request, path)

    @cached_property
    def _page(self) -> OperatorPage:
        return OperatorPage(
            apps.get_app_config("jobtastic").celery_app,
            authorize=self._authorize,
            may_change=self.has_change_permission,
            around=with_own_connections,
            layout=content_of,
        )

    def _authorize(self, request: HttpRequest) -> bool:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return True
