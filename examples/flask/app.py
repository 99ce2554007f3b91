"""A page with a slow report, which all who ask for it share."""

import os

from jobtastic_signals.web.flask import status_routes, task_token

from flask import Flask, redirect, render_template, request, url_for
from tasks import celery_app, sales_report


def create_app():
    app = Flask(__name__)
    app.secret_key = os.environ["SECRET_KEY"]
    app.register_blueprint(status_routes(celery_app, cancel=True))
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/reports", view_func=start, methods=["POST"])
    app.add_url_rule("/reports/<token>", view_func=show)
    return app


def index():
    return render_template("report.html")


def start():
    result = sales_report.delay(request.form["customer"])
    return redirect(url_for("show", token=task_token(result)), code=303)


def show(token):
    return render_template("report.html", status=url_for("jobtastic.status", reference=token))
