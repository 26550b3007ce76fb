"""Runs a program on a terminal of its own: standard input is what is typed, standard output what is shown."""

import os
import pty
import select
import signal
import sys

pid, terminal = pty.fork()
if pid == 0:
    # A shell ignores them for what it starts in the background, and then Ctrl-C does nothing.
    for number in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT:
        signal.signal(number, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
sources = [0, terminal]
while True:
    for source in select.select(sources, [], [])[0]:
        try:
            data = os.read(source, 4096)
        except OSError:  # the program has closed its terminal
            data = b""
        if source == 0 and data:
            os.write(terminal, data)
        elif source == 0:
            sources.remove(0)
        elif data:
            try:
                os.write(1, data)
            except BrokenPipeError:  # nothing reads what is shown any more
                sys.exit()
        else:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
