"""Who may change something: a page of this site, and not a page of another site in the same browser."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from .answers import Refusal

__all__ = ["HEADER", "check_post"]

#: Has to be there, whatever it says. A form cannot send it. A script of another site can only after the
#: browser has asked this one, which never allows it.
HEADER = "X-Jobtastic"


def check_post(method: str, headers: Mapping[str, str], verb: str) -> None:
    """Accept a ``POST`` that was sent by a script of this site, or by a program that is no browser.

    :param verb: what the request is for, such as ``cancel``.
    :param headers: those of the request; their names are found in whatever case.
    :raises Refusal: for others.
    """
    if method != "POST":
        raise Refusal(405, "method_not_allowed", f"{verb} with POST", {"Allow": "POST"})
    if not headers.get(HEADER):
        raise Refusal(403, "header_required", f"send the header {HEADER}: {verb}")
    if not _is_of_this_site(headers):
        raise Refusal(403, "cross_site", f"only pages of this origin may {verb}")


def _is_of_this_site(headers: Mapping[str, str]) -> bool:
    # A browser sends the first to a site with HTTPS, and the second with each POST.
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("Host", "").lower()
