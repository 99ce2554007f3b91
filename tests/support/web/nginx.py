"""A Nginx before the sites, which compresses all that it may and buffers as it does by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import accepts, need, reserve_port, running, wait_until

CONF = """
daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    gzip on;
    gzip_types *;
    gzip_proxied any;
    gzip_min_length 0;
    server {{
        listen 127.0.0.1:{port};
        location ~ ^/to/(\\d+)(/.*)$ {{
            proxy_pass http://127.0.0.1:$1$2;
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """A URL that, followed by the port of a site and a path, leads there."""
    port = reserve_port()
    (folder / "nginx.conf").write_text(CONF.format(port=port))
    log = folder / "nginx.log"
    command = [
        need("nginx"),
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        str(folder / "error.log"),
    ]
    with running(command, log):
        wait_until(lambda: accepts(("127.0.0.1", port)), what="Nginx accepting")
        yield f"http://127.0.0.1:{port}/to/"
