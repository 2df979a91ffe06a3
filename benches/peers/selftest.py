"""Checks of what can be wrong without anybody noticing: the readers of the load generators' output, and the medians."""

import unittest

import clients
import report
import scale
import workloads

WRK = """Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Latency Distribution
     50%  940.00us
     75%    1.10ms
     90%    1.30ms
     99%    2.05ms
  120000 requests in 2.00s, 27.70MB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 4
Requests/sec:  60000.00
"""
H2LOAD = "requests: 90 total, 95 started, 90 done, 88 succeeded, 2 failed, 1 errored, 0 timeout\n"


class Checks(unittest.TestCase):
    def test_wrk_is_read(self):
        found = clients.read_wrk(WRK)
        self.assertEqual((found["requests"], found["rate"], found["errors"]), (120000, 60000.0, 10))
        self.assertEqual((found["p50"], found["p99"]), (940.0, 2050.0))

    def test_a_run_without_answers_is_a_failure(self):
        for text in ("", "unable to connect", WRK.replace("120000 requests", "0 requests")):
            with self.assertRaises(clients.Failed):
                clients.read_wrk(text)
        with self.assertRaises(clients.Failed):
            clients.read_h2load(H2LOAD.replace("88 succeeded", "0 succeeded"), 1)

    def test_h2load_is_read(self):
        found = clients.read_h2load(H2LOAD, 2)
        self.assertEqual(found, dict(requests=88, rate=44.0, errors=3))

    def test_percentiles_are_values_that_were_seen(self):
        values = list(range(1, 101))
        self.assertEqual([clients.percentile(values, share) for share in (0.5, 0.99, 1.0)], [50, 99, 100])
        self.assertEqual(clients.percentile([7], 0.99), 7)

    def test_ratios_are_those_of_the_same_round(self):
        def row(cpu):
            return dict(cpu=cpu, errors=1)

        rows = {"nginx": [row(10), row(20), row(40)], "forebay": [row(5), row(20), row(30)]}
        found = workloads.summary(rows, "nginx")
        self.assertEqual(found["forebay"], dict(cpu=20, errors=3, ratio=0.75))
        self.assertEqual(found["nginx"]["ratio"], 1.0)

    def test_a_proxy_that_is_not_there_leaves_a_gap(self):
        row = dict(cpu=1, user=1, rate=2, p50=1, p99=3000, errors=0, ratio=0.5)
        results = dict(
            versions=dict(nginx="1", forebay="2"),
            workloads=dict(small=dict(forebay=row)),
            machine="m",
            rounds=1,
            seconds=1,
        )
        written = report.markdown_peers(results)
        self.assertIn("| workload | forebay 2 | nginx 1 |", written)
        self.assertIn("| 0.50 | - |", written)

    def test_as_many_endpoints_and_routes_as_are_asked_for(self):
        text = scale.toml("/f", routes=300, endpoints=1000, workers=1)
        self.assertEqual(text.count("[[route]]"), 300)
        endpoints = next(line for line in text.split("\n") if line.startswith("endpoints"))
        self.assertEqual(len(set(endpoints.split('"')[1::2])), 1000)


def run():
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Checks)
    return 0 if unittest.TextTestRunner().run(suite).wasSuccessful() else 1
