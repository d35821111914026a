"""The floor of a machine: uvicorn with httptools and uvloop that reads a body and answers as the envelope door does.

python -m scripts.floor: prints PORT, serves until its stdin closes. Nothing is parsed, checked or kept.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
import uvloop

ANSWER = b'{"id":"00000000000000000000000000000000"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Every path, every method."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", access_log=False, log_level="critical",
                              server_header=False, date_header=False, timeout_keep_alive=30)  # fmt: skip
    server = uvicorn.Server(settings)
    print(listener.getsockname()[1], flush=True)
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: setattr(server, "should_exit", True))
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main())
