#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfiod-metrics with the real daemon: the figures, and the one HTTP request that it answers."""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import threading

import dbus
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import harness
from harness import NOBODY, ROOT_PATH, SOURCE, VfiodTestCase, needs_root, wait
from host import VFIO
from varlink_client import VarlinkTestCase

METRICS = os.environ['VFIOD_METRICS']
FAMILIES = re.compile(r'^        \{"(vfiod_\w+)", METRIC_(\w+), "([a-z-]+)",', re.M)
SUFFIXES = {'COUNTER': '_total', 'INFO': '_info', 'GAUGE': ''}


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
        """As a monitor reads it: prometheus_client refuses what OpenMetrics does not allow."""
        found = {}
        for family in text_string_to_metric_families(text):
            self.assertTrue(family.documentation.endswith('.'), family.name)
            for sample in family.samples:
                labels = ','.join(f'{name}="{value}"' for name, value in sample.labels.items())
                name = f'{sample.name}{{{labels}}}' if labels else sample.name
                self.assertNotIn(name, found)
                found[name] = sample.value
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
        names = {re.match('[a-z_]+', sample)[0] for sample in self.metrics() if '_created' not in sample}
        manual = set(re.findall(r'^\|  (vfiod_\w+)$', (SOURCE / 'man/vfiod-metrics.8.scd').read_text(), re.M))
        # There is no quarantine and no taint here; a family without samples has its description all the same.
        self.assertLessEqual(names, manual)
        table = FAMILIES.findall((SOURCE / 'src/client/metrics-text.c').read_text())
        self.assertGreater(len(table), 25)
        self.assertEqual({name + SUFFIXES[kind] for name, kind, _ in table} | {'vfiod_up'}, manual)

    def test_the_dashboard_shows_metrics_that_exist(self):
        dashboard = json.loads((SOURCE / 'examples/vfiod-grafana.json').read_text())
        manual = (SOURCE / 'man/vfiod-metrics.8.scd').read_text()
        labels = {name: set(re.findall(r'\w+', words)) for name, words in
                  re.findall(r'^\|  (vfiod_\w+)\n:  (.*)$', manual, re.M)}
        self.assertGreater(len(dashboard['panels']), 12)
        for panel in dashboard['panels']:
            with self.subTest(panel['title']):
                self.assertTrue(panel['description'].endswith('.'))
                for target in panel['targets']:
                    names = re.findall(r'\bvfiod_\w+', target['expr'])
                    self.assertEqual(len(names), 1)
                    self.assertIn(names[0], labels)
                    self.assertNotIn('rate(', target['expr'] if not names[0].endswith('_total') else '')
                    used = re.findall(r'(?:by \(|,)(\w+)(?=\)|=)', target['expr'])
                    self.assertLessEqual({*used, *re.findall(r'{{(\w+)}}', target['legendFormat'])} - {'instance'},
                                         labels[names[0]])
        places = [(p['gridPos']['x'], p['gridPos']['y']) for p in dashboard['panels']]
        self.assertEqual(len(places), len(set(places)))
        self.assertEqual(len({p['id'] for p in dashboard['panels']}), len(places))

    def test_every_figure_has_a_metric(self):
        self.start()
        self.client().acquire(self.disk)
        shown = {figure for _, _, figure in FAMILIES.findall((SOURCE / 'src/client/metrics-text.c').read_text())}
        told = {name for name, _, _ in self.client().get(ROOT_PATH, 'Manager', 'Figures')}
        self.assertLessEqual(told, shown)
        source = (SOURCE / 'src/daemon/broker/view-figures.c').read_text()
        for figure in shown:
            self.assertIn(f'"{figure}"', source)

    def test_no_daemon_is_a_figure(self):
        self.assertEqual(self.metrics(), {'vfiod_up': 0})

    def grown(self, before):
        """{'name{labels}': by how much} of the counters that are not what they were."""
        now = self.metrics()
        self.assertEqual(before['vfiod_start_timestamp_seconds'], now['vfiod_start_timestamp_seconds'])
        return {name: value - before.get(name, 0) for name, value in now.items()
                if '_total' in name and value != before.get(name, 0)}

    def test_counters_begin_at_zero_with_the_daemon(self):
        self.start()
        found = self.metrics()
        counters = {name: value for name, value in found.items() if '_total' in name}
        self.assertEqual({name for name, value in counters.items() if value}, {'vfiod_policy_loads_total{result="done"}'})
        for name in ('vfiod_grants_total', 'vfiod_refusals_total{error="AccessDenied"}',
                     'vfiod_quarantines_total{cause="reset-failed"}', 'vfiod_binds_total{result="failed"}'):
            self.assertEqual(counters[name], 0)
        created = {value for name, value in found.items() if '_created' in name}
        self.assertEqual(len(created), 1)
        self.assertEqual(int(created.pop()), found['vfiod_start_timestamp_seconds'])

    def test_a_claim_from_grant_to_restore(self):
        self.start()
        before = self.metrics()
        claim = self.client().acquire(self.nic)
        expected = {'vfiod_grants_total': 1, 'vfiod_grants_by_rule_total{rule="test"}': 1,
                    'vfiod_binds_total{result="done"}': 1}
        self.assertEqual(self.grown(before), expected)
        claim.close()
        self.wait_gone(claim)
        expected |= {'vfiod_ended_claims_total{cause="tether"}': 1, 'vfiod_resets_total{result="done"}': 1,
                     'vfiod_restores_total{result="done"}': 1}
        self.assertEqual(self.grown(before), expected)

    def ended(self, end):
        """The causes by which claims end while end(client, claim) runs."""
        before = self.metrics()
        client = self.client()
        claim = client.acquire(self.disk)
        end(client, claim)
        self.wait_gone(claim)
        prefix = 'vfiod_ended_claims_total'
        return {name: n for name, n in self.grown(before).items() if name.startswith(prefix)}

    def pulled(self, claim):
        self.host.remove_device(self.disk)
        return wait(lambda: claim.state != 'held', 'the claim ends')

    def test_why_claims_end(self):
        self.start()
        self.assertEqual(self.ended(lambda client, claim: client.release(claim) or claim.close()),
                         {'vfiod_ended_claims_total{cause="released"}': 1})
        self.assertEqual(self.ended(lambda _, claim: claim.close()), {'vfiod_ended_claims_total{cause="tether"}': 1})
        self.assertEqual(self.ended(lambda _, claim: claim.close() if self.pulled(claim) else None),
                         {'vfiod_ended_claims_total{cause="device-gone"}': 1})

    @needs_root
    def test_an_operator_ends_a_claim_of_another_user(self):
        self.set_policy([self.rule(user=NOBODY)])
        self.start()
        before = self.metrics()
        process = self.tool(os.environ['VFIOCTL'], 'hold', self.disk.name, user=NOBODY)
        claims = wait(lambda: [path for path, o in self.client().objects().items() if '/claim/' in path], 'a claim')
        self.assertEqual(self.vfioctl('release', claims[0].rsplit('/', 1)[1])[0], 0)
        process.communicate(timeout=20)
        self.assertEqual(self.grown(before)['vfiod_ended_claims_total{cause="operator"}'], 1)

    def test_refusals_by_error_and_rule(self):
        self.set_policy([self.rule('never "that"', effect='deny', device=self.disk.name), self.rule()])
        self.start()
        before = self.metrics()
        client = self.client()
        claim = client.acquire(self.nic)
        with self.refused('DeviceClaimed'):
            client.acquire(self.nic)
        for _ in range(2):
            with self.refused('AccessDenied'):
                client.acquire(self.disk)
        with self.refused('NoSuchDevice'):
            client.acquire('pci:0000:7f:00.0')
        self.assertEqual(self.grown(before), {
            'vfiod_grants_total': 1, 'vfiod_grants_by_rule_total{rule="test"}': 1,
            'vfiod_binds_total{result="done"}': 1,
            'vfiod_refusals_total{error="DeviceClaimed"}': 1, 'vfiod_refusals_total{error="AccessDenied"}': 2,
            'vfiod_refusals_total{error="NoSuchDevice"}': 1,
            'vfiod_refusals_by_rule_total{rule="never "that""}': 2})
        claim.close()

    @needs_root
    def test_figures_by_rule_are_for_root(self):
        self.start()
        self.client().acquire(self.disk)
        self.assertIn('vfiod_grants_by_rule_total{rule="test"}', self.metrics())
        process = self.tool(METRICS, user=NOBODY)
        found = self.parse(process.communicate(timeout=20)[0])
        self.assertEqual(found['vfiod_grants_total'], 1)
        self.assertEqual([name for name in found if 'rule=' in name], [])

    def test_what_goes_wrong(self):
        self.start()
        before = self.metrics()
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.client().acquire(self.nic)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'the quarantine')
        grown = self.grown(before)
        self.assertEqual(grown['vfiod_quarantines_total{cause="reset-failed"}'], 1)
        self.assertEqual(grown['vfiod_resets_total{result="failed"}'], 1)
        self.assertEqual(self.metrics()['vfiod_quarantined_devices{cause="reset-failed"}'], 1)

    def test_a_bind_that_fails(self):
        self.start()
        before = self.metrics()
        self.host.fail_binding(self.nic)
        with self.refused('BindFailed'):
            self.client().acquire(self.nic)
        grown = self.grown(before)
        self.assertEqual(grown['vfiod_binds_total{result="failed"}'], 1)
        self.assertEqual(grown['vfiod_refusals_total{error="BindFailed"}'], 1)
        self.assertNotIn('vfiod_grants_total', grown)
        self.assertFalse([name for name in grown if 'ended' in name])

    def test_the_policy(self):
        self.start()
        before = self.metrics()
        client = self.client()
        client.manager('ReloadPolicy', 'a{sv}', {})
        self.set_policy([], text='{')
        with self.refused('PolicyBroken'):
            client.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(self.grown(before), {'vfiod_policy_loads_total{result="done"}': 1,
                                              'vfiod_policy_loads_total{result="failed"}': 1})
        found = self.metrics()
        self.assertEqual(found['vfiod_policy{state="stale"}'], 1)
        self.assertGreaterEqual(found['vfiod_policy_loaded_timestamp_seconds'],
                                before['vfiod_policy_loaded_timestamp_seconds'])

    def test_counters_begin_anew_with_the_daemon(self):
        self.start()
        self.client().acquire(self.disk).close()
        self.assertEqual(self.metrics()['vfiod_grants_total'], 1)
        self.daemon.stop()
        self.start()
        self.assertEqual(self.metrics()['vfiod_grants_total'], 0)

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

    def test_a_client_that_sends_nothing(self):
        self.assertTrue(self.http().startswith('HTTP/1.1 400 Bad Request'))

    def test_a_daemon_that_does_not_answer(self):
        self.start()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        try:
            head, text = self.http(b'GET /metrics HTTP/1.1\r\n\r\n').split('\r\n\r\n')
            self.assertEqual(self.metrics(), {'vfiod_up': 0})
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)
        self.assertTrue(head.startswith('HTTP/1.1 503 Service Unavailable\r\n'), head)
        self.assertIn('vfiod has not answered', text)

    def test_many_scrapes_at_once(self):
        self.start()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.http(b'GET /metrics HTTP/1.1\r\n\r\n')))
                   for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(answers), 16)
        for answer in answers:
            self.assertEqual(self.parse(answer.split('\r\n\r\n')[1])['vfiod_up'], 1)

    def report(self, *calls, raw=b''):
        """The replies to calls of Varlink, as systemd-report makes them, until the helper hangs up."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            environment = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'UMOCKDEV_DIR')}
            environment['DBUS_SYSTEM_BUS_ADDRESS'] = self.bus.address
            process = subprocess.Popen([METRICS, '--report'], env=environment, stdin=theirs, stdout=subprocess.DEVNULL)
            self.addCleanup(process.kill)
            theirs.close()
            ours.sendall(b''.join(json.dumps(call).encode() + b'\0' for call in calls) + raw)
            ours.shutdown(socket.SHUT_WR)
            answer = b''
            with contextlib.suppress(ConnectionResetError):
                while (more := ours.recv(65536)):
                    answer += more
            self.assertEqual(process.wait(timeout=20), 1 if raw else 0)
        return [json.loads(text) for text in answer.split(b'\0')[:-1]]

    def listed(self, method):
        replies = self.report({'method': f'io.systemd.Metrics.{method}', 'more': True})
        self.assertEqual([r.get('continues', False) for r in replies], [True] * (len(replies) - 1) + [False])
        return [r['parameters'] for r in replies]

    def test_systemd_report(self):
        self.start()
        self.client().acquire(self.disk)
        with self.refused('NoSuchDevice'):
            self.client().acquire('pci:0000:7f:00.0')
        described = {f['name']: f['type'] for f in self.listed('Describe')}
        self.assertEqual(described['org.vfiod.Metrics.PolicyRules'], 'gauge')
        self.assertEqual(described['org.vfiod.Metrics.GrantsTotal'], 'counter')
        figures = self.listed('List')
        for f in figures:
            self.assertIn(f['name'], described)
            self.assertTrue(all(isinstance(word, str) for word in f.get('fields', {}).values()), f)
        self.assertIn({'name': 'org.vfiod.Metrics.Up', 'value': 1}, figures)
        self.assertIn({'name': 'org.vfiod.Metrics.GrantsTotal', 'value': 1}, figures)
        self.assertIn({'name': 'org.vfiod.Metrics.Devices', 'value': 1, 'fields': {'kind': 'pci', 'state': 'claimed'}},
                      figures)
        self.assertEqual([f['fields'] for f in figures if f['name'].endswith('.RefusalsTotal')],
                         [{'error': 'NoSuchDevice'}])

    def test_systemd_report_without_a_daemon(self):
        self.assertEqual(self.listed('List'), [{'name': 'org.vfiod.Metrics.Up', 'value': 0}])

    def test_what_every_varlink_service_answers(self):
        info, *texts, unknown = self.report(
            {'method': 'org.varlink.service.GetInfo'},
            *({'method': 'org.varlink.service.GetInterfaceDescription', 'parameters': {'interface': name}}
              for name in ('io.systemd.Metrics', 'org.varlink.service', 'org.example')))
        self.assertEqual(info['parameters']['interfaces'], ['io.systemd.Metrics', 'org.varlink.service'])
        self.assertEqual([t['parameters']['description'].splitlines()[0] for t in texts],
                         ['interface io.systemd.Metrics', 'interface org.varlink.service'])
        self.assertEqual(unknown, {'error': 'org.varlink.service.InterfaceNotFound',
                                   'parameters': {'interface': 'org.example'}})

    def test_wrong_calls(self):
        answers = self.report({'method': 'io.systemd.Metrics.List'},
                              {'method': 'io.systemd.Metrics.List', 'more': True, 'parameters': {'name': 'x'}},
                              {'method': 'io.systemd.Metrics.Reset', 'more': True},
                              {'method': 'org.varlink.service.GetInterfaceDescription', 'parameters': {'interface': 7}},
                              {'method': 'org.varlink.service.GetInfo', 'oneway': True})
        self.assertEqual([a['error'].rsplit('.', 1)[1] for a in answers],
                         ['ExpectedMore', 'InvalidParameter', 'MethodNotFound', 'InvalidParameter'])
        for raw in (b'no JSON\0', b'{"method": 1}\0', b'[]\0', b'{"method": "x", "parameters": []}\0',
                    b'[' * 17000, b'{}\0', b'"' + b'\xff' * 9 + b'"\0'):
            with self.subTest(raw[:20]):
                self.assertEqual(self.report(raw=raw), [])

    def test_wrong_use(self):
        process = self.tool(METRICS, 'figures')
        self.assertIn('no arguments', process.communicate(timeout=20)[0])
        self.assertEqual(process.returncode, 2)


class VarlinkFiguresTest(VarlinkTestCase):
    """The figures through a socket, where the queue is easily seen, too."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()
        self.c = self.client()

    def figures(self):
        reply = self.peer().call('List', {'host': True, 'fields': ['figures']})
        return {' '.join([f['name'], *f['labels'].values()]): f['value'] for f in reply['host']['figures']}

    def test_only_who_names_them_gets_them(self):
        self.assertNotIn('figures', self.peer().call('List', {'host': True})['host'])
        self.assertNotIn('Figures', self.c.properties(ROOT_PATH, 'Manager'))
        self.assertEqual(self.figures()['devices pci free'], 1)

    def test_requests_that_wait(self):
        claim = self.c.acquire(self.nic)
        self.assertEqual(self.figures()['waits'], 0)
        pending = self.c.acquire_later(self.nic, wait=dbus.UInt64(600))
        wait(lambda: [p for p in self.c.objects().values() if p.get('org.vfiod1.Claim', {}).get('State') == 'waiting'],
             'it is in the queue')
        found = self.figures()
        self.assertEqual((found['waits'], found['grants']), (1, 1))
        self.assertEqual([n for name, n in found.items() if name.startswith('claims waiting')], [1])
        claim.close()
        wait(lambda: pending.done, 'it is answered')
        self.assertIsNone(pending.error)
        found = self.figures()
        self.assertEqual((found['waits'], found['grants'], found['ended-claims tether']), (1, 2, 1))


if __name__ == '__main__':
    harness.main()
