"""The machines of the test, all in this network namespace: a GlusterFS volume of two bricks with
two mounts, a node of plainftpd on each mount, and HAProxy in front.

The options of the volume, of the mounts, of HAProxy and of the nodes are those of docs/scaling.md,
read from there, so that what the document says is what runs.
"""

import csv
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from clients import CLIENT, PATIENCE

TOP = Path(__file__).resolve().parents[2]
# Addresses of docs/scaling.md: two nodes and the balancer.
NODES = {"a": "10.77.0.1", "b": "10.77.0.2"}
BALANCER = "10.77.0.3"
# The folder of both nodes there. Here each has a mount of its own.
FOLDER = "/var/lib/plainftpd"


def blocks(language):
    """The blocks of code in docs/scaling.md that are in this language."""
    text = (TOP / "docs/scaling.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def lines_with(start):
    """The commands of docs/scaling.md that start like this."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(start)]


def wait_until(condition, what, patience=PATIENCE):
    """Waits for what another process does."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience} s: {what}")
        time.sleep(0.01)
    return result


def command(*words):
    """Runs a program, and returns what it prints. Fails if the program does."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=2 * PATIENCE)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout.strip()} {done.stderr.strip()}")
    return done.stdout


def gluster(*words):
    return command("gluster", "--mode=script", *words)


def kill(process):
    """Kills a daemon. Its parent is the first process of the namespace, this one, which must wait
    for it: for glusterd a process of which that was forgotten still runs."""
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def memory_of(process):
    """The memory of a process in KiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


class Machines:
    def __init__(self, folder, program):
        self.folder = folder
        self.program = program
        # GlusterFS has fixed folders. These hide those of the machine, in this namespace only.
        for path in ("/run", "/var/log", "/var/lib/glusterd"):
            command("mount", "-t", "tmpfs", "none", path)
        Path("/run/gluster").mkdir()
        Path("/var/log/glusterfs").mkdir()
        command("ip", "link", "set", "lo", "up")
        # A port can be used again at once. One machine has all connections of the test.
        Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("1")
        for address in (*NODES.values(), BALANCER, CLIENT):
            command("ip", "address", "add", f"{address}/32", "dev", "lo")
        self.start_volume()
        self.nodes = {name: Node(self, name) for name in NODES}
        self.mount(self.nodes["a"])
        self.mount(self.nodes["b"])

    def start_volume(self):
        self.bricks = [self.folder / "brick1", self.folder / "brick2"]
        for brick in self.bricks:
            brick.mkdir()
        command("glusterd")
        wait_until(lambda: subprocess.run(["gluster", "volume", "list"],
                                          capture_output=True).returncode == 0, "glusterd")
        places = [f"{NODES['a']}:{brick}" for brick in self.bricks]
        # "force" because both bricks are on one machine.
        gluster("volume", "create", "files", "replica", "2", *places, "force")
        for line in lines_with("gluster volume set "):
            gluster(*line.split()[1:])
        gluster("volume", "start", "files")

    def mount(self, node):
        [line] = lines_with("mount -t glusterfs ")
        node.dir.mkdir(exist_ok=True)
        command(*line.replace(FOLDER, str(node.dir)).split())

    def kill_machine(self, node):
        """Kills a node and the client of GlusterFS behind its mount at one moment."""
        node.process.send_signal(signal.SIGSTOP)
        for process in Path("/proc").glob("[0-9]*"):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if str(node.dir).encode() in words and b"glusterfs" in words[0]:
                kill(int(process.name))
        node.kill()

    def unmount(self, node):
        command("umount", "-l", str(node.dir))

    def start_balancer(self):
        self.statistics = self.folder / "haproxy.sock"
        config = self.folder / "haproxy.cfg"
        config.write_text(f"global\n    stats socket {self.statistics}\n" + blocks("haproxy")[0])
        self.balancer = subprocess.Popen(["haproxy", "-db", "-q", "-f", config])
        wait_until(self.statistics.exists, "HAProxy starts")
        self.wait_for_balancer(*NODES)

    def stop_balancer(self):
        self.balancer.kill()
        self.balancer.wait()
        self.statistics.unlink()

    def memory_of_balancer(self):
        return memory_of(self.balancer)

    def wait_for_balancer(self, *names):
        """Waits until the balancer takes these nodes, and no other, for working ones."""
        wait_until(lambda: self.working() == set(names), f"the balancer has {names}")

    def working(self):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self.statistics))
            asked.sendall(b"show stat\n")
            answer = asked.makefile().read()
        rows = csv.DictReader(answer.lstrip("# ").splitlines())
        return {row["svname"] for row in rows if row["status"].startswith("UP")} & set(NODES)

    def pid_of_brick(self, number):
        name = str(self.bricks[number]).replace("/", "-")
        return int(Path(f"/run/gluster/vols/files/{NODES['a']}{name}.pid").read_text())

    def kill_brick(self, number):
        kill(self.pid_of_brick(number))

    def start_bricks(self):
        """Starts the bricks that do not run, and waits until both mounts have both again."""
        gluster("volume", "start", "files", "force")

    def is_healed(self):
        """Whether both bricks have all files."""
        counts = re.findall(r"Number of entries: (.*)", gluster("volume", "heal", "files", "info"))
        return counts == ["0", "0"]


class Node:
    """One node, on its own mount."""

    def __init__(self, machines, name):
        self.machines = machines
        self.name = name
        self.address = NODES[name]
        self.dir = machines.folder / f"mount-{name}"
        self.config = machines.folder / f"{name}.conf"
        text = next(block for block in blocks("conf") if f"\nnode = {name}\n" in block)
        self.config.write_text(text.replace(FOLDER, str(self.dir)))
        self.process = None

    def start(self, *flags):
        """Starts the node, and waits until it listens. Hashes are cheap, unlike on a server."""
        errors = open(self.machines.folder / f"{self.name}.errors", "a")
        words = [self.machines.program, "--config", self.config, "--hash-iterations", "1", *flags]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        line = self.process.stdout.readline()
        if "listening on" not in line:
            raise RuntimeError(f"node {self.name}: {Path(errors.name).read_text()}")

    def wait_for_sweeper(self):
        """Waits until the thread that removes what earlier starts left has ended."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        names = lambda: {path.read_text().strip() for path in tasks.glob("*/comm")}
        wait_until(lambda: "sweep" not in names(), "the sweep")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def shell(self, *words, **options):
        """Runs a command of the owner, such as `who`."""
        return subprocess.run([self.machines.program, *words, "--config", self.config],
                              capture_output=True, text=True, timeout=PATIENCE, **options)

    def memory(self):
        return memory_of(self.process)


class Local(Node):
    """A server without a name, on a folder of this machine's disk."""

    def __init__(self, machines):
        self.machines = machines
        self.name = "local"
        self.dir = machines.folder / "local"
        self.dir.mkdir()
        self.config = machines.folder / "local.conf"
        self.config.write_text(f"listen = {NODES['a']}:21\ndir = {self.dir}\n")
