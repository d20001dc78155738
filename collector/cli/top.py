"""`collector top`: the state of everything and every market, until `q` or Ctrl-C."""

import signal
import sys
import time

import redis

from collector.cli.render import output
from collector.cli.render.top import TopFrame
from collector.cli.store import masked, open_running
from collector.cli.watcher import Watcher
from collector.errors import BrokerUnavailable
from collector.host.services import log_dir
from collector.settings import Settings
from collector.store.read import Reader

REFRESH_S = 1.0


def top(settings: Settings, *, once: bool, theme: str | None = None, style: str | None = None) -> int:
    """Show the state until `q`, or once; return the exit code.

    Args:
        theme: `dark` or `light`; None as the terminal is.
        style: `west` or `kr`, the colours of rising and falling prices; None by its language.

    Raises:
        BrokerUnavailable: no Redis is running.
        KeyboardInterrupt: Ctrl-C.
    """
    with open_running(settings) as client:
        watcher = Watcher(Reader(client, settings), _address(client))
        if once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            watcher.look()
            time.sleep(REFRESH_S)  # rates need two looks
            output.show([TopFrame(watcher.look())])
            return 0
        from collector.cli.screen.app import Top  # Textual is not loaded for any other command

        app = Top(watcher, log_dir(settings), theme=theme and f"collector-{theme}", style=style)
        signal.signal(signal.SIGTERM, lambda *_: app.exit())
        signal.signal(signal.SIGINT, lambda *_: app.action_interrupt())
        app.run()
        if app.is_interrupted:
            raise KeyboardInterrupt
        if app.trouble:
            raise BrokerUnavailable(app.trouble)
    return 0


def _address(client: redis.Redis) -> str:
    options = client.get_connection_kwargs()
    return masked(f"redis {options.get('host', options.get('path'))}:{options.get('port', '')}")
