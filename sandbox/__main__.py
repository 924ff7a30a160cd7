"""`python -m sandbox` serves; `python -m sandbox credentials` prints what both sides need."""

import argparse
import json
import os
import sys

from sandbox.app import create_app
from sandbox.configuration import Configuration, NotConfigured
from sandbox.credentials import generate
from sandbox.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="The providers' side for local use. It is configured by its environment.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve on 127.0.0.1:$SANDBOX_PORT (the default)")
    credentials = commands.add_parser("credentials", help="print fresh credentials for both sides as JSON")
    credentials.add_argument("--url", default="http://127.0.0.1:8025", help="where the sandbox will be reached")
    arguments = parser.parse_args()
    if arguments.command == "credentials":
        sys.stdout.write(json.dumps(generate(arguments.url), indent=2) + "\n")
        return
    try:
        configuration = Configuration.from_environment(os.environ)
    except NotConfigured as error:
        sys.exit(str(error))
    serve(create_app(configuration), configuration.port)


if __name__ == "__main__":
    main()
