"""Every method of Python's ftplib, over both families: HOST PORT are the arguments."""

import ftplib
import hashlib
import io
import sys


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")


def session(host, port, name, passive):
    ftp = ftplib.FTP()
    check(ftp.connect(host, port, timeout=60).startswith("220"), "connect")
    check(ftp.getwelcome().startswith("220"), "getwelcome")
    check(ftp.sendcmd(f"SITE REGISTER {name} password").startswith("230"), "register")
    check(ftp.sendcmd("REIN").startswith("220"), "rein")
    check(ftp.login(name, "password").startswith("230"), "login")
    ftp.set_pasv(passive)
    content = bytes(range(256)) * 5000
    ftp.storbinary("STOR a b.bin", io.BytesIO(content))
    check(ftp.size("a b.bin") == len(content), "size")
    got = bytearray()
    ftp.retrbinary("RETR a b.bin", got.extend)
    check(hashlib.sha256(got).digest() == hashlib.sha256(content).digest(), "retrbinary")
    got = bytearray()
    ftp.retrbinary("RETR a b.bin", got.extend, rest=1000)
    check(bytes(got) == content[1000:], "retrbinary rest")
    ftp.storbinary("STOR a b.bin", io.BytesIO(content[1000:]), rest=1000)
    check(ftp.size("a b.bin") == len(content), "storbinary rest")
    ftp.storlines("STOR text", io.BytesIO(b"one\ntwo\n"))
    lines = []
    ftp.retrlines("RETR text", lines.append)
    check(lines == ["one", "two"], "retrlines")
    check(ftp.mkd('with "quotes"') == '/with "quotes"', "mkd")
    check(ftp.cwd('with "quotes"').startswith("250"), "cwd")
    check(ftp.pwd() == '/with "quotes"', "pwd")
    check(ftp.nlst() == [], "nlst of an empty folder")
    check(ftp.cwd("..").startswith("250"), "cwd ..")
    check(sorted(ftp.nlst()) == ["a b.bin", "text", 'with "quotes"'], "nlst")
    facts = dict(ftp.mlsd(facts=["type", "size"]))
    check(facts["a b.bin"] == {"type": "file", "size": str(len(content))}, f"mlsd {facts}")
    check(facts['with "quotes"']["type"] == "dir", "mlsd dir")
    listing = []
    ftp.dir(listing.append)
    check(len(listing) == 3, "dir")
    check(ftp.rename("text", "renamed").startswith("250"), "rename")
    check(ftp.delete("renamed").startswith("250"), "delete")
    check(ftp.rmd('with "quotes"').startswith("250"), "rmd")
    check(ftp.voidcmd("NOOP").startswith("200"), "voidcmd")
    # A transfer that is stopped half-way; ABOR travels as urgent data.
    # The file is larger than what sockets hold.
    ftp.storbinary("STOR large", io.BytesIO(bytes(64 * 1024 * 1024)))
    data = ftp.transfercmd("RETR large")
    data.recv(10)
    check(ftp.abort().startswith("426"), "abort")
    # ftplib reads one reply; the other of the two comes now.
    check(ftp.getresp().startswith("226"), "the 226 behind a 426")
    data.close()
    check(ftp.voidcmd("NOOP").startswith("200"), "noop after abort")
    connection, size = ftp.ntransfercmd("RETR a b.bin")
    check(size == len(content), "ntransfercmd's size")
    while connection.recv(65536):
        pass
    connection.close()
    check(ftp.voidresp().startswith("226"), "voidresp")
    try:
        ftp.delete("nothing")
        check(False, "delete of nothing")
    except ftplib.error_perm as error:
        check(str(error).startswith("550"), "error_perm")
    check(ftp.quit().startswith("221"), "quit")
    ftp.close()


host, port = sys.argv[1], int(sys.argv[2])
for passive in (True, False):
    session(host, port, f"py{passive}{host.count(':')}", passive)
