"""What /proc tells of a process: processor time and memory."""

import os
import signal
import socket
import subprocess
import sys
import time

TICK = 1e6 / os.sysconf("SC_CLK_TCK")


def must_be_free(ports):
    """With SO_REUSEPORT somebody else's program could take the clients that are meant for ours."""
    for port in ports:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                sys.exit(f"something listens on port {port} of 127.0.0.1 already")


class Process:
    """A program that runs pinned to one set of cores, and ends with `stop`."""

    def __init__(self, name, command, cores, log, env=None):
        self.name = name
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                ["taskset", "-c", cores, *command], stdout=output, stderr=output, env=env, start_new_session=True
            )
        self.log = log

    @property
    def pid(self):
        return self.child.pid

    def pids(self):
        """The process and those that it has started."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as children:
                    queue.extend(int(child) for child in children.read().split())
            except OSError:
                pass
        return found

    def wait_for_port(self, port):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                sys.exit(f"{self.name} ended at once with exit code {self.child.returncode}; its output is in {self.log}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.002)
        sys.exit(f"{self.name} does not listen on port {port}; its output is in {self.log}")

    def cpu(self):
        """Microseconds of user and of system time, of all its threads and children so far."""
        user = system = 0.0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            user += int(fields[11]) * TICK
            system += int(fields[12]) * TICK
        return user, system

    def memory(self):
        """Resident KiB, of all its processes."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/status") as status:
                    total += next((int(line.split()[1]) for line in status if line.startswith("VmRSS")), 0)
            except OSError:
                pass
        return total

    def stop(self):
        for ending in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, ending)
            except ProcessLookupError:
                break
            try:
                self.child.wait(2)
                break
            except subprocess.TimeoutExpired:
                pass
        self.child.wait()
