"""The results as text: a table for people at the terminal, and Markdown for the docs."""

import os
import platform

from workloads import WORKLOADS


def text(name, found):
    lines = [f"{name}: {WORKLOADS[name][1]}"]
    for proxy, row in found.items():
        ratio = f"{row['ratio']:5.2f} x nginx" if "ratio" in row else ""
        lines.append(
            f"  {proxy:9}{row['cpu']:9.2f} us/request (user {row['user']:6.2f}) {ratio}"
            f" {row['rate']:9.0f} requests/s  p50 {row['p50']:7.0f} us  p99 {row['p99']:7.0f} us"
            + (f"  {row['errors']} errors" if row["errors"] else "")
        )
    return "\n".join(lines)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    kernel = platform.release().split("-")[0].split("+")[0]
    return f"{model}, {os.cpu_count()} cores, Linux {kernel}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def markdown_peers(results):
    versions = results["versions"]
    names = [name for name in ("forebay", "nginx", "haproxy", "envoy") if name in versions]
    head = ["workload", *(f"{name} {versions[name]}" for name in names)]
    parts = ["## Processor time per request, nginx = 1\n"]
    ratios, absolute = [], []
    for workload, (_, what, _) in WORKLOADS.items():
        found = results["workloads"].get(workload)
        if found:
            cell = lambda name, form: form(found[name]) if name in found else "-"
            ratios.append([f"{workload}: {what}", *(cell(name, lambda row: f"{row['ratio']:.2f}") for name in names)])
            absolute.append(
                [workload, *(cell(name, lambda row: f"{row['cpu']:.1f} / {row['rate']:.0f} / {row['p99'] / 1e3:.1f}") for name in names)]
            )
    parts.append(table(head, ratios))
    parts.append("\n## The same in figures: µs per request / requests per second / p99 in ms\n")
    parts.append(table(head, absolute))
    single = [
        ("idle", "KiB for an idle keep-alive client", "{:.1f}"),
        ("burst", "the same, after 4000 were active at once", "{:.1f}"),
        ("start", "ms from the start to the first answer", "{:.0f}"),
    ]
    rows = []
    for key, what, form in single:
        if key in results:
            rows.append([what, *(form.format(results[key][name]) if name in results[key] else "-" for name in names)])
    if "half" in results:
        half = results["half"]
        cells = [f"{half[name]['p99'] / 1e3:.2f}" if name in half else "-" for name in names]
        rows.append(["p99 in ms at half of nginx's highest rate", *cells])
    if rows:
        parts.append("\n## Others\n")
        parts.append(table(["", *head[1:]], rows))
    parts.append(f"\n{results['machine']}. {results['rounds']} rounds of {results['seconds']} s.\n")
    return "\n".join(parts)


def markdown_scale(results):
    parts = []
    names = {
        "endpoints": "endpoints of the cluster",
        "routes": "routes",
        "fields": "further fields of each request",
        "clients": "clients, of which 10 are busy",
        "workers": "workers, with 64 busy clients",
    }
    for key, what in names.items():
        found = results.get("scale", {}).get(key)
        if found:
            first = next(iter(found.values()))
            rows = [[count, f"{cost:.1f}", f"{cost / first:.2f}"] for count, cost in found.items()]
            parts.append(table([what, "µs per request", "in relation"], rows) + "\n")
    if "memory" in results:
        parts.append(table(["for each", "KiB"], [[what, f"{size:.1f}"] for what, size in results["memory"].items()]) + "\n")
    return "\n".join(parts)
