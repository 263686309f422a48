"""Telling the apps of buyers how their orders stand, through FCM, APNs and JPush.

An app that gives its device token with an attempt is pushed a note when the order is paid or
closed, or when money that was not needed goes back. A note carries no truth: it names the order and
its version, and the app asks the merchant, who knows. So a note may be lost, repeated or late
without harm, and holds nothing that a screen or a platform should not show. Off until a platform is
set up.
"""
