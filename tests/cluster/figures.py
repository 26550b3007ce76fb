"""What the set-ups cost, measured one after the other in one run, as tables for docs/scaling.md.

The clients are programs in Python on the same processors, so the figures say how the set-ups
compare, and not how fast a machine of its own would be.
"""

import os
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from clients import PASSWORD, Session, curl
from machines import BALANCER, NODES, Local

CLIENTS = 8
SECONDS = 5
LARGE = 256 << 20
ACCOUNTS = 1_000_000
# HAProxy has two file descriptors per session, and a container may have no more than 20,000.
SESSIONS = 9_000


def measure(machines):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    a, b = machines.nodes["a"], machines.nodes["b"]
    local = Local(machines)
    set_ups = {
        "one node, local disk": ([local], NODES["a"]),
        "one node, GlusterFS": ([a], NODES["a"]),
        "two nodes, GlusterFS, HAProxy": ([a, b], BALANCER),
    }
    columns = []
    for nodes, address in set_ups.values():
        columns.append(measure_set_up(machines, nodes, address))
    print("| work | unit |", " | ".join(set_ups), "|")
    print("| --- | --- |", " --- |" * len(set_ups))
    for work, unit in columns[0]:
        values = " | ".join(f"{column[work, unit]:,.0f}" for column in columns)
        print(f"| {work} | {unit} | {values} |", flush=True)
    many_accounts(machines)
    many_sessions(machines)


def measure_set_up(machines, nodes, address):
    figures = {}
    for sync in ("on", "off"):
        for node in nodes:
            node.start(f"--sync={sync}")
        if address == BALANCER:
            machines.start_balancer()
        if sync == "on" and address != BALANCER:
            for client in range(CLIENTS):
                Session(address, f"user{client}", register=True).close()
        if sync == "on":
            figures["logins", "/s"] = rate(log_in, address)
        figures[f"4 KiB STOR, {CLIENTS} clients, sync = {sync}", "files/s"] = rate(store, address)
        up, down = large_file(machines, address)
        figures[f"one upload of 256 MiB, sync = {sync}", "MiB/s"] = up
        if sync == "on":
            figures["one download of 256 MiB", "MiB/s"] = down
        if address == BALANCER:
            machines.stop_balancer()
        for node in nodes:
            node.kill()
    return figures


def rate(work, address):
    """How often all clients together do this in a second."""
    deadline = time.monotonic() + SECONDS
    with ProcessPoolExecutor(CLIENTS) as pool:
        done = [pool.submit(work, address, client, deadline) for client in range(CLIENTS)]
        return sum(future.result() for future in done) / SECONDS


def store(address, client, deadline):
    count = 0
    with Session(address, f"user{client}") as session:
        while time.monotonic() < deadline:
            reply = session.store(f"STOR {os.getpid()}-{count}", bytes(4096))
            assert reply.startswith("226"), reply
            count += 1
    return count


def log_in(address, client, deadline):
    count = 0
    while time.monotonic() < deadline:
        Session(address, f"user{client}").close()
        count += 1
    return count


def large_file(machines, address):
    """MiB/s up and down by curl, medians of three."""
    path, size = machines.folder / "large", LARGE / (1 << 20)
    path.write_bytes(os.urandom(1 << 20) * int(size))
    url = f"ftp://user0:{PASSWORD}@{address}/large"
    up, down = [], []
    for _ in range(3):
        up.append(size / seconds(lambda: fine(curl("-T", str(path), url))))
        down.append(size / seconds(lambda: fine(curl("-o", "/dev/null", url))))
    path.unlink()
    return statistics.median(up), statistics.median(down)


def fine(problem):
    if problem:
        raise RuntimeError(problem)


def seconds(work):
    since = time.monotonic()
    work()
    return time.monotonic() - since


def many_accounts(machines):
    """What a login and a change cost with a million accounts."""
    a, b = machines.nodes["a"], machines.nodes["b"]
    users = a.dir / "users"
    last = users.read_text().rstrip("\n").splitlines()[-1].split(":", 1)[1]
    with open(users, "a") as file:
        file.writelines(f"many{number}:{last}\n" for number in range(ACCOUNTS))
    size = users.stat().st_size / (1 << 20)
    starts = [seconds(a.start), seconds(b.start)]
    numbers = iter(range(ACCOUNTS))

    def register():
        Session(NODES["a"], f"new{next(numbers)}", register=True).close()

    def change():
        with Session(NODES["a"], "many7") as session:
            session.expect("2", f"passwd {PASSWORD} {PASSWORD}")

    def log_in_at(name):
        return lambda: Session(NODES[name], f"many{next(numbers)}").close()

    def after(work, name):
        work()
        return seconds(log_in_at(name))

    print(f"\n{ACCOUNTS:,} accounts, a users file of {size:.0f} MiB; hashes with one iteration:\n")
    print("| work | ms |")
    print("| --- | --- |")
    for work, times in {
        "start of a node": starts,
        "login": [seconds(log_in_at("b")) for _ in range(50)],
        "registration": [seconds(register) for _ in range(10)],
        "login at the other node after a registration": [after(register, "b") for _ in range(10)],
        "change of a password": [seconds(change) for _ in range(5)],
        "login at the other node after such a change": [after(change, "b") for _ in range(5)],
    }.items():
        print(f"| {work} | {1000 * statistics.median(times):,.1f} |", flush=True)
    print("| memory of a node (MiB) |", f"{a.memory() >> 10:,} |")
    for node in (a, b):
        node.kill()
    text = users.read_text()
    users.write_text(text[:text.index("many0:")])


def many_sessions(machines):
    """What many sessions cost, logged in through the balancer."""
    nodes = machines.nodes.values()
    most = str(SESSIONS)
    for node in nodes:
        node.start("--max-clients", most, "--max-per-address", most, "--idle-timeout", "3600")
    machines.start_balancer()
    before = [node.memory() for node in nodes]
    sessions = []

    def log_in_all():
        with ThreadPoolExecutor(CLIENTS) as pool:
            accounts = (f"user{number % CLIENTS}" for number in range(SESSIONS))
            sessions.extend(pool.map(lambda account: Session(BALANCER, account), accounts))

    took = seconds(log_in_all)
    each = [(node.memory() - memory) / (SESSIONS / 2) for node, memory in zip(nodes, before)]
    beside = 1000 * seconds(lambda: Session(BALANCER, "user0").close())
    print(f"\n{SESSIONS:,} sessions, logged in by {CLIENTS} threads: {SESSIONS / took:,.0f} logins/s; "
          f"memory per session: {each[0]:.1f} and {each[1]:.1f} KiB in the nodes, "
          f"{machines.memory_of_balancer() / SESSIONS:.1f} KiB in HAProxy; "
          f"a login beside them: {beside:.1f} ms", flush=True)
    for session in sessions:
        session.close()
    machines.stop_balancer()
    for node in nodes:
        node.kill()
