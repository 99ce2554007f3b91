"""A Flask site with the endpoints, under Waitress or under Werkzeug's own server."""

from __future__ import annotations

from flask import Flask, Response, request
from flask_login import LoginManager, UserMixin

from jobtastic_signals.web.flask import may_see, operator_page, remember, status_routes, task_token

from . import site


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def create_app() -> Flask:
    app = Flask(__name__, static_folder=None)
    app.config["SECRET_KEY"] = site.SECRET
    login = LoginManager(app)
    options = site.options(lambda request: request.cookies, may_see)
    celery_app = site.create_celery(site.config["conf"])
    site.create_tasks(celery_app)
    app.register_blueprint(status_routes(celery_app, **options))
    if (operator := site.operator_options(lambda request: request.cookies)) is not None:
        app.register_blueprint(operator_page(celery_app, **operator))

    @app.before_request
    def fail():
        if status := site.failure(request.path):
            return Response("failed on purpose", status)

    @app.get("/page/<reference>")
    def page(reference):
        text = site.page(reference, request.args.to_dict())
        return Response(text, headers={"Content-Security-Policy": site.POLICY})

    @app.get("/file/<name>")
    def file(name):
        content, kind = site.file(name)
        return Response(content, content_type=kind, headers={"Content-Security-Policy": site.POLICY})

    @app.get("/token/<task_id>")
    def token(task_id):
        return Response(task_token(task_id), content_type="text/plain")

    @app.get("/held/<token>")
    def held(token):
        return Response(task_token(site.held(celery_app, token)), content_type="text/plain")

    @app.get("/ask/<task_id>")
    def ask(task_id):
        remember(request, task_id)
        return Response("remembered")

    @login.request_loader
    def user(request):
        return User(request.cookies["user"]) if "user" in request.cookies else None

    @app.get("/start/<int:number>")
    def start(number):
        return site.start(celery_app, number)

    site.warm_up(lambda path: app.test_client().get(path).text)
    return app


def run(port: int) -> None:
    site.log_everything()
    if site.config["server"] == "werkzeug":
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", port, create_app(), threaded=True)
    else:
        import waitress

        waitress.serve(create_app(), host="127.0.0.1", port=port, threads=8)


if __name__ == "__main__":
    run(site.config["port"])
