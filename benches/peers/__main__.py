"""Measures Forebay beside other proxies on this machine; README.md in this folder says how."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import memory
import report
import scale
import selftest
import workloads
from clients import Failed
from proxies import all_proxies, make_certificate, start_endpoint

SINGLE = ("idle", "burst", "half", "start")
SCALE = ("endpoints", "routes", "fields", "clients", "workers", "memory")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments():
    every = [*workloads.WORKLOADS, *SINGLE, *SCALE]
    parser = argparse.ArgumentParser(prog="python3 benches/peers", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WHAT", help="any of: " + ", ".join(every) + "; default: small")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each proxy [default: 5]")
    parser.add_argument("--seconds", type=int, default=2, metavar="N", help="length of each turn [default: 2]")
    parser.add_argument("--forebay", metavar="PROGRAM", default=os.path.join(ROOT, "target/release/forebay"))
    parser.add_argument("--without", default="", metavar="NAMES", help="proxies to leave out, with commas between them")
    parser.add_argument("--json", metavar="FILE", help="keep the results, and add to those that are there")
    parser.add_argument("--markdown", metavar="FILE", help="write the results as tables")
    parser.add_argument("--self-test", action="store_true", help="check the program itself, without any proxy")
    found = parser.parse_args()
    for what in found.what:
        if what not in every:
            parser.error(f"{what!r} is none of {', '.join(every)}")
    found.what = found.what or ["small"]
    return found


def check_tools(what, forebay):
    wanted = ["taskset", "openssl", "nginx"]
    wanted += ["wrk"] if set(what) - {"h2", "idle", "burst", "start"} else []
    wanted += ["h2load"] if {"h2", "half"} & set(what) else []
    missing = [tool for tool in wanted if not (os.environ.get(tool.upper()) or shutil.which(tool))]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (util-linux, openssl, nginx, wrk, nghttp2-client)")
    if not os.access(forebay, os.X_OK):
        sys.exit(f"{forebay} is not there: cargo build --release, or --forebay PROGRAM")
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the proxy, one for the load and the endpoint")


def fresh(proxies, folder):
    """Memory that was kept from earlier work would hide what comes."""
    for proxy in proxies:
        proxy.stop()
        time.sleep(0.2)
        proxy.start(folder)


def first_answer(proxy, folder):
    proxy.stop()
    time.sleep(0.2)
    begin = time.perf_counter()
    proxy.start(folder)
    client = memory.connect(proxy, "http")
    client.sendall(memory.REQUEST)
    client.recv(4096)
    return (time.perf_counter() - begin) * 1e3


def measure(options, proxies, folder, results):
    for what in options.what:
        if what in workloads.WORKLOADS:
            found = workloads.compare(proxies, what, options.rounds, options.seconds)
            results.setdefault("workloads", {})[what] = found
            print(report.text(what, found), flush=True)
            continue
        if what in ("idle", "burst"):
            fresh(proxies, folder)
        if what == "idle":
            results[what] = {proxy.name: memory.idle(proxy, 2000) for proxy in proxies}
        elif what == "burst":
            results[what] = {proxy.name: memory.after_burst(proxy, 4000)[1] for proxy in proxies}
        elif what == "half":
            results[what] = workloads.half_rate(proxies, options.rounds, options.seconds)
        elif what == "start":
            turns = range(options.rounds)
            results[what] = {proxy.name: min(first_answer(proxy, folder) for _ in turns) for proxy in proxies}
        elif what == "memory":
            results[what] = scale.memory_table(options.forebay, folder)
        else:
            found = scale.processor_tables(options.forebay, folder, options.rounds, options.seconds, (what,))
            results.setdefault("scale", {}).update(found)
        print(f"{what}: {json.dumps(results.get(what) or results['scale'][what])}", flush=True)


def kept(path):
    if path and os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    return {}


def main():
    options = arguments()
    if options.self_test:
        return selftest.run()
    check_tools(options.what, options.forebay)
    left_out = options.without.split(",")
    proxies = [proxy for proxy in all_proxies(options.forebay) if proxy.is_there() and proxy.name not in left_out]
    results = kept(options.json)
    results.update(machine=report.machine(), rounds=options.rounds, seconds=options.seconds)
    results["versions"] = {proxy.name: proxy.version() for proxy in proxies}
    folder = tempfile.mkdtemp(prefix="forebay-peers-")
    endpoint = None
    try:
        make_certificate(folder)
        endpoint = start_endpoint(folder, scale.ENDPOINTS if set(options.what) & set(SCALE) else 1)
        if set(options.what) - set(SCALE):
            for proxy in proxies:
                proxy.start(folder)
        measure(options, proxies, folder, results)
    except (Failed, subprocess.CalledProcessError) as failure:
        sys.exit(f"a program that measures has failed: {failure}; what the proxies said is in {folder}")
    finally:
        for proxy in proxies:
            proxy.stop()
        if endpoint:
            endpoint.stop()
    shutil.rmtree(folder)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write(report.markdown_peers(results) + "\n" + report.markdown_scale(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
