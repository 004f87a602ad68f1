#!/usr/bin/env python
"""Paysage's command line. Commands find the embedded services running, or start them for as long."""

import os
import signal
import sys

WITHOUT_SERVICES = {
    *("serve", "check", "help", "makemigrations", "collectstatic", "spectacular"),
    *("makemessages", "compilemessages"),
}


def main() -> None:
    """Start what the command needs, then let Django run it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "retrieval.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    # Told to stop, a command ends as after an error: what it started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if command not in WITHOUT_SERVICES and not command.startswith("-"):
        from retrieval.embedded import EmbeddedError, start_services

        try:
            start_services()
        except EmbeddedError as error:
            sys.exit(f"paysage: {error}")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
