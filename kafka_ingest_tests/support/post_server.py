"""A real HTTP server on loopback, for what posts to one."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Mapping
from typing import Any

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


class PostServer:
    """Answers each POST with what `answer` makes of its path and body. Close it."""

    def __init__(self, answer: Callable[[str, bytes], Answer]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                code, headers, body = answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
