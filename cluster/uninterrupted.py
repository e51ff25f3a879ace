"""What a worker of a terminal's cluster loads first: Ctrl-C is for the client, which then ends its workers."""

import signal
from threading import current_thread, main_thread

if current_thread() is main_thread():  # a worker in a thread of its client's process has no signals of its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)
