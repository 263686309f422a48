"""What handlers find on the application."""

from aiohttp import web

from gateway.payments.desk import Desk
from gateway.push.hub import Hub

DESK = web.AppKey("desk", Desk)
HUB = web.AppKey("hub", Hub)
