"""Drawing pages: templates, the reader's language, static files by content, and the headers of a
page.

A page is complete in its first response, takes nothing from anywhere else, and runs no script or
style that is not a file of ours. The token in a checkout URL is a credential, so a page is never
stored, and its URL never leaves in a Referer: only the origin does, which WeChat Pay's H5 page asks
for.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Final

from aiohttp import web
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.errors import NotFound
from gateway.web.keys import HUB

# By primary subtag; the first is for those who ask for none of them.
LANGUAGES: Final = {"zh": "zh_CN", "en": "en", "pt": "pt_BR"}
LANGUAGE_COOKIE: Final = "payonce_language"
_A_YEAR_S: Final = 365 * 24 * 3600


def language_of(request: web.Request) -> str:
    """Return the catalogue for a request: `?lang=`, else an earlier choice, else the browser's."""
    said = [request.query.get("lang", ""), request.cookies.get(LANGUAGE_COOKIE, "")]
    said += _by_preference(request.headers.get("Accept-Language", ""))
    for tag in said:
        primary = tag.replace("_", "-").partition("-")[0].lower()
        if primary in LANGUAGES:
            return LANGUAGES[primary]
    return next(iter(LANGUAGES.values()))


def draw(template: str, language: str, **scenery: object) -> str:
    """Draw a template in a language."""
    return _environment(language).get_template(template).render(scenery)


def page_response(
    request: web.Request,
    text: str,
    *,
    base_url: str,
    status: int = 200,
    form_targets: tuple[str, ...] = (),
) -> web.Response:
    """Answer a whole page or a piece of one, under the policy that all our pages have.

    `form_targets` are where else than to us its forms may lead.
    """
    response = web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
    response.headers.update(_headers(base_url, form_targets))
    if request.query.get("lang"):
        response.set_cookie(
            LANGUAGE_COOKIE,
            language_of(request),
            max_age=_A_YEAR_S,
            path="/checkout",
            secure=base_url.startswith("https:"),
            httponly=True,
            samesite="Lax",
        )
    return response


def set_up_pages(app: web.Application) -> None:
    """Send whoever watches home when the process is told to stop."""
    app.on_shutdown.append(_let_go)


async def _let_go(app: web.Application) -> None:
    # Otherwise the shutdown would wait for every socket and every long poll that is open.
    app[HUB].let_go()


async def static_file(request: web.Request) -> web.StreamResponse:
    """GET /static/{name}"""
    folder = static_folder().resolve()
    path = (folder / request.match_info["name"]).resolve()
    if not (path.is_relative_to(folder) and path.is_file()):
        raise NotFound("There is no such file.")
    # The URLs that we write change with the content, so a browser never has to ask again.
    kept = "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"
    return web.FileResponse(path, headers={"Cache-Control": kept})


def static_folder() -> Path:
    """Return where the static files are: in the wheel, or in the source tree."""
    package = Path(__file__).parent.parent
    packed = package / "_static"
    return packed if packed.is_dir() else package.parent / "static"


@cache
def static_url(name: str) -> str:
    """Return a URL that changes whenever the file does."""
    content = (static_folder() / name).read_bytes()
    return f"/static/{name}?v={hashlib.blake2s(content, digest_size=6).hexdigest()}"


@cache
def _headers(base_url: str, form_targets: tuple[str, ...]) -> Mapping[str, str]:
    # Older Safari does not take a WebSocket to be 'self'.
    socket_origin = base_url.replace("http", "ws", 1)
    targets = " ".join(("'self'", *form_targets))
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {socket_origin}; form-action {targets}; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "strict-origin",
        "Cache-Control": "no-store",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
        "X-Robots-Tag": "noindex, nofollow",
    }


def _by_preference(accept_language: str) -> list[str]:
    """Return the tags of an Accept-Language header, the most wanted first."""
    weighted = []
    for part in accept_language.split(",")[:20]:
        tag, _, weight = part.strip().partition(";q=")
        try:
            weighted.append((float(weight or 1), tag))
        except ValueError:
            continue
    return [tag for weight, tag in sorted(weighted, key=lambda pair: -pair[0]) if weight > 0]


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("gateway.web"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.globals.update(static=static_url, language=language)
    install = environment.install_gettext_translations  # type: ignore[attr-defined]  # the extension's
    install(_catalogue(language), newstyle=True)
    return environment


def _catalogue(language: str) -> Translations:
    """Compile a catalogue at its first use, so that no compiled file can be older than its text."""
    path = files("gateway.web") / "locale" / language / "LC_MESSAGES" / "messages.po"
    compiled = BytesIO()
    with path.open("rb") as text:
        write_mo(compiled, read_po(text, locale=language))
    compiled.seek(0)
    return Translations(compiled)
