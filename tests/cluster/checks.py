"""What two nodes must do together. Each check prints one line."""

import collections
import filecmp
import itertools
import os
import random
import threading
import time
import traceback

import clients
from clients import CLIENT, PASSWORD, Refused, Session, content_of, curl, lftp
from machines import BALANCER, NODES, wait_until

A, B = NODES["a"], NODES["b"]
LOST = (OSError, EOFError)


def run(machines, only):
    checks = Checks(machines)
    for step in STEPS:
        # The first one starts everything.
        if step is not STEPS[0] and only not in step.__name__:
            continue
        try:
            step(checks)
        except Exception:
            checks.failed += 1
            print(f"FAILED {step.__name__.replace('_', ' ')}: {traceback.format_exc()}", flush=True)
            if step is STEPS[0]:
                break
    print(f"cluster: {checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed else 0


class Checks:
    def __init__(self, machines):
        self.machines = machines
        self.a, self.b = machines.nodes["a"], machines.nodes["b"]
        self.passed = self.failed = 0

    def equal(self, what, got, expected):
        self.true(what, got == expected, got, expected)

    def starts(self, what, got, expected):
        self.true(what, got.startswith(expected), got, f"{expected}…")

    def true(self, what, is_so, got, expected):
        if is_so:
            self.passed += 1
            print(f"ok {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED {what}: expected {short(expected)}, got {short(got)}", flush=True)


def short(value):
    text = repr(value)
    return text if len(text) < 400 else f"{text[:400]}… ({len(text)} characters)"


def both_nodes_start_and_no_other_server_does(checks):
    checks.a.start()
    checks.b.start()
    checks.machines.start_balancer()
    Session(A, "alice", register=True).close()
    other = [checks.machines.program, "--listen", f"{A}:2121", "--dir", str(checks.b.dir)]
    alone = clients.run(other)
    why = "exit code 1: … another server …"
    checks.true("a server without --node is refused, through the other mount too",
                "exit code 1" in alone and "another" in alone, alone, why)
    second = clients.run([*other, "--node", "a"])
    checks.true("a second node of the same name is refused on another machine",
                "exit code 1" in second and "another" in second, second, why)


def logins_by_either_node(checks):
    with Session(B, "alice") as session:
        checks.starts("an account registered through one node logs in through the other",
                      session.ask("pwd"), '257 "/"')
    held = [Session(BALANCER, "alice") for _ in range(10)]
    found = collections.Counter()
    for session in held:
        session.data().close()
        found[session.node] += 1
    checks.equal("the balancer gives ten clients to two nodes, five each", dict(found),
                 {A: 5, B: 5})
    who = checks.a.shell("who").stdout + checks.b.shell("who").stdout
    checks.equal("the nodes see the clients' address, not the balancer's",
                 (who.count(CLIENT), BALANCER in who), (10, False))
    for session in held:
        session.close()
    with Session(A, "alice") as changing, Session(B, "alice"):
        changing.expect("2", f"passwd {PASSWORD} changed-1")
        with Session(B) as session:
            checks.starts("a changed password is refused through the other node at once",
                          session.ask(f"login alice {PASSWORD}"), "530")
            checks.starts("the new password is accepted there",
                          session.ask("login alice changed-1"), "230")
        changing.expect("2", f"passwd changed-1 {PASSWORD}")


def uploads_are_seen_whole_through_the_other_node(checks):
    folder = checks.machines.folder
    sent, got = folder / "sent", folder / "got"
    sent.write_bytes(random.Random(1).randbytes(5 << 20))
    url = f"ftp://alice:{PASSWORD}@"
    problem = curl("--ftp-create-dirs", "-T", str(sent), f"{url}{BALANCER}/docs/photo.jpg")
    checks.equal("curl uploads 5 MiB through the balancer", problem, "")
    for name, address in NODES.items():
        problem = curl("-o", str(got), f"{url}{address}/docs/photo.jpg")
        same = problem or filecmp.cmp(sent, got, shallow=False)
        checks.equal(f"curl downloads the same bytes from node {name}", same, True)

    tree = folder / "tree"
    for number in range(20):
        path = tree / f"folder {number % 4}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(path.name, number * 3000))
    problem = lftp(BALANCER, "alice", f"mirror -R {tree} tree")
    checks.equal("lftp mirrors a tree through the balancer", problem, "")
    for name, address in NODES.items():
        problem = lftp(address, "alice", f"mirror tree {folder}/tree-{name}")
        checks.equal(f"lftp gets the same tree from node {name}",
                     problem or read_tree(folder / f"tree-{name}"), read_tree(tree))

    with Session(A, "alice") as writer, Session(B, "alice") as reader:
        writer.expect("257", "MKD whole")
        data = writer.begin("STOR whole/new", b"half")
        checks.equal("a new file in progress is not there through the other node",
                     reader.names("NLST whole"), [])
        data.close()
        writer.expect("226", None)
        checks.equal("and is there whole after its 226", reader.fetch("RETR whole/new"), b"half")
        stale = 0
        for number in range(50):
            content = content_of(str(number), 1 + number * 1000)
            writer.store("STOR whole/new", content)
            stale += reader.fetch("RETR whole/new") != content
        checks.equal("each of 50 replacements is what the other node sends next", stale, 0)
    checks.equal("a file that is replaced all the time is the old or the new one for readers",
                 *replaced_under_readers())


def read_tree(top):
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*")
            if path.is_file()}


def replaced_under_readers():
    """What is wrong with the reads through both nodes while one replaces the file; and none."""
    wrong, reads = [], collections.Counter()
    done = threading.Event()

    def read(address):
        with Session(address, "alice") as session:
            while not done.is_set():
                content = session.fetch("RETR replaced")
                reads[address] += 1
                if len(content) != 100_000 or len(set(content)) != 1:
                    wrong.append((address, len(content), len(set(content))))

    with Session(A, "alice") as writer:
        writer.store("STOR replaced", b"a" * 100_000)
        readers = in_threads(read, [A, B], wrong)
        number = 0
        # The readers decide how long this takes, but both must have read during the writes.
        while number < 100 or min(reads[A], reads[B]) < 20:
            number += 1
            reply = writer.store("STOR replaced", bytes([97 + number % 26]) * 100_000)
            if not reply.startswith("226") or wrong:
                wrong.append(reply)
                break
        done.set()
        for reader in readers:
            reader.join()
    return wrong, []


def in_threads(work, arguments, failures):
    """Starts a thread per argument. What is raised in one is added to `failures`."""
    def guarded(argument):
        try:
            work(argument)
        except Exception as error:
            failures.append(f"{argument}: {error!r}")

    threads = [threading.Thread(target=guarded, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    return threads


def writing_in_place_is_exclusive_across_nodes(checks):
    with Session(A, "alice") as first, Session(B, "alice") as second:
        first.store("STOR log", b"one ")
        data = first.begin("APPE log", b"two ")
        checks.starts("a second APPE is refused through the other node",
                      second.store("APPE log", b"no "), "450")
        second.expect("350", "REST 1")
        checks.starts("and so is a restarted STOR", second.store("STOR log", b"no "), "450")
        data.sendall(b"three ")
        data.close()
        first.expect("226", None)
        checks.starts("it is accepted when the first one has ended",
                      second.store("APPE log", b"four"), "226")
        checks.equal("the file holds all of both", first.fetch("RETR log"), b"one two three four")
        turns = [session.store("APPE turns", b"x")[:3] for session in (first, second) * 50]
        checks.equal("100 appends through both nodes in turn are accepted, each after a 226",
                     dict(collections.Counter(turns)), {"226": 100})
    wrong = []

    def append(address):
        with Session(address, "alice") as session:
            for number in range(40):
                line = f"{address} {number}\n".encode()
                while not (reply := session.store("APPE both", line)).startswith("226"):
                    if not reply.startswith("450"):
                        raise Refused(reply)

    for thread in in_threads(append, [A, B], wrong):
        thread.join()
    with Session(A, "alice") as session:
        lines = sorted(session.fetch("RETR both").decode().splitlines())
    checks.equal("40 lines that each node appends at once are all there",
                 (wrong, lines), ([], sorted(f"{address} {number}" for address in (A, B)
                                             for number in range(40))))


def accounts_that_change_through_both_nodes_at_once(checks):
    wrong, count = [], 200

    def register(address):
        name = "ab"[address == B]
        for number in range(count):
            with Session(address, f"{name}{number}", "password", register=True) as session:
                session.expect("2", f"passwd password new-{number}")

    def log_in(address):
        name = "ba"[address == B]
        for number in range(count):
            Session(address, f"{name}{number}", f"new-{number}").close()

    for thread in in_threads(register, [A, B], wrong):
        thread.join()
    checks.equal(f"2 × {count} registrations and password changes at once succeed", wrong, [])
    for thread in in_threads(log_in, [A, B], wrong):
        thread.join()
    checks.equal("each of these accounts logs in with its new password through the other node",
                 wrong, [])


def a_quota_is_exceeded_by_no_more_than_documented(checks):
    quota, size = 1 << 20, 64 << 10
    Session(A, "bob", register=True).close()
    checks.equal("the owner sets a quota through one node",
                 checks.a.shell("user", "quota", "bob", "1M").returncode, 0)
    stored = collections.Counter()
    wrong = []
    with Session(A, "bob") as first, Session(B, "bob") as second:

        def fill(session):
            for number in range(2 * quota // size):
                reply = session.store(f"STOR {id(session)}-{number}", bytes(size))
                if reply.startswith("552"):
                    return
                if not reply.startswith("226"):
                    raise Refused(reply)
                stored[session.node] += size

        for thread in in_threads(fill, [first, second], wrong):
            thread.join()
    total = sum(stored.values())
    checks.true("through two nodes an account stores at most its quota twice",
                not wrong and quota <= total <= 2 * quota, wrong or total,
                f"{quota} to {2 * quota}")
    checks.equal("which is what each node allows on its own", dict(stored),
                 {A: quota, B: quota})
    with Session(A, "bob") as session:
        checks.starts("the next session counts all of it", session.store("STOR more", b"x"), "552")


def who_kick_and_stop_ask_one_node(checks):
    with Session(A, "alice") as first, Session(B, "alice") as second:
        who = checks.a.shell("who").stdout
        checks.equal("who lists the sessions of its node only", len(who.splitlines()), 1)
        number = who.split()[0]
        checks.equal("kick succeeds", checks.a.shell("kick", number).returncode, 0)
        checks.starts("and ends the session of that node", first.reply(), "421")
        checks.starts("but not the one of the other", second.ask("pwd"), "257")
        stopped = checks.b.shell("stop", "--wait", "0")
        checks.equal("stop ends its node", (stopped.returncode, stopped.stderr,
                                            checks.b.process.wait()), (0, "", 0))
    nodes = set()
    for _ in range(4):
        with Session(BALANCER, "alice") as session:
            session.data().close()
            nodes.add(session.node)
    checks.equal("and the balancer gives new clients to the other at once", nodes, {A})
    checks.b.start()
    checks.machines.wait_for_balancer("a", "b")


class Load:
    """Clients that store small files through the balancer, each with content of its own, and log in
    again when they lose their node."""

    def __init__(self, folder, clients=6):
        self.folder = folder
        with Session(BALANCER, "alice") as session:
            session.expect("257", f"MKD {folder}")
        self.stopping = False
        self.acknowledged = []
        self.count = collections.Counter()
        self.lost = []
        self.wrong = []
        self.threads = in_threads(self.store_files, range(clients), self.wrong)

    def store_files(self, client):
        session = None
        for number in itertools.count():
            if self.stopping:
                break
            name = f"{self.folder}/{client}-{number}"
            try:
                session = session or Session(BALANCER, "alice")
                reply = session.store(f"STOR {name}", content_of(name))
                if reply.startswith("226"):
                    self.acknowledged.append(name)
                    self.count[session.node] += 1
                else:
                    self.wrong.append(f"{session.node}: {reply}")
            except LOST:
                self.lost.append(session and session.node)
                session = None
        if session:
            session.close()

    def wait_for(self, more, node=None):
        """Waits until this number of further files is acknowledged, by this node or by any."""
        def stored():
            return self.count[node] if node else len(self.acknowledged)

        least = stored() + more
        wait_until(lambda: stored() >= least or self.wrong, f"{more} more files")

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def missing(self, address):
        """The acknowledged files that this node does not send whole."""
        wrong = []
        with Session(address, "alice") as session:
            for name in self.acknowledged:
                try:
                    whole = session.fetch(f"RETR {name}") == content_of(name)
                except Refused as refused:
                    whole = str(refused)
                if whole is not True:
                    wrong.append((name, whole))
        return wrong


def temporaries(node, folder):
    return [name for name in os.listdir(node.dir / "workdir/alice" / folder)
            if name.startswith(".plainftpd-")]


def a_node_is_killed_under_load(checks):
    a, b = checks.a, checks.b
    with Session(A, "alice") as session:
        for folder in ("left-1", "left-2"):
            session.expect("257", f"MKD {folder}")
    broken = [Session(A, "alice") for _ in range(2)]
    halves = [session.begin(f"STOR left-{number}/file", bytes(100_000))
              for number, session in enumerate(broken, 1)]
    wait_until(lambda: temporaries(b, "left-1") and temporaries(b, "left-2"), "two uploads begin")
    with Session(B, "alice") as session:
        checks.starts("an upload in progress keeps the folder from being removed by another node",
                      session.ask("RMD left-1"), "450")

    load = Load("killed")
    load.wait_for(20, A)
    load.wait_for(20, B)
    a.kill()
    load.wait_for(60)
    load.stop()
    checks.equal("node a is killed under load: no client of node b notices",
                 (load.wrong, B in load.lost), ([], False))
    checks.true("the clients of node a go on through node b", A in load.lost, load.lost, [A])
    checks.equal(f"all {len(load.acknowledged)} acknowledged files are whole", load.missing(B), [])

    with Session(B, "alice") as session:
        checks.equal("clients do not see what the killed node left",
                     session.names("NLST left-1"), [])
        checks.starts("and the other node removes it with the folder", session.ask("RMD left-1"),
                      "250")
    for half, session in zip(halves, broken):
        half.close()
        session.close()
    a.start()
    wait_until(lambda: not temporaries(b, "left-2"), "the restarted node sweeps what it left")
    checks.equal("the killed node starts again and sweeps what it left", temporaries(b, "left-2"),
                 [])
    checks.machines.wait_for_balancer("a", "b")


def a_machine_dies_under_load(checks):
    """Node and mount together: what the mount had not yet sent to the bricks is lost."""
    a = checks.a
    load = Load("machine")
    load.wait_for(20, A)
    checks.machines.kill_machine(a)
    load.wait_for(60)
    load.stop()
    checks.equal("node a and its mount are killed under load: no client of node b notices",
                 (load.wrong, B in load.lost), ([], False))
    checks.equal(f"all {len(load.acknowledged)} acknowledged files are whole (sync = on)",
                 load.missing(B), [])
    checks.machines.unmount(a)
    checks.machines.mount(a)
    a.start()
    checks.machines.wait_for_balancer("a", "b")


def a_brick_is_killed_under_load(checks):
    machines = checks.machines
    load = Load("brick")
    load.wait_for(20)
    machines.kill_brick(0)
    load.wait_for(60)
    load.stop()
    checks.equal("a brick is killed under load: no client notices", (load.wrong, load.lost),
                 ([], []))
    checks.equal(f"all {len(load.acknowledged)} acknowledged files are whole through node a",
                 load.missing(A), [])
    machines.start_bricks()
    wait_until(machines.is_healed, "GlusterFS brings the brick up to date")
    machines.kill_brick(1)
    checks.equal("and through node b from the brick that came back, with the other one killed",
                 load.missing(B), [])
    machines.start_bricks()


def bricks_are_restarted_one_after_the_other(checks):
    machines = checks.machines
    with Session(A, "alice") as session:
        data = session.begin("STOR live", b"half")
        for number in range(2):
            machines.kill_brick(number)
            machines.start_bricks()
            wait_until(machines.is_healed, "GlusterFS brings the brick up to date")
            time.sleep(12)  # a node locks its file again every five seconds; nothing shows it
        for who in (["--node", "a"], []):
            words = [machines.program, "--listen", f"{B}:2121", *who]
            said = clients.run([*words, "--dir", str(checks.b.dir)])
            what = "a second node a" if who else "a server without --node"
            checks.true(f"both bricks were restarted: {what} is refused",
                        "another plainftpd uses it" in said, said, "… another plainftpd uses it")
        checks.b.kill()
        checks.b.start()
        checks.b.wait_for_sweeper()
        data.close()
        checks.starts("and the start of another node leaves an upload alone",
                      session.reply(), "226")


STEPS = [
    both_nodes_start_and_no_other_server_does,
    logins_by_either_node,
    uploads_are_seen_whole_through_the_other_node,
    writing_in_place_is_exclusive_across_nodes,
    accounts_that_change_through_both_nodes_at_once,
    a_quota_is_exceeded_by_no_more_than_documented,
    who_kick_and_stop_ask_one_node,
    a_node_is_killed_under_load,
    a_machine_dies_under_load,
    a_brick_is_killed_under_load,
    bricks_are_restarted_one_after_the_other,
]
