#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit as it is installed: systemd understands all of it, it is hardened as promised, and agrees with the code."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import harness
from harness import SOURCE

DROP_IN = SOURCE / 'units/vfiod-noiommu.conf'  # which no host has that does not want it
STOP = SOURCE / 'units/vfiod-stop.conf'  # likewise
SOCKETS = ('vfiod.socket', 'vfiod-read-only.socket', 'vfiod-scope@.socket')
# systemd's own scale, 0 to 10, less is better. 0.1 of it is CAP_NET_ADMIN, which only workers get; 0.2 that the index of the
# kernel's modules can be read, for systemd takes that for the right to load them.
EXPOSURE_MAX = 2.8


def directives(text):
    """{name: [value, …]} of a unit file."""
    result = {}
    for name, value in re.findall(r'^(\w+)=(.*)$', text, re.M):
        result.setdefault(name, []).append(value)
    return result


class UnitTest(unittest.TestCase):
    def setUp(self):
        self.path = pathlib.Path(os.environ['VFIOD_TEST_UNIT'])
        self.unit = directives(self.path.read_text())

    def test_systemd_understands_it(self):
        with tempfile.TemporaryDirectory() as directory:
            # The program is not where it will be; everything else is looked at as it is.
            copy = pathlib.Path(directory, 'vfiod.service')
            copy.write_text(re.sub(r'^ExecStart=\S+', f'ExecStart={os.environ["VFIOD_TEST_DAEMON"]}',
                                   self.path.read_text(), flags=re.M))
            process = subprocess.run(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', copy],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual((process.returncode, process.stdout), (0, ''))

    def test_systemd_understands_its_sockets(self):
        with tempfile.TemporaryDirectory() as directory:
            copy = pathlib.Path(directory, 'vfiod.service')
            copy.write_text(re.sub(r'^ExecStart=\S+', f'ExecStart={os.environ["VFIOD_TEST_DAEMON"]}',
                                   self.path.read_text(), flags=re.M))
            for name in SOCKETS:
                pathlib.Path(directory, name.replace('@', '@ci')).write_text(self.path.with_name(name).read_text())
            process = subprocess.run(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no',
                                      *sorted(pathlib.Path(directory).glob('*.socket'))],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual((process.returncode, process.stdout), (0, ''))

    def sockets(self):
        return {name: directives(self.path.with_name(name).read_text()) for name in SOCKETS}

    def test_the_daemon_knows_the_names_of_the_sockets(self):
        code = dict(re.findall(r'#define (NAME\w*) "(.*)"', (SOURCE / 'src/daemon/sockets.c').read_text()))
        self.assertEqual({name: unit['FileDescriptorName'] for name, unit in self.sockets().items()},
                         {'vfiod.socket': [code['NAME']], 'vfiod-read-only.socket': [code['NAME_READ_ONLY']],
                          'vfiod-scope@.socket': [code['NAME_SCOPE'] + '%i']})

    def test_what_is_kept_has_other_names_than_sockets(self):
        """systemd passes both in one list."""
        kept = [name for path in (SOURCE / 'src/daemon').glob('*/*.h')
                for name in re.findall(r'#define \w+_STORE_\w+ "(.*)"', path.read_text())]
        self.assertLessEqual({'claim-', 'node-watch', 'quarantine-', 'taints'}, set(kept))
        self.assertFalse([name for name in kept if name.startswith('varlink')])

    def test_only_questions_may_be_registered(self):
        registered = [name for name, unit in self.sockets().items() if '/run/varlink/registry' in str(unit.get('Symlinks'))]
        self.assertEqual(registered, ['vfiod-read-only.socket'])
        interface = self.sockets()[registered[0]]['Symlinks'][0].removeprefix('/run/varlink/registry/')
        self.assertTrue((SOURCE / f'varlink/{interface}.varlink').exists(), interface)

    def test_a_scope_is_out_of_reach_of_others(self):
        unit = self.sockets()['vfiod-scope@.socket']
        self.assertEqual(unit['DirectoryMode'], ['0700'])
        self.assertFalse(unit['ListenStream'][0].startswith('/run/vfiod/'))  # which everybody may enter

    def test_there_is_room_for_every_peer(self):
        limit = re.search(r'#define BUDGET_PEERS_MAX (\d+)U', (SOURCE / 'src/daemon/broker/budget.h').read_text()).group(1)
        self.assertGreaterEqual(int(self.unit['LimitNOFILE'][0]), 2 * int(limit) + 4096)

    def test_nothing_of_it_waits_for_the_bus(self):
        for name, unit in {'vfiod.service': self.unit, **self.sockets()}.items():
            with self.subTest(name):
                self.assertEqual(unit['DefaultDependencies'], ['no'])
                self.assertNotRegex(self.path.with_name(name).read_text(), r'(?m)^(After|Requires|Wants|BusName)=.*dbus')

    def test_nothing_of_it_waits_for_the_end_of_early_boot(self):
        """Whoever is needed in early boot and waits for its end waits forever. The target is where others end it."""
        for name, unit in {'vfiod.service': self.unit, **self.sockets()}.items():
            for after in ' '.join(unit.get('After', [])).split():
                with self.subTest(name):
                    self.assertRegex(after, r'^(modprobe@\w+|systemd-remount-fs|systemd-tmpfiles-setup)\.service$')

    def test_it_is_hardened(self):
        output = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--no-pager', self.path], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        exposure = re.search(r'Overall exposure level for vfiod.service: (\d+\.\d+)', output)
        self.assertIsNotNone(exposure, output)
        self.assertLessEqual(float(exposure.group(1)), EXPOSURE_MAX, output)

    def test_figures_are_served_with_nothing_at_hand(self):
        service = self.path.with_name('vfiod-metrics@.service')
        with tempfile.TemporaryDirectory() as directory:
            copy = pathlib.Path(directory, service.name)
            copy.write_text(re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', service.read_text(), flags=re.M))
            socket = pathlib.Path(directory, 'vfiod-metrics.socket')
            socket.write_text((SOURCE / 'units' / socket.name).read_text())
            process = subprocess.run(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', socket,
                                      str(copy).replace('@', '@1')],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual((process.returncode, process.stdout), (0, ''))
        self.assertTrue(all(address.startswith('127.') for address in directives(
            (SOURCE / 'units/vfiod-metrics.socket').read_text())['ListenStream']))
        unit = directives(service.read_text())
        self.assertEqual((unit['CapabilityBoundingSet'], unit['DynamicUser'], unit['PrivateNetwork']), ([''], ['yes'], ['yes']))
        output = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--no-pager', '--threshold=15', service],
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(output.returncode, 0, output.stdout)

    def test_the_service_for_systemd_report_is_the_same(self):
        text = {name: self.path.with_name(f'vfiod-{name}@.service').read_text() for name in ('metrics', 'report')}
        self.assertEqual(text['report'], text['metrics'].replace('--http', '--report'))
        socket = directives(self.path.with_name('vfiod-report.socket').read_text())
        name = pathlib.Path(socket['ListenStream'][0]).name
        self.assertIn(f'#define PREFIX "{name}."', (SOURCE / 'src/client/metrics-report.c').read_text())
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory, 'vfiod-report@.service').write_text(
                re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', text['report'], flags=re.M))
            copy = pathlib.Path(directory, 'vfiod-report.socket')
            copy.write_text(self.path.with_name('vfiod-report.socket').read_text())
            process = subprocess.run(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', copy,
                                      pathlib.Path(directory, 'vfiod-report@1.service')],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual((process.returncode, process.stdout), (0, ''))

    def test_the_manual_lists_every_kind_of_record(self):
        header = (SOURCE / 'src/base/log.h').read_text()
        ids = re.findall(r'#define VFIOD_MESSAGE_\w+ "(\w{32})"', header)
        manual = (SOURCE / 'man/vfiod.8.scd').read_text()
        self.assertGreater(len(ids), 10)
        self.assertEqual(re.findall(r'^\|  (\w{32})$', manual, re.M), ids)
        catalog = (SOURCE / 'units/vfiod.catalog').read_text()
        self.assertEqual(re.findall(r'^-- (\w{32})$', catalog, re.M), ids)
        code = (SOURCE / 'src/daemon/broker/audit.c').read_text()
        queries = re.findall(r'^journalctl .*$', manual, re.M)
        self.assertGreaterEqual(len(queries), 8)
        for query in queries:
            self.assertLessEqual(set(re.findall(r'MESSAGE_ID=(\w+)', query)), set(ids))
            for field in re.findall(r'VFIOD_\w+', query):
                self.assertIn(f'"{field}"', code)

    def test_capabilities_are_those_of_the_code(self):
        code = re.sub(r'/\*.*?\*/', '', (SOURCE / 'src/daemon/privileges.c').read_text(), flags=re.S)
        kept = re.findall(r'CAP_\w+', re.search(r'\bkept\[\] = \{(.*?)\};', code, re.S).group(1))
        self.assertGreater(len(kept), 0)
        unit = set(' '.join(self.unit['CapabilityBoundingSet']).split())
        extra = set(' '.join(directives(DROP_IN.read_text())['CapabilityBoundingSet']).split())
        stop = set(' '.join(directives(STOP.read_text())['CapabilityBoundingSet']).split())
        self.assertEqual(unit | extra | stop, set(kept))
        self.assertEqual(stop, {'CAP_KILL'})
        self.assertFalse(stop & (unit | extra))
        self.assertEqual(extra - unit, {'CAP_SYS_RAWIO'})

    def test_there_is_room_for_every_lifeline(self):
        def number(name, path):
            return int(re.search(rf'#define {name} (\d+)U', (SOURCE / 'src/daemon' / path).read_text()).group(1))

        # And for the watch of the nodes, the copy of the taints, and the second lifeline of a claim that moves.
        claims = number('CLAIMS_MAX', 'manager.c') * number('PLACES_PER_CLAIM', 'manager.c')
        needed = claims + number('LIFELINES_UNUSED_MAX', 'broker/lifelines.h') + 3
        self.assertGreaterEqual(int(self.unit['FileDescriptorStoreMax'][0]), needed)

    def test_activation_leads_to_it(self):
        service = directives((self.path.parents[1] / 'dbus' / 'org.vfiod1.service').read_text())
        self.assertEqual((service['Name'], service['SystemdService']), (['org.vfiod1'], ['vfiod.service']))
        program, = (line.split()[0] for line in self.unit['ExecStart'])
        self.assertEqual(service['Exec'], [program])  # never run: systemd starts the unit instead


if __name__ == '__main__':
    harness.main()
