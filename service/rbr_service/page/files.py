"""Serves the page's files, under headers that let it load and send nothing but the service's own."""

from pathlib import Path, PurePath

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
ROOT, FOLDER = "/", "/page"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
# Python asks the machine, and a bare container, or one with a strange table, does not know.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class PageFiles(StaticFiles):
    """Static files with the page's headers; what is not there is a typed 404 like any other."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file at `path`, or that it has not changed. Raises HTTPException 404 or 405."""
        try:
            if any(part.startswith(".") for part in PurePath(path).parts):
                raise HTTPException(404)
            response = await super().get_response(path, scope)
        except HTTPException as error:
            status = 405 if error.status_code == 405 else 404  # also for a file that cannot be read
            raise HTTPException(status, headers={**HEADERS, **(error.headers or {})}) from error
        response.headers.update(HEADERS)
        if "content-type" in response.headers:  # not in a 304
            kind = _TYPES.get(PurePath(path).suffix, "text/plain; charset=utf-8")
            response.headers["content-type"] = kind
        return response


def add_page(app: FastAPI, folder: Path = STATIC) -> None:
    """Serve the page's `folder` at FOLDER, and its index.html at ROOT. Neither asks for a key."""
    files = PageFiles(directory=folder)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.add_route(ROOT, index, include_in_schema=False)
    app.mount(FOLDER, files, name="page")
