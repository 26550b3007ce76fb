"""pyftpdlib_server.py ADDRESS PORT FOLDER LOG NAME PASSWORD: pyftpdlib with one account and its log in a file.

Its asynchronous server, one thread for all clients; limits raised so that every row can run.
"""

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

address, port, folder, log, name, password = sys.argv[1:]
logging.basicConfig(filename=log, level=logging.INFO)

handler = FTPHandler
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user(name, password, folder, perm="elradfmwMT")
handler.timeout = 86400

server = FTPServer((address, int(port)), handler, backlog=4096)
server.max_cons = 15000
server.max_cons_per_ip = 15000
server.serve_forever()
