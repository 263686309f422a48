"""The composition root: settings in, application out."""

from aiohttp import web

from gateway.lifespan import hold
from gateway.settings import Settings
from gateway.web.middleware import middlewares
from gateway.web.pages import set_up_pages
from gateway.web.routes import add_routes


def make_app(settings: Settings, *, worker: bool) -> web.Application:
    """Make the gateway; `worker`: it also asks, delivers and sweeps."""
    app = web.Application(middlewares=middlewares(settings), client_max_size=64 * 1024)
    set_up_pages(app)
    add_routes(app)
    app.cleanup_ctx.extend(hold(settings, worker=worker))
    return app
