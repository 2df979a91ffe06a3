"""The load generators, and how their output is read."""

import os
import re
import subprocess

UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


class Failed(Exception):
    """The load generator did not say what it has done, or its requests failed."""


def micros(text):
    """"1.25ms" in microseconds."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def run(command, cores="1"):
    return subprocess.run(["taskset", "-c", cores, *command], capture_output=True, text=True).stdout


def read_wrk(text):
    """Requests, requests/s, p50 and p99 in µs, and errors."""
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    spread = {part: re.search(rf"\n\s+{part}%\s+(\S+)", text) for part in (50, 99)}
    if not done or not all(spread.values()) or done[1] == "0":
        raise Failed(text)
    errors = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    for line in re.findall(r"Socket errors: (.*)", text):
        errors += sum(int(number) for number in re.findall(r"\d+", line))
    seconds = float(done[2]) * UNITS[done[3]] / 1e6
    p50, p99 = (micros(spread[part][1]) for part in (50, 99))
    return dict(requests=int(done[1]), rate=int(done[1]) / seconds, p50=p50, p99=p99, errors=errors)


def wrk(url, connections, seconds, *more):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *more, url]
    return read_wrk(run(command))


def read_h2load(text, seconds):
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if not done or done[1] == "0":
        raise Failed(text)
    errors = sum(int(number) for number in done.groups()[1:])
    return dict(requests=int(done[1]), rate=int(done[1]) / seconds, errors=errors)


def percentile(sorted_values, share):
    """The smallest of the values that no more than a `share` of them, 0 to 1, is below."""
    place = max(0, -(-len(sorted_values) * share // 1) - 1)
    return sorted_values[int(place)]


def h2load(url, connections, streams, seconds, *more):
    folder_log = f"/tmp/forebay-peers-{os.getpid()}.log"
    command = ["h2load", f"-c{connections}", f"-m{streams}", f"-D{seconds}", "--warm-up-time=0"]
    try:
        found = read_h2load(run([*command, f"--log-file={folder_log}", *more, url]), seconds)
        with open(folder_log) as log:
            times = sorted(int(line.split("\t")[2]) for line in log if line.count("\t") >= 2)
    finally:
        if os.path.exists(folder_log):
            os.remove(folder_log)
    if not times:
        raise Failed("h2load logged no request")
    return dict(found, p50=percentile(times, 0.5), p99=percentile(times, 0.99))
