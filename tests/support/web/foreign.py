"""What other sites can make a browser post, and the code of the refusal."""

from __future__ import annotations

__all__ = ["foreign_posts"]


def foreign_posts(ours: dict[str, str]) -> list[tuple[dict[str, str], str]]:
    """Return headers, each with the code of the refusal.

    :param ours: the header that only our own scripts send.
    """
    return [
        ({}, "header_required"),
        ({"Sec-Fetch-Site": "same-origin"}, "header_required"),
        ({**ours, "Sec-Fetch-Site": "cross-site"}, "cross_site"),
        ({**ours, "Sec-Fetch-Site": "same-site"}, "cross_site"),
        ({**ours, "Sec-Fetch-Site": "none"}, "cross_site"),
        ({**ours, "Origin": "https://evil.example"}, "cross_site"),
        ({**ours, "Origin": "null"}, "cross_site"),
    ]
