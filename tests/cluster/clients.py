"""A raw client of plainftpd, and the programs curl and lftp."""

import hashlib
import re
import socket
import subprocess

# How long a reply may take on a busy machine. Only a check that fails waits for it.
PATIENCE = 120
# The address that all clients have, so that a node can tell them from the balancer.
CLIENT = "10.77.0.9"
PASSWORD = "wonderland"
# Linux has this option since version 4.2, Python a name for it since 3.12.
IP_BIND_ADDRESS_NO_PORT = 24


class Refused(Exception):
    """A reply that is not the expected one."""


class Session:
    """A control connection. `account` logs in, and `register` creates the account."""

    def __init__(self, address, account=None, password=PASSWORD, register=False):
        self.socket = connect(address, 21)
        self.lines = self.socket.makefile("rb")
        self.node = None
        self.expect("220", None)
        if account:
            verb = "register" if register else "login"
            self.expect("230", f"{verb} {account} {password}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.lines.close()
        self.socket.close()

    def reply(self):
        """The last line of the next reply."""
        while True:
            line = self.lines.readline()
            if not line.endswith(b"\n"):
                raise EOFError("the server has closed the connection")
            if line[:3].isdigit() and line[3:4] == b" ":
                return line.decode().rstrip()

    def send(self, line):
        self.socket.sendall(line.encode() + b"\r\n")

    def ask(self, line):
        self.send(line)
        return self.reply()

    def expect(self, code, line):
        """The reply to a line, or the next one without a line. Fails if it has another code."""
        reply = self.reply() if line is None else self.ask(line)
        if not reply.startswith(code):
            raise Refused(reply)
        return reply

    def data(self):
        """A passive data connection. Its address tells which node this session has."""
        numbers = re.findall(r"\d+", self.expect("227", "PASV"))[1:]
        self.node = ".".join(numbers[:4])
        return connect(self.node, int(numbers[4]) * 256 + int(numbers[5]))

    def begin(self, line, content=b""):
        """Begins an upload, and returns its data connection."""
        data = self.data()
        self.expect("150", line)
        data.sendall(content)
        return data

    def store(self, line, content):
        """Uploads, and returns the reply: `store("STOR name", …)`."""
        with self.data() as data:
            answer = self.ask(line)
            if not answer.startswith("150"):
                return answer
            data.sendall(content)
        return self.reply()

    def fetch(self, line):
        """Downloads, and returns the content."""
        with self.data() as data:
            self.expect("150", line)
            content = b"".join(iter(lambda: data.recv(1 << 18), b""))
        self.expect("226", None)
        return content

    def names(self, line="NLST"):
        return self.fetch(line).decode().split()


def connect(address, port):
    connection = socket.socket()
    connection.settimeout(PATIENCE)
    # The port is chosen when the other end is known, so that two connections may have the same one.
    # Otherwise the figures run out of ports.
    connection.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connection.bind((CLIENT, 0))
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def content_of(name, size=64 << 10):
    """Content that only this name has."""
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


def curl(*arguments):
    # curl would connect to the balancer for data. Without the flag it ignores the address in PASV's
    # reply.
    command = ["curl", "-sS", "--no-ftp-skip-pasv-ip", "--interface", CLIENT, *arguments]
    return run(command)


def lftp(address, account, script):
    settings = f"set ftp:ssl-allow no; set net:socket-bind-ipv4 {CLIENT}; set net:max-retries 2; "
    return run(["lftp", "-u", f"{account},{PASSWORD}", address, "-e", settings + script + "; bye"])


def run(command):
    """Runs a program; the result is "" or what went wrong."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.strip()}"
