"""What is asked of the proxies."""

import os
import statistics

from clients import h2load, wrk

CLOSE = ("-H", "Connection: close")
POST = ("-s", os.path.join(os.path.dirname(os.path.abspath(__file__)), "upload.lua"))

# name: (scheme, what it is, run(url, seconds))
WORKLOADS = {
    "small": ("http", "64 keep-alive clients, 128-byte answers", lambda url, s: wrk(url + "/", 64, s)),
    "many": ("http", "1000 keep-alive clients, 128-byte answers", lambda url, s: wrk(url + "/", 1000, s)),
    "churn": ("http", "a client connection for each request", lambda url, s: wrk(url + "/", 64, s, *CLOSE)),
    "large": ("http", "1 MiB answers, 16 clients", lambda url, s: wrk(url + "/large", 16, s)),
    "upload": ("http", "1 MiB requests, 16 clients", lambda url, s: wrk(url + "/upload", 16, s, *POST)),
    "tls": ("https", "64 keep-alive clients over TLS 1.3", lambda url, s: wrk(url + "/", 64, s)),
    "handshake": ("https", "a TLS connection for each request", lambda url, s: wrk(url + "/", 32, s, *CLOSE)),
    "h2": ("https", "HTTP/2 over TLS, 8 connections of 16 streams", lambda url, s: h2load(url + "/", 8, 16, s)),
}


def url(proxy, scheme):
    return f"http://127.0.0.1:{proxy.http}" if scheme == "http" else f"https://127.0.0.1:{proxy.https}"


def once(proxy, scheme, run, seconds):
    """One run, with the processor time of the proxy for each request."""
    before = proxy.process.cpu()
    found = run(url(proxy, scheme), seconds)
    after = proxy.process.cpu()
    user, system = (end - begin for begin, end in zip(before, after))
    requests = found["requests"]
    return dict(found, user=user / requests, cpu=(user + system) / requests)


def compare(proxies, name, rounds, seconds, reference="nginx"):
    """Rounds in which each proxy has its turn: medians, and the median of the ratios to the reference of the round."""
    scheme, _, run = WORKLOADS[name]
    rows = {proxy.name: [] for proxy in proxies}
    for _ in range(rounds):
        for proxy in proxies:
            run(url(proxy, scheme), 1)
            rows[proxy.name].append(once(proxy, scheme, run, seconds))
    return summary(rows, reference)


def summary(rows, reference):
    result = {}
    for name, own in rows.items():
        result[name] = {key: statistics.median(row[key] for row in own) for key in own[0]}
        result[name]["errors"] = sum(row["errors"] for row in own)
        if reference in rows:
            ratios = [row["cpu"] / other["cpu"] for row, other in zip(own, rows[reference])]
            result[name]["ratio"] = statistics.median(ratios)
    return result


def half_rate(proxies, rounds, seconds, reference="nginx"):
    """Medians of all at half of the highest rate of the reference, requests being due at even times."""
    peer = next(proxy for proxy in proxies if proxy.name == reference)
    highest = wrk(url(peer, "http") + "/", 64, seconds)["rate"]
    rate = int(highest / 2 / 64)
    rows = {proxy.name: [] for proxy in proxies}
    for _ in range(rounds):
        for proxy in proxies:
            rows[proxy.name].append(h2load(url(proxy, "http") + "/", 64, 1, seconds, "--h1", f"--rps={rate}"))
    medians = lambda own: {key: statistics.median(row[key] for row in own) for key in ("p50", "p99", "rate")}
    return {name: medians(own) for name, own in rows.items()}
