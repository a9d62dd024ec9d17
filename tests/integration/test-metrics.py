#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfiod-metrics with the real daemon: the figures, and the one HTTP request that it answers."""

import contextlib
import os
import re
import socket
import subprocess

import harness
from harness import SOURCE, VfiodTestCase
from host import VFIO

METRICS = os.environ['VFIOD_METRICS']
SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)*)\})? (\d+)$')


class MetricsTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)

    def metrics(self):
        """{'name{labels}': value} of a text that is what OpenMetrics wants."""
        process = self.tool(METRICS)
        text, _ = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0, text)
        return self.parse(text)

    def parse(self, text):
        *lines, last = text.splitlines()
        self.assertEqual(last, '# EOF')
        family, found = None, {}
        for line in lines:
            if line.startswith('# TYPE '):
                _, _, family, kind = line.split(' ')
                self.assertIn(kind, ('gauge', 'info'))
            elif line.startswith('# HELP '):
                self.assertEqual(line.split(' ')[2], family)
            else:
                match = SAMPLE.match(line)
                self.assertTrue(match, line)
                self.assertEqual(match[1], family + ('_info' if kind == 'info' else ''))
                sample = line.rsplit(' ', 1)[0]
                self.assertNotIn(sample, found)
                found[sample] = int(match[3])
        return found

    def http(self, *parts, end=False):
        """What comes back on the connection for these bytes."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            environment = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'UMOCKDEV_DIR')}
            environment['DBUS_SYSTEM_BUS_ADDRESS'] = self.bus.address
            process = subprocess.Popen([METRICS, '--http'], env=environment, stdin=theirs, stdout=theirs)
            self.addCleanup(process.kill)
            theirs.close()
            for part in parts:
                ours.sendall(part)
            if end:
                ours.shutdown(socket.SHUT_WR)
            answer = b''
            with contextlib.suppress(ConnectionResetError):  # what it has not read of a request is lost
                while (more := ours.recv(65536)):
                    answer += more
            process.wait(timeout=20)
        return answer.decode()

    def test_figures(self):
        self.start()
        found = self.metrics()
        self.assertEqual(found['vfiod_up'], 1)
        self.assertEqual(found['vfiod_policy{state="loaded"}'], 1)
        self.assertEqual(found['vfiod_devices{kind="pci",state="free"}'], 2)
        self.assertEqual(sum(v for k, v in found.items() if k.startswith('vfiod_groups{')), 2)
        self.assertFalse([name for name in found if name.startswith(('vfiod_claims{', 'vfiod_oldest'))])
        self.client().acquire(self.disk)
        found = self.metrics()
        self.assertEqual(found['vfiod_devices{kind="pci",state="claimed"}'], 1)
        self.assertEqual(found['vfiod_devices{kind="pci",state="free"}'], 1)
        self.assertEqual([v for k, v in found.items() if k.startswith('vfiod_claims{state="held"')], [1])
        self.assertGreater(found['vfiod_oldest_claim_timestamp_seconds'], 1600000000)

    def test_the_manual_lists_every_metric(self):
        self.start()
        self.client().acquire(self.disk)
        names = {re.match('[a-z_]+', sample)[0] for sample in self.metrics()}
        manual = set(re.findall(r'^\|  (vfiod_\w+)$', (SOURCE / 'man/vfiod-metrics.8.scd').read_text(), re.M))
        # There is no quarantine and no taint here; a family without samples has its description all the same.
        self.assertLessEqual(names, manual)
        described = set(re.findall(r'"(vfiod_[a-z_]+)"', (SOURCE / 'src/client/metrics.c').read_text()))
        self.assertEqual(described | {'vfiod_build_info'}, manual)

    def test_no_daemon_is_a_figure(self):
        self.assertEqual(self.metrics(), {'vfiod_up': 0})

    def test_http(self):
        self.start()
        head, text = self.http(b'GET /met', b'rics HTTP/1.1\r\nHost: x\r\n', b'\r\n').split('\r\n\r\n')
        self.assertTrue(head.startswith('HTTP/1.1 200 OK\r\n'), head)
        self.assertIn('application/openmetrics-text; version=1.0.0', head)
        self.assertIn(f'Content-Length: {len(text.encode())}', head)
        self.assertEqual(self.parse(text)['vfiod_up'], 1)

    def test_bad_requests(self):
        for request, status in ((b'POST /metrics HTTP/1.1\r\n\r\n', 405), (b'GET / HTTP/1.1\r\n\r\n', 404),
                                (b'GET /metricsx HTTP/1.1\r\n\r\n', 404), (b'GET /metrics\0 HTTP/1.1\r\n\r\n', 400),
                                (b'GET /' + b'a' * 9000, 400), (b'\r\n\r\n', 405)):
            with self.subTest(request[:30]):
                self.assertTrue(self.http(request).startswith(f'HTTP/1.1 {status} '))
        self.assertTrue(self.http(b'GET /metrics HTTP/1.1\r\n', end=True).startswith('HTTP/1.1 400 '))

    def test_wrong_use(self):
        process = self.tool(METRICS, 'figures')
        self.assertIn('no arguments', process.communicate(timeout=20)[0])
        self.assertEqual(process.returncode, 2)


if __name__ == '__main__':
    harness.main()
