"""The page of ``semcast web``: a link, a codec, privacy and a radio to look at, on this computer alone.

::

    upload ── limits ──→ visitor (a face, a scene: nothing else is kept) ──┬── link     one face through systems
                                                                           ├── codec    a few hundred bytes
              shelf: networks, loaded once, shared by all visitors ────────┼── privacy  what is sent, what stays
              work:  one thing at a time, the newest wish of each visitor ─┴── radio    sound, and back

These modules compute and draw, and know nothing of browsers; :mod:`semcast.web.pages` shows what they give.
"""
