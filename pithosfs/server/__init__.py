"""The embedded Pithos server: one machine, one directory, the real protocol.

Layers, imports going downwards only::

    run → listener → app → store

``store`` keeps users, containers, versions and blocks in a directory and knows
no HTTP; ``app`` turns a request into an answer and knows no disk; ``listener``
moves bytes between sockets and ``app``; ``run`` puts the three together.
What the server answers, and where it differs from the real one, is written in
``docs/protocol.md``.
"""

DEFAULT_PORT = 8085
