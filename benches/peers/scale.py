"""How Forebay's processor time and memory grow with what it has to do."""

import os
import socket
import statistics
import time

from clients import Failed, wrk
from memory import SLOW, after_burst, idle
from process import Process, must_be_free
from proxies import endpoint_address

HTTP, HTTPS, ADMIN = 18650, 18651, 18652
ENDPOINTS = 1000


class Variant:
    """Forebay with another config; looks to the measurements as the other proxies do."""

    def __init__(self, forebay, folder, routes=1, endpoints=1, workers=1):
        self.name, self.http, self.https = "forebay", HTTP, HTTPS
        self.path = os.path.join(folder, "scale.toml")
        with open(self.path, "w") as config:
            config.write(toml(folder, routes, endpoints, workers))
        cores = "0" if workers == 1 else f"0-{workers - 1}"
        must_be_free((HTTP, HTTPS, ADMIN))
        command = [forebay, "run", "--config", self.path]
        self.process = Process("forebay", command, cores, os.path.join(folder, "scale.log"))
        self.process.wait_for_port(HTTP)

    def stop(self):
        self.process.stop()


def toml(folder, routes, endpoints, workers):
    """The last of the routes is the one that is asked for."""
    listed = ", ".join(f'"{endpoint_address(number)}"' for number in range(endpoints))
    text = f"""
[process]
workers = {workers}
watch = false
[admin]
address = "127.0.0.1:{ADMIN}"
[keep_alive]
idle_timeout = "1h"
[[listener]]
name = "http"
address = "127.0.0.1:{HTTP}"
[[listener]]
name = "https"
address = "127.0.0.1:{HTTPS}"
tls = {{ certificates = [{{ chain = "{folder}/certificate.pem", key = "{folder}/key.pem" }}] }}
[cluster.endpoint]
endpoints = [{listed}]
[cluster.endpoint.pool]
idle_timeout = "1m"
"""
    for number in range(1, routes):
        text += f'[[route]]\nhost = "host{number % 100}.example"\npath = "/part{number}/of/it"\ncluster = "endpoint"\n'
    return text + '[[route]]\ncluster = "endpoint"\n'


def processor_time(variant, connections, seconds, *more):
    address = f"http://127.0.0.1:{HTTP}/"
    wrk(address, connections, 1, *more)
    before = sum(variant.process.cpu())
    found = wrk(address, connections, seconds, *more)
    if found["errors"]:
        raise Failed(f"{found['errors']} of {found['requests']} requests failed")
    return (sum(variant.process.cpu()) - before) / found["requests"]


def interleaved(make, values, rounds, run):
    """The median of `rounds` for each of the values, which have their turns one after the other."""
    rows = {value: [] for value in values}
    for _ in range(rounds):
        for value in values:
            variant = make(value)
            try:
                rows[value].append(run(variant, value))
            finally:
                variant.stop()
    return {str(value): statistics.median(row) for value, row in rows.items()}


def held(count):
    """Clients that have connected and sent a request, and then nothing."""
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", HTTP))
        client.sendall(b"GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n")
        client.recv(4096)
        clients.append(client)
    return clients


def with_idle(variant, connections, seconds):
    clients = held(max(0, connections - 10))
    time.sleep(1)
    try:
        return processor_time(variant, 10, seconds)
    finally:
        for client in clients:
            client.close()


def processor_tables(forebay, folder, rounds, seconds, wanted):
    def variant(**what):
        return lambda value: Variant(forebay, folder, **{key: value for key in what})

    plain = lambda _: Variant(forebay, folder)
    small = lambda made, _: processor_time(made, 64, seconds)
    fields = lambda made, count: processor_time(
        made, 64, seconds, *(part for number in range(count) for part in ("-H", f"X-Field-{number}: value-{number}"))
    )
    cores = os.cpu_count() or 1
    workers = [count for count in (1, 2, 4, 8, 16) if count <= cores]
    tables = {
        "endpoints": (variant(endpoints=1), (1, 10, 100, ENDPOINTS), small),
        "routes": (variant(routes=1), (1, 10, 100, 1000, 10000), small),
        "fields": (plain, (4, 16, 64), fields),
        "clients": (plain, (10, 1000, 10_000), lambda made, count: with_idle(made, count, seconds)),
        "workers": (variant(workers=1), workers, small),
    }
    return {name: interleaved(*tables[name][:2], rounds, tables[name][2]) for name in tables if name in wanted}


def memory_table(forebay, folder):
    """KiB for one of each."""
    result = {}
    for name, kind, count in (("idle client", "http", 2000), ("idle client, TLS", "tls", 1000), ("idle client, HTTP/2 over TLS", "h2", 1000)):
        variant = Variant(forebay, folder)
        try:
            result[name] = idle(variant, count, kind)
        finally:
            variant.stop()
    variant = Variant(forebay, folder)
    try:
        result["active client"], result["idle client after a burst of 4000"] = after_burst(variant, 4000)
    finally:
        variant.stop()
    result["endpoint"] = growth(forebay, folder, "endpoints", ENDPOINTS)
    result["route"] = growth(forebay, folder, "routes", 10000)
    result["pooled connection"] = pooled(forebay, folder, 1000)
    return result


def growth(forebay, folder, what, count):
    sizes = []
    for number in (1, count):
        variant = Variant(forebay, folder, **{what: number})
        try:
            time.sleep(1)
            sizes.append(variant.process.memory())
        finally:
            variant.stop()
    return (sizes[1] - sizes[0]) / (count - 1)


def pooled(forebay, folder, count):
    """Clients that all ask at once, and leave when they have their answers, leave a connection each to the endpoint."""
    request = SLOW.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    variant = Variant(forebay, folder)
    try:
        time.sleep(1)
        before = variant.process.memory()
        clients = [socket.create_connection(("127.0.0.1", HTTP)) for _ in range(count)]
        for client in clients:
            client.sendall(request)
        for client in clients:
            while client.recv(1 << 16):
                pass
            client.close()
        time.sleep(6)
        return (variant.process.memory() - before) / count
    finally:
        variant.stop()
