"""The application: a request in, an answer out.

============== ==========================================================
``http``       requests, answers, errors
``headers``    metadata, policies, sharing: what headers carry
``conditions`` If-Match and its like
``ranges``     Range and Content-Range
``render``     text, JSON, XML
``context``    what every handler gets: the store, the user, the settings
``identity``   tokens, user catalogues, quotas (what Astakos is elsewhere)
``account``    the account level
``container``  the container level
``objects``    the object level: reading, deleting
``writing``    the object level: PUT, POST
``content``    content from the body of a request
``updating``   POST with data: patch, append, truncate
``copying``    COPY, MOVE, and PUT from another object
``preparing``  what these have in common
``paths``      names of other objects in headers
``public``     objects by their public name
``routes``     which of these a path means
============== ==========================================================
"""

from __future__ import annotations

from pithosfs.server.app.context import Settings
from pithosfs.server.app.routes import App

__all__ = ["App", "Settings"]
