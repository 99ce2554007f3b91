"""The page for operators, independent of any framework.

A request passes :meth:`OperatorPage.begin`, then the site's ``authorize`` and :meth:`OperatorPage.permit`,
then ``may_change``, then :meth:`OperatorPage.respond`. Each of ours can raise a :exc:`.Refusal`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import Celery

from ...errors import JobtasticError
from ...installation import Installation, installation_on
from ...keys.stamps import is_key, is_sound_id
from ...sharing.inventory import STATES, release_claim
from ...support.shown import shown
from ..answers import Answer, Refusal, check_method, static_file, to_json, to_page, to_text
from ..permission import check_app, check_hook, decided
from ..posting import check_post
from ..readers import Readers
from .html import POLICY, html_of
from .snapshot import Snapshots
from .view import Wanted, view_of

__all__ = ["PATHS", "OperatorPage", "Visit"]

logger: logging.Logger = logging.getLogger(__name__)

_FILES = ("operator.js", "operator.css")
_READS = ("", "rows.json")
_CHANGES = ("release", "forget")

#: All paths below that of the page.
PATHS = (*_READS, *_CHANGES, *_FILES)

#: The threads of each process that read for all who look at the page.
_READERS = 2

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Visit:
    """A request, as all frameworks have it.

    :ivar request: that of the framework. All of them have ``method`` and ``headers``.
    :ivar path: what follows the path of the page: one of ``PATHS``.
    """

    request: Any
    path: str
    query: Mapping[str, str]


class OperatorPage:
    """The page of a Celery app.

    :param authorize: returns whether a request may see the page.
    :param may_change: returns whether a request may release and forget.
    :param asynchronous: whether these two may be coroutine functions.
    :param around: calls a function in a thread of ours, with what the framework needs before and after that.
    :param layout: makes HTML of the name of the app and of what :func:`.view.view_of` returned.
    :raises TypeError: for wrong arguments.
    """

    def __init__(
        self,
        celery_app: Celery[Any],
        *,
        authorize: Callable[[Any], Any],
        may_change: Callable[[Any], Any] | None,
        asynchronous: bool = False,
        around: Callable[[Callable[[], Answer]], Answer] = lambda function: function(),
        layout: Callable[[str, Mapping[str, Any]], str] = html_of,
    ) -> None:
        check_app(celery_app)
        if authorize is None:
            raise TypeError(
                "the operator page needs authorize, a function of a request that returns whether it may see "
                "all tasks; without it, everybody could"
            )
        check_hook("authorize", authorize, "a request", asynchronous=asynchronous)
        if may_change is not None:
            check_hook("may_change", may_change, "a request", asynchronous=asynchronous)
        self.authorize = authorize
        self.may_change: Callable[[Any], Any] = may_change or (lambda request: False)
        self._app = celery_app
        self._around = around
        self._layout = layout
        self._readers = Readers(_READERS)
        self._snapshots = Snapshots()

    def answer(self, visit: Visit) -> Answer:
        """Return the answer to *visit*. For frameworks without ``await``."""
        try:
            answer = self.begin(visit)
            if answer is None:
                self.permit(self.authorize(visit.request))
                answer = self.responding(visit, self.may_change(visit.request)).result()
            return answer
        except Refusal as refusal:
            return self.refused(visit, refusal)

    def begin(self, visit: Visit) -> Answer | None:
        """Return the answer if *visit* is for what is public: the script and the style.

        :raises Refusal: for other paths than ``PATHS``, and for a request that may not do this.
        """
        if visit.path in _FILES:
            return static_file(visit.path, visit.request.method, visit.request.headers.get("If-None-Match"))
        if visit.path in _CHANGES:
            check_post(visit.request.method, visit.request.headers, visit.path)
        elif visit.path in _READS:
            check_method(visit.request.method)
        else:
            raise Refusal(404, "not_found", "this path does not exist; the page is at its parent")
        return None

    def permit(self, allowed: Any) -> None:
        """Accept the request if ``authorize`` returned a true value.

        :raises Refusal: if it did not.
        :raises TypeError: for an awaitable, which would count as true.
        """
        if not decided("authorize", allowed):
            raise Refusal(403, "forbidden", "you may not see this page")

    def responding(self, visit: Visit, may_change: Any) -> Future[Answer]:
        """Return a future for the answer to a permitted *visit*, which one of a few threads makes.

        :param may_change: what the function of that name returned.
        """
        respond = partial(self.respond, visit, may_change=decided("may_change", may_change))
        return self._readers.submit(partial(self._around, respond))

    def refused(self, visit: Visit, refusal: Refusal) -> Answer:
        """Return the answer that *refusal* is: plain text if people see it, and JSON otherwise."""
        answer = refusal.answer
        if visit.path != "":
            return answer
        kept = {name: value for name, value in answer.headers.items() if name == "Allow"}
        return to_text(answer.status, f"{refusal}\n", kept)

    def respond(self, visit: Visit, *, may_change: bool) -> Answer:
        """Return the answer to a permitted *visit*.

        :raises Refusal: if it may not do that, or is malformed, or the store does not answer.
        :raises JobtasticError: if the plugin is not enabled on the app.
        """
        installation = installation_on(self._app)
        if installation is None:
            raise JobtasticError(f"the plugin is not enabled on {self._app!r}; call Jobtastic(app)")
        if visit.path in _CHANGES:
            if not may_change:
                raise Refusal(403, "read_only", "you may see this page, and change nothing")
            return self._change(installation, visit)
        wanted = _wanted(visit.query)
        view = view_of(self._snapshots.take(installation), wanted, may_change=may_change)
        if visit.path == "":
            return to_page(self._layout(str(self._app.main or "Celery"), view), _HEADERS)
        return to_json(200, view)

    def _change(self, installation: Installation, visit: Visit) -> Answer:
        key, owner = visit.query.get("key", ""), visit.query.get("owner", "")
        if not is_key(key):
            raise Refusal(400, "malformed_key", "give the key of a row as the parameter key")
        is_running = visit.query.get("state") == "running"
        if visit.path == "forget":
            done = installation.store.forget(key)
        elif is_sound_id(owner):
            done = release_claim(installation, key, owner, also_running=is_running)
        else:
            raise Refusal(400, "malformed_owner", "give the owner of a row as the parameter owner")
        self._snapshots.drop()
        if installation.store.is_down:
            message = "the store does not answer, so nothing was changed; try again later"
            raise Refusal(503, "store_unavailable", message, {"Retry-After": "5"})
        if done:
            logger.info("by the operator page, %s of %s on %s", visit.path, shown(owner), shown(key))
        return to_json(200, {"done": done})


def _wanted(query: Mapping[str, str]) -> Wanted:
    state = query.get("state", "")
    if state and state not in STATES:
        raise Refusal(400, "malformed_state", f"the state is malformed; use one of {', '.join(STATES)}")
    return Wanted(query.get("task", ""), state)
