"""A page with a slow report, which all who ask for it share."""

from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from jobtastic_signals.web.django import task_token

from .tasks import sales_report


def index(request):
    return render(request, "reports/report.html")


@require_POST
def start(request):
    result = sales_report.delay(request.POST.get("customer", ""))
    return redirect("show", token=task_token(result))


def show(request, token):
    return render(request, "reports/report.html", {"token": token})
