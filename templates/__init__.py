"""What customers read: text files by journey, channel and language, and their renderer.

An author writes one file per channel and language, found by the template's name::

    templates/texts/<group>/<name>/<channel>.<locale>.md    email (Markdown)
    templates/texts/<group>/<name>/<channel>.<locale>.txt   every other channel

Files are Liquid. A header between two lines ``---`` holds what is not the body: ``subject`` (email),
``title`` and ``link`` (push, inbox), ``topic`` (call), ``button: id | title`` lines
and ``category`` (whatsapp).
Variables: ``customer`` (traits), ``event`` (properties of the trigger), ``offer`` and ``review``
(facts of the journey, or nothing), ``site`` (address of the client's site), ``company`` (its name), ``parameters``
(of the journey).
"""

from pathlib import Path

TEXTS = Path(__file__).parent / "texts"
"""The texts of the packs that come with the product."""

LIBRARY = Path(__file__).parent / "library"
"""Texts to begin with that are for a month: to be looked through, changed, and put in as editions."""
