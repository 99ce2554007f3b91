from django.contrib import admin
from django.urls import include, path
from jobtastic_signals.web.django import status_routes

from reports import views

from .celery import app

urlpatterns = [
    path("", views.index),
    path("reports/", views.start, name="start"),
    path("reports/<token>/", views.show, name="show"),
    path("task/", include(status_routes(app, cancel=True))),
    path("admin/", admin.site.urls),
]
