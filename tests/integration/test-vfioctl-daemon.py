#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfioctl and libvfiod with the real daemon: the whole way from a command line to a device and back."""

import json
import os
import pathlib
import pwd
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree

import harness
from harness import NOBODY, VfiodTestCase, needs_root, wait
from host import ROOT_PORT, VFIO

SHOW_FDS = 'import json, os; print(json.dumps([os.readlink("/proc/self/fd/%i" % n) for n in (3, 4, 5)]))'


class VfioctlTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def begin(self, *arguments, **options):
        return self.tool(os.environ['VFIOCTL'], *arguments, **options)

    def vfioctl(self, *arguments, **options):
        """(exit status, output)"""
        process = self.begin(*arguments, **options)
        output, _ = process.communicate(timeout=20)
        return process.returncode, output

    def json(self, *arguments, **options):
        status, output = self.vfioctl('--json', *arguments, **options)
        self.assertEqual(status, 0, output)
        return harness.read_json(output)

    def claims(self):
        return self.json('status')['claims']

    def wait_no_claims(self):
        wait(lambda: not any('/claim/' in path for path in self.c.objects()), 'no claim is left')
        self.assert_untouched(self.before)

    def test_list_and_status(self):
        self.assertEqual([d['name'] for d in self.json('list')], [self.nic.name, self.disk.name])
        self.assertEqual([g['id'] for g in self.json('list', '--groups')], [8, 9])
        device, = self.json('status', self.nic.name)
        self.assertEqual((device['driver'], device['group'], device['state']), ('e1000e', 8, 'free'))
        self.assertIn('acsPath', device)
        self.assertEqual(self.json('status')['manager']['devices'], 2)
        for verb in (['list'], ['list', '--groups'], ['status'], ['status', self.nic.name], ['status', 'group:8']):
            self.assertEqual(self.vfioctl(*verb)[0], 0)

    def test_topology(self):
        port = self.host.add_device('0000:00:1c.0', group=20, driver='pcieport', class_code=0x060400, port_type=ROOT_PORT)
        for function, group in ((0, 20), (1, 20), (2, 21)):
            self.host.add_device(f'0000:09:00.{function}', group=group, driver='e1000e', parent=port, numa_node=function)
        self.host.add_sriov(self.nic, group=100)
        self.vfioctl('vf', self.nic.name, '--count', '2')
        wait(lambda: len(self.json('list')) == 8, 'all devices are there')
        before, claim = self.host.binding(), self.c.acquire(self.disk)
        user = pwd.getpwuid(os.getuid()).pw_name

        def topology(*arguments, locale='C.UTF-8'):
            process = self.tool('env', f'LC_ALL={locale}', os.environ['VFIOCTL'], 'topology', *arguments)
            output, _ = process.communicate(timeout=20)
            return process.returncode, output

        status, output = topology('--no-legend')
        self.assertEqual(status, 0, output)
        self.assertEqual(re.findall(r'─(\S+)', output),
                         ['pci:0000:00:1c.0', *(f'pci:0000:09:00.{i}' for i in (0, 1, 2)), self.nic.name,
                          *(f.name for f in self.nic.functions), self.disk.name])
        self.assertRegex(output, r' 20 ┌ +└─pci:0000:00:1c.0 +root port +pcieport .*lacks ACS\n')
        self.assertRegex(output, r'    └ +├─pci:0000:09:00.1 +ethernet +e1000e .*NUMA node 1\n')
        self.assertRegex(output, r' 21 +└─pci:0000:09:00.2 ')
        self.assertRegex(output, r'100 +├─pci:0000:06:10.0 +ethernet VF ')
        self.assertRegex(output, rf'  9 +└─{self.disk.name} +nvme +vfio-pci .*held by {user} \({os.getuid()}\)\n')
        self.assertIn('Group 20 has 3 devices: pci:0000:00:1c.0 (root port) lacks ACS, and so does not isolate what is below '
                      'it.\n', output)
        self.assertEqual(len(re.findall(r'[|`]-pci:', topology(locale='C')[1])), 8)

        for word, shown in (('09:00.1', ['pci:0000:00:1c.0', 'pci:0000:09:00.0', 'pci:0000:09:00.1']),
                            ('group:21', ['pci:0000:00:1c.0', 'pci:0000:09:00.2']),
                            (self.nic.name, [self.nic.name, *(f.name for f in self.nic.functions)]),
                            (claim.id, [self.disk.name])):
            status, output = topology(word)
            self.assertEqual((status, re.findall(r'pci:[0-9a-f:.]+(?=  )', output)), (0, shown), output)
        self.assertEqual(self.vfioctl('topology', '09:00.7')[0], 14)
        self.assertEqual(self.vfioctl('topology', 'group:77')[0], 15)
        self.assertEqual(self.vfioctl('topology', 'group:x')[0], 10)

        picture = xml.etree.ElementTree.fromstring(topology('--svg')[1])
        classes = {g.get('data-name'): g.get('class') for g in picture.iter('{http://www.w3.org/2000/svg}g')}
        self.assertEqual((classes[port.name], classes[self.disk.name], classes[self.nic.functions[0].name]),
                         ('box red', 'box green', 'box'))
        self.assertIn(f'held by {user}', topology('--dot')[1])

        whole = self.json('topology')
        devices = [d for root in whole['roots'] for d in root['below']]
        self.assertEqual([(d['name'], d['role'], d.get('isolates'), len(d['below'])) for d in devices],
                         [('pci:0000:00:1c.0', 'root-port', False, 3), (self.nic.name, 'function', None, 2),
                          (self.disk.name, 'function', None, 0)])
        self.assertEqual([(g['id'], len(g['devices'])) for g in whole['groups']],
                         [(8, 1), (9, 1), (20, 3), (21, 1), (100, 1), (101, 1)])
        self.assertEqual([(c['id'], c['uid'], c['user']) for c in whole['claims']], [(claim.id, os.getuid(), user)])
        self.assertEqual(self.host.binding(), before)

    def test_what_devices_can_do(self):
        self.disk.caps.pasid_bits, self.disk.caps.migration = 20, 1 | 2
        self.assertIn('No device has been looked at', self.vfioctl('caps')[1])
        self.assertEqual([d['capabilities'] for d in self.json('caps')], [None, None])
        self.assertRegex(self.vfioctl('caps', self.disk.name)[1], r'Capabilities: unknown')
        self.assertNotIn('PASID', self.vfioctl('status', self.disk.name)[1])

        status, output = self.vfioctl('caps', '--probe', self.disk.name)
        self.assertEqual(status, 0, output)
        for line in (r'PASID: 20 bits', r'Migration: stop-copy p2p', r'dma-buf: no', r'Remapping: unknown',
                     r'Page sizes: 4K 2M', r'IOVA: 0x0-0xfedfffff 0xfef00000-0x7fffffffff'):
            self.assertRegex(output, line)
        self.assertIn('PASID: 20 bits', self.vfioctl('status', self.disk.name)[1])
        self.assertRegex(self.vfioctl('caps', '--no-legend')[1], rf'^{self.disk.name} +vfio-pci +intel-vtd +yes')
        caps = self.json('caps', self.disk.name)[0]['capabilities']
        self.assertEqual((caps['pasid'], caps['migration'], caps['iova-ranges'][0]),
                         (20, ['stop-copy', 'p2p'], {'start': 0, 'end': 0xFEDFFFFF}))
        self.assertNotIn('interrupt-remapping', caps)

        self.assertEqual(self.vfioctl('caps', '--probe')[0], 2)
        status, output = self.vfioctl('caps', '--probe', self.nic.name)
        self.assertEqual((status, 'not on a vfio driver' in output), (27, True), output)
        self.assertEqual(self.host.binding(), self.before)

    def test_plan_changes_nothing(self):
        plan = self.json('plan', '06:00.0')
        self.assertEqual([(m['name'], m['disposition'], m['originalDriver'], m['targetDriver']) for m in plan['members']],
                         [(self.nic.name, 'claim', 'e1000e', VFIO)])
        status, output = self.vfioctl('plan', self.nic.name)
        self.assertEqual(status, 0)
        self.assertIn('bind, hand out', output)
        self.set_policy([self.rule(grant=['node', 'none'])])
        self.vfioctl('reload')
        for grant, action, exposes in (('node', 'bind, open node', 'become usable by uid'),
                                       ('none', 'bind, reserve', 'nothing is handed out')):
            status, output = self.vfioctl('plan', '--grant', grant, self.nic.name)
            self.assertEqual(status, 0, output)
            self.assertIn(action, output)
            self.assertIn(exposes, ' '.join(output.split()))
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(self.before)

    def test_virtual_functions(self):
        self.host.add_sriov(self.nic, group=100)
        self.assertEqual(self.vfioctl('vf', '06:00.0'), (0, f'{self.nic.name}: 0 of 4 virtual functions\n'))
        status, output = self.vfioctl('vf', self.nic.name, '--count', '2')
        self.assertEqual(status, 0, output)
        function, _ = self.nic.functions
        self.assertEqual([line.split() for line in output.splitlines()],
                         [f'{self.nic.name}: 2 of 4 virtual functions'.split(),
                          ['DEVICE', 'GROUP', 'DRIVER', 'STATE', 'CLAIM'],
                          [function.name, '100', 'ixgbevf', 'free', '-'],
                          [self.nic.functions[1].name, '101', 'ixgbevf', 'free', '-']])
        claim = self.c.acquire(function)
        shown = self.json('vf', self.nic.name)
        self.assertEqual((shown['device'], shown['virtualFunctionsMax']), (self.nic.name, 4))
        self.assertEqual([(f['name'], f['claim']) for f in shown['virtualFunctions']],
                         [(function.name, claim.id), (self.nic.functions[1].name, None)])
        status, output = self.vfioctl('vf', self.nic.name, '--count=0')
        self.assertEqual(status, 20, output)
        self.assertIn(claim.id, output)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.json('vf', self.nic.name, '--count=1', '--autoprobe=no')['virtualFunctions'][0]['driver'], '')
        self.assertEqual(self.vfioctl('vf', self.disk.name, '--count', '1')[0], 47)
        for bad in (['--count=-1'], ['--count=x'], ['--autoprobe=no'], ['--count=1', '--autoprobe=maybe'], ['x', 'y']):
            self.assertEqual(self.vfioctl('vf', self.nic.name, *bad)[0], 2, bad)
        self.assertEqual(self.vfioctl('vf', 'group:8')[0], 2)
        self.assertEqual(self.vfioctl('vf', self.nic.name, '--count=0')[0], 0)

    def test_nodes(self):
        self.set_policy([self.rule(grant=['fd', 'node'])])
        self.vfioctl('reload')
        hold = self.begin('hold', '--json', '--grant=node', self.nic.name)
        held = json.loads(hold.stdout.readline())
        nodes = self.json('status', held['claim'])[0]['nodes']
        self.assertIn(self.host.cdev(self.nic), nodes)
        self.assertEqual((held['nodes'], held['fds']), (nodes, ['lifeline']))
        hold.send_signal(signal.SIGINT)
        self.assertEqual(hold.wait(20), 0)
        self.wait_no_claims()
        hold = self.begin('hold', '--grant=node', self.nic.name)
        shown = ''.join(iter(hold.stdout.readline, 'Held until interrupted.\n'))
        self.assertIn('Nodes', shown)
        self.assertLessEqual(set(nodes), set(shown.split()))
        hold.send_signal(signal.SIGINT)
        self.assertEqual(hold.wait(20), 0)
        self.wait_no_claims()
        for grant, seen in (('node', ','.join(nodes)), ('fd', 'none')):
            self.assertEqual(self.vfioctl('exec', '--grant', grant, '-d', self.nic.name, 'sh', '-c',
                                          'echo "${{VFIOD_NODES-none}"'), (0, seen + '\n'))
            self.wait_no_claims()
        # What a claim around this one has is not this one's.
        self.assertEqual(self.vfioctl('exec', '--grant=node', '-d', self.nic.name, os.environ['VFIOCTL'], 'exec', '-d',
                                      self.disk.name, 'sh', '-c', 'echo "nodes:$VFIOD_NODES"'), (0, 'nodes:\n'))
        self.wait_no_claims()

    def test_transfer(self):
        claim = self.c.acquire(self.disk, cookie='vm:1')
        target = self.tool('sleep', '1000')
        for word in (claim.id, 'cookie:vm:1', self.disk.name):
            moved = self.json('transfer', f'--pid={target.pid}', word)
            self.assertEqual(moved, {'claim': claim.id, 'tether': 'process'})
        self.assertEqual(self.json('status', 'cookie:vm:1')[0]['tether'], 'process')
        claim.close('lifeline')
        self.assertEqual(claim.state, 'held')
        status, output = self.vfioctl('transfer', f'--pid={target.pid}', claim.id)
        self.assertEqual((status, output), (0, f'{claim.id}: tether process\n'))
        for arguments, status, words in (
                ([claim.id], 2, 'requires --pid'), (['--tether=lifeline', claim.id], 2, 'requires --pid'),
                (['--pid=0', claim.id], 2, 'expected the number'), (['--pid=1', '--tether=unit', claim.id], 2, '--pid is'),
                (['--pid=2147483647', claim.id], 1, 'No such process'), ([f'--pid={os.getpid()}', 'cookie:x'], 16, 'no claim'),
                ([f'--pid={os.getpid()}', self.nic.name], 16, 'not claimed'),
                (['--tether=explicit', claim.id], 17, 'does not allow the tether explicit' if os.getuid() == 0 else '')):
            found, output = self.vfioctl('transfer', *arguments)
            self.assertEqual(found, status, output)
            self.assertIn(words, output)
        target.kill()
        wait(lambda: claim.state == 'draining', 'it has ended')
        claim.close()
        self.wait_no_claims()

    def test_another_process_to_hang_on(self):
        target = self.tool('sleep', '1000')
        hold = self.begin('hold', '--json', f'--pid={target.pid}', self.disk.name)
        claim = json.loads(hold.stdout.readline())
        self.assertEqual(claim['fds'], ['iommufd', 'device:' + self.disk.name])
        status, output = self.vfioctl('exec', f'--pid={target.pid}', '--tether=process', '-d', self.nic.name, 'echo', 'done')
        self.assertEqual((status, output), (0, 'done\n'))
        self.assertEqual([(c['state'], c['tether']) for c in self.claims()], [('held', 'process')] * 2)
        target.kill()
        self.assertEqual(hold.wait(20), 1)
        self.wait_no_claims()
        for arguments, status, words in (
                (['--pid=2147483647'], 1, 'No such process'), ([f'--pid={os.getpid()}', '--tether=unit'], 2, '--pid is for'),
                (['--pid=0'], 2, 'expected the number')):
            for verb in ('hold', 'plan'):
                found, output = self.vfioctl(verb, *arguments, self.disk.name)
                self.assertEqual(found, status, output)
                self.assertIn(words, output)

    @needs_root  # to have processes of several users
    def test_strangers_to_hang_on(self):
        self.set_policy([self.rule(user=NOBODY)])
        self.vfioctl('reload')
        for verb, *arguments in (['hold', self.disk.name], ['exec', '-d', self.disk.name, 'true']):
            status, output = self.vfioctl(verb, f'--pid={os.getpid()}', *arguments, user=NOBODY)
            self.assertNotEqual(status, 0, output)
            self.assertIn(str(os.getpid()), output)
        self.assertEqual(self.claims(), [])

    def test_release_by_cookie(self):
        claim = self.c.acquire(self.disk, cookie='vm:1')
        claim.close('iommufd', 'device:' + self.disk.name)
        status, output = self.vfioctl('release', 'cookie:vm:1')
        self.assertEqual(status, 0, output)
        self.assertIn(claim.id + ': gone', output)
        self.assertEqual(self.vfioctl('release', 'cookie:vm:1')[0], 16)
        self.assertEqual(self.vfioctl('release', 'cookie:')[0], 16)
        claim.close()

    def test_exec(self):
        status, output = self.vfioctl('exec', '-d', self.nic.name, '--', sys.executable, '-c', SHOW_FDS)
        self.assertEqual(status, 0, output)
        fds = json.loads(output)
        self.assertTrue(fds[0].endswith('/dev/iommu'), fds)
        self.assertIn('/dev/vfio/devices/vfio', fds[1])
        self.assertIn('pipe:', fds[2])
        self.wait_no_claims()
        self.assertEqual(self.nic.resets, 1)

    def test_exec_with_the_group_backend(self):
        status, output = self.vfioctl('exec', '-d', self.disk.name, '--', 'sh', '-c', 'readlink /proc/self/fd/$0 '
                                      '/proc/self/fd/$1; echo $LISTEN_FDNAMES $VFIOD_BACKEND', '{container}', '{group:9}')
        self.assertEqual(status, 0, output)
        container, group, names = output.splitlines()
        self.assertTrue(container.endswith('/dev/vfio/vfio'), container)
        self.assertTrue(group.endswith('/dev/vfio/9'), group)
        self.assertEqual(names, 'container:group_9:lifeline group')
        self.wait_no_claims()

    def test_exec_is_known_by_its_command(self):
        process = self.begin('exec', '-d', self.disk.name, '-r', 'a\x1bb', '--', 'sleep', '100')
        wait(lambda: any(kind == 'InterfacesAdded' and '/claim/' in path for kind, path, _ in self.c.events),
             'the claim is announced')
        claim, = self.claims()
        self.assertEqual((claim['command'], claim['pid']), ('sleep', process.pid))
        self.assertNotIn('\x1b', claim['reason'])
        process.kill()
        self.wait_no_claims()

    def test_wait_for_another_claim(self):
        self.assertEqual(self.vfioctl('exec', '--wait=1', '-d', self.nic.name, 'true')[0], 0)
        wait(lambda: not self.claims(), 'the claim is over')
        claim = self.c.acquire(self.nic)
        status, output = self.vfioctl('exec', '--wait=1', '-d', self.nic.name, 'true')
        self.assertEqual(status, 20, output)
        self.assertIn('Waited 1 s.', output)
        waiting = self.begin('exec', '--wait', '-d', self.disk.name, '-d', self.nic.name, 'echo', 'mine')
        other = self.begin('hold', '--wait=100', self.nic.name)
        # Both wait until it is gone, and then one of them until the other is.
        claim.close()
        self.assertIn('Claim:', other.stdout.readline())
        other.terminate()
        self.assertEqual(waiting.communicate(timeout=20)[0], 'mine\n')
        self.assertEqual(waiting.returncode, 0)
        self.wait_no_claims()

    def test_wait_over_a_restart(self):
        """The next daemon has an empty queue, and is asked again."""
        claim = self.c.acquire(self.nic)
        waiting = self.begin('exec', '--wait=600', '-d', self.nic.name, 'echo', 'mine')

        def is_waiting():
            return any(o.get('org.vfiod1.Claim', {}).get('State') == 'waiting' for o in self.c.objects().values())
        wait(is_waiting, 'it waits')
        (name, position), = [(c['id'], c['queuePosition']) for c in self.claims() if c['state'] == 'waiting']
        self.assertEqual(position, 1)
        status, output = self.vfioctl('status', name)
        self.assertEqual(status, 0, output)
        self.assertRegex(output, r'State: waiting\n(.*\n)*\s*Position: 1 in the queue')
        self.daemon.stop()
        self.start()
        self.c = self.client()
        wait(is_waiting, 'it waits again')
        claim.close()
        self.assertEqual(waiting.communicate(timeout=20)[0], 'mine\n')
        self.wait_no_claims()

    def test_reserve(self):
        reserved = self.json('reserve', 'class:ethernet', '--ttl=1m', '-r', 'vm 7 arrives')
        self.assertEqual((reserved['device'], reserved['uid']), (self.nic.name, os.getuid()))
        self.assertEqual(sorted(reserved), ['claim', 'device', 'ticket', 'uid', 'until', 'untilTime'])
        self.assertRegex(self.vfioctl('list')[1], rf'{self.nic.name} .* reserved')
        status, output = self.vfioctl('status', reserved['claim'])
        self.assertRegex(output, r'State: reserved\n(.*\n)*\s*Reserved: 20')
        self.assertNotIn(reserved['ticket'].split('-')[1], output)
        self.assertEqual(self.vfioctl('plan', self.nic.name)[0], 51)
        status, output = self.vfioctl('exec', '-d', self.nic.name, 'true')
        self.assertEqual((status, f'reserved for uid {os.getuid()}' in output), (51, True), output)
        self.assertEqual(self.json('plan', '--ticket', reserved['ticket'])['members'][0]['name'], self.nic.name)
        status, output = self.vfioctl('exec', '--ticket', reserved['ticket'], 'sh', '-c',
                                      'echo $VFIOD_CLAIM; readlink /proc/self/fd/$0', '{device}')
        self.assertEqual(status, 0, output)
        claim, device = output.splitlines()
        self.assertEqual((claim, '/dev/vfio/devices/vfio' in device), (reserved['claim'], True))
        self.wait_no_claims()
        for verb in (['exec', '--ticket', reserved['ticket'], 'true'], ['plan', '--ticket', reserved['ticket']],
                     ['exec', '--ticket', reserved['ticket'], 'echo', '{device}'],
                     ['reserve', '--cancel', reserved['ticket']], ['reserve', '--cancel', 'x\x1b']):
            status, output = self.vfioctl(*verb)
            self.assertEqual(status, 53, output)
            self.assertNotIn('\x1b', output)

    def test_reserve_for_scripts_and_cancel(self):
        status, output = self.vfioctl('reserve', '07:00.0')
        self.assertEqual(status, 0, output)
        ticket, message = sorted(output.splitlines(), key=len)  # both streams are one here
        self.assertRegex(ticket, '^[0-9a-f]{16}-[0-9a-f]{32}$')
        self.assertRegex(message, f'^{self.disk.name} is reserved for .* until 20.* [(]{ticket[:16]}[)]')
        held = self.c.acquire(self.nic)
        self.assertEqual(self.vfioctl('reserve', '--cancel', held.id)[0], 53)
        status, output = self.vfioctl('reserve', '--cancel', '06:00.0')
        self.assertEqual((status, 'is claimed, not reserved' in output), (20, True), output)
        self.assertEqual(held.state, 'held')
        held.close()
        self.assertEqual(self.vfioctl('reserve', '--cancel', ticket), (0, ''))
        self.wait_no_claims()
        ticket = self.json('reserve', '07:00.0')['ticket']
        self.assertEqual(self.vfioctl('reserve', '--cancel', ticket[:16]), (0, ''))
        self.wait_no_claims()
        self.assertEqual(self.vfioctl('reserve', '07:00.0')[0], 0)
        self.assertEqual(self.vfioctl('reserve', '--cancel', '07:00.0'), (0, ''))
        self.wait_no_claims()
        status, output = self.vfioctl('reserve', '--cancel', '07:00.0')
        self.assertEqual((status, 'is not reserved' in output), (16, True), output)
        status, output = self.vfioctl('reserve', '--cancel', 'nonsense')
        self.assertEqual((status, 'expected a ticket, the id of a reservation, or a device' in output), (53, True), output)

    def test_reserve_says_what_is_wrong(self):
        for arguments, status, words in ((['reserve'], 2, 'Too few'), (['reserve', 'a', 'b'], 2, 'Too many'),
                                         (['reserve', '--ttl=0', '07:00.0'], 2, '--ttl=0'),
                                         (['reserve', '--ttl=5d', '07:00.0'], 2, '--ttl=5d'),
                                         (['reserve', '--ttl=86401', '07:00.0'], 33, '86400'),
                                         (['reserve', '--user', 'no-such-user', '07:00.0'], 2, 'no such user'),
                                         (['reserve', '--cancel', '--ttl=5', 'x'], 2, '--cancel'),
                                         (['reserve', '--ticket', 'x', '07:00.0'], 2, '--ticket'),
                                         (['reserve', 'class:ethernot'], 10, 'class:ethernot'),
                                         (['reserve', 'class:audio'], 14, 'class:audio'),
                                         (['reserve', '\x1b'], 10, 'x1b'),
                                         (['plan'], 2, 'Too few'), (['hold'], 2, 'Too few'),
                                         (['plan', '--ticket', 'x'], 11, 'ticket'),
                                         (['hold', '--ticket', 'x' * 5000], 11, 'ticket'),
                                         (['exec', '--ticket', 'x', '-d', '07:00.0', 'true'], 2, '--ticket'),
                                         (['exec', 'true'], 2, '--ticket')):
            with self.subTest(arguments):
                found, output = self.vfioctl(*arguments)
                self.assertEqual((found, words in output), (status, True), output)
                self.assertNotIn('\x1b', output)
        self.assertEqual(self.vfioctl('reserve', '07:00.0')[0], 0)
        status, output = self.vfioctl('exec', '--wait=1', '-d', '07:00.0', 'true')
        self.assertEqual((status, 'Waited 1 s.' in output), (51, True), output)

    @needs_root
    def test_reserve_for_another(self):
        self.set_policy([self.rule('root'), {**self.rule('nobody'), 'who': {'group': NOBODY}}])
        self.vfioctl('reload')
        reserved = self.json('reserve', '--user', str(NOBODY), self.disk.name)
        self.assertEqual(reserved['uid'], NOBODY)
        self.assertEqual(self.vfioctl('exec', '--ticket', reserved['ticket'], 'true')[0], 53)
        status, output = self.vfioctl('exec', '--ticket', reserved['ticket'], 'true', user=NOBODY)
        self.assertEqual(status, 0, output)
        self.wait_no_claims()
        status, output = self.vfioctl('reserve', '--user', 'root', self.disk.name, user=NOBODY)
        self.assertEqual((status, 'only root' in output), (17, True), output)

    def test_wait_is_for_claims_only(self):
        self.host.hold_node(f'/dev/vfio/{self.disk.group}')
        self.assertEqual(self.vfioctl('exec', '--wait', '-d', self.disk.name, '-b', 'group', 'true')[0], 22)
        self.assertEqual(self.vfioctl('exec', '--wait', '-d', '00:1f.7', 'true')[0], 14)
        self.assertEqual(self.vfioctl('exec', '--wait=x', '-d', self.disk.name, 'true')[0], 2)

    def test_hold_and_monitor(self):
        monitor = self.begin('monitor', '--json')
        self.assertEqual(json.loads(monitor.stdout.readline())['event'], 'connected')
        hold = self.begin('hold', '--json', self.disk.name)
        held = json.loads(hold.stdout.readline())
        self.assertEqual(self.json('status', held['claim'])[0]['rule'], held['rule'])
        hold.send_signal(signal.SIGINT)
        self.assertEqual(hold.wait(20), 0)
        events = []
        while not (events and events[-1]['event'] == 'removed'):
            events.append(json.loads(monitor.stdout.readline()))
        monitor.kill()
        ours = [e for e in events if e['kind'] == 'claim']
        self.assertEqual({e['name'] for e in ours}, {held['claim']})
        self.assertEqual((ours[0]['event'], ours[-1]['event']), ('added', 'removed'))
        self.wait_no_claims()

    def test_release_from_outside(self):
        hold = self.begin('hold', '--json', self.disk.name)
        claim = json.loads(hold.stdout.readline())['claim']
        status, output = self.vfioctl('release', self.disk.name)
        self.assertEqual(status, 0, output)
        self.assertEqual(output.splitlines()[-1], f'{claim}: gone')
        self.assertEqual(hold.wait(20), 1)
        self.wait_no_claims()

    def test_release_some_devices(self):
        self.host.change_driver(self.disk, VFIO)
        sound = self.host.add_device('0000:07:00.1', group=9, driver=VFIO)
        self.before = self.host.binding()
        wait(lambda: self.c.seen('InterfacesAdded', harness.device_path(sound.name)), 'it is there')
        claim = self.c.acquire(self.nic, self.disk, sound, backend='iommufd')
        self.assertEqual(self.vfioctl('release', '--device', self.nic.name, claim.id, claim.id)[0], 2)
        self.assertEqual(self.vfioctl('release', '-d', '00:1f.7', claim.id)[0], 11)
        status, output = self.vfioctl('release', '--device', self.disk.name, claim.id)
        self.assertEqual(status, 0, output)
        self.assertIn('until the rest of its IOMMU group', output)
        for name in (self.disk.name, sound.name):
            claim.close('device:' + name)
        gate = self.kernel.hold('reset', sound.address)
        releasing = self.begin('release', '--device', sound.name, claim.id)
        self.assertTrue(releasing.stdout.readline().endswith(': resetting\n'))
        gate.let_go()
        output, _ = releasing.communicate(timeout=20)
        self.assertEqual(releasing.returncode, 0)
        self.assertTrue(output.splitlines()[-1].endswith(': gone'), output)
        self.assertNotIn(claim.id, output)
        self.assertEqual(self.json('status', claim.id)[0]['devices'], [self.nic.name])
        self.assertEqual(self.vfioctl('release', '--no-wait', '--device', self.nic.name, claim.id), (0, ''))
        self.assertEqual(claim.state, 'draining')
        claim.close()
        self.wait_no_claims()

    def test_refusals(self):
        for arguments, status, word in (
                (['plan', 'nonsense'], 10, 'nonsense'), (['plan', '00:1f.7'], 14, 'pci:0000:00:1f.7'),
                (['status', 'group:77'], 15, '77'), (['release', '0123456789abcdef'], 16, '0123456789abcdef'),
                (['exec', '-d', self.nic.name, '-b', 'pigeon', 'true'], 11, 'pigeon')):
            code, output = self.vfioctl(*arguments)
            self.assertEqual(code, status, output)
            self.assertIn(word, output)
        hold = self.begin('hold', '--json', self.disk.name)
        hold.stdout.readline()
        self.assertEqual(self.vfioctl('exec', '-d', self.disk.name, 'true')[0], 20)
        hold.terminate()
        self.wait_no_claims()

    @needs_root
    def test_others(self):
        status, output = self.vfioctl('hold', self.nic.name, user=NOBODY)
        self.assertEqual(status, 17, output)
        self.assertIn(self.nic.name, output)
        self.assertEqual(len(self.json('list', user=NOBODY)), 2)
        hold = self.begin('hold', '--json', self.disk.name)
        claim = json.loads(hold.stdout.readline())['claim']
        self.assertEqual(self.vfioctl('release', claim, user=NOBODY)[0], 19)
        self.assertNotEqual(self.vfioctl('reload', user=NOBODY)[0], 0)
        hold.terminate()
        self.wait_no_claims()

    def test_plan_shows_everything_in_the_way(self):
        names = ['ResetUnsupported', 'GroupNotViable', 'LimitExceeded']
        gpu = self.host.add_device('0000:01:00.0', group=1, driver='nouveau', class_code=0x030000, reset='')
        audio = self.host.add_device('0000:01:00.1', group=1, driver='snd_hda_intel', class_code=0x040300)
        wait(lambda: len(self.json('list')) == 4, 'the devices are known')
        status, output = self.vfioctl('plan', '--memlock=4K', gpu.name)
        self.assertEqual(status, 28, output)
        for number, name in enumerate(names, 1):
            self.assertIn(f'  {number}. {name}: {gpu.name}: ', output)
        status, output = self.vfioctl('--json', 'plan', '--memlock=4K', gpu.name)
        self.assertEqual(status, 28, output)
        obstacles = json.loads(output)  # both streams: there is one document
        self.assertEqual((obstacles['error'], names[0] in output), (names[0], True))
        self.assertIn(gpu.name, obstacles['message'])
        self.assertEqual([o['error'] for o in obstacles['obstacles']], names)
        self.assertEqual(obstacles['obstacles'][1]['blockers'],
                         [{'kind': 'device', 'name': audio.name, 'why': 'driver snd_hda_intel'}])
        self.assertNotIn('All obstacles', self.vfioctl('plan', '--memlock=4K', self.disk.name)[1])

    @needs_root  # who alone reloads
    def test_reload(self):
        path = self.set_policy([], text='{ "rules": [ { "nam": 1 } ] }')
        status, output = self.vfioctl('reload')
        self.assertEqual(status, 18, output)
        self.assertIn(path + ':1:', output)
        status = self.vfioctl('status')[1]
        self.assertIn('STALE', status)
        self.assertIn('unknown key "nam"', status)
        self.set_policy([])
        self.assertEqual(self.vfioctl('reload'), (0, 'Policy reloaded: 0 rules\n'))
        self.assertEqual(self.vfioctl('plan', self.nic.name)[0], 17)

    def test_reload_names_claims_that_are_out_of_policy(self):
        claim = self.c.acquire(self.nic)
        self.set_policy([self.rule(effect='deny')])
        status, output = self.vfioctl('reload')
        self.assertEqual(status, 0, output)
        self.assertIn(f'which are kept: {claim.id}', output)
        self.assertIn(f'which are kept: {claim.id}', self.vfioctl('status')[1])
        self.assertEqual(self.json('reload')['claimsDeniedByPolicy'], [claim.id])
        claim.close()
        self.wait_gone(claim)
        self.assertNotIn('which are kept', self.vfioctl('status')[1])

    def test_the_policy_in_force(self):
        self.set_policy([self.rule(name='one'), self.rule(name='two', effect='deny', device='07:00.0')])
        self.vfioctl('reload')
        path = self.set_policy([])
        status, output = self.vfioctl('policy', 'show', '--loaded')
        self.assertEqual(status, 0, output)
        lines = [line.split() for line in output.splitlines()]
        self.assertEqual(lines[:3], [['RULE', 'EFFECT', 'WHO', 'WHAT', 'PLACE'],
                                     ['one', 'allow', 'user', str(os.getuid()), 'device', '*', f'{path}:3'],
                                     ['two', 'deny', 'user', str(os.getuid()), 'device', '07:00.0', f'{path}:13']])
        self.assertRegex(output, r'Loaded: .* \(generation 2\)\n')
        shown = self.json('policy', 'show', '--loaded')
        self.assertEqual((shown['policyRules'], shown['policyGeneration'], shown['rules'][0]),
                         (2, 2, {'rule': 'one', 'effect': 'allow', 'file': path, 'line': 3,
                                 'predicates': {'who.user': str(os.getuid()), 'what.device': '*'}}))
        self.set_policy([], text='{')
        self.vfioctl('reload')
        self.assertIn('stays in force', self.vfioctl('policy', 'show', '--loaded')[1])
        for arguments in ([path], ['--host', path]):
            self.assertEqual(self.vfioctl('policy', 'show', '--loaded', *arguments)[0], 2)

    def test_status_shows_warnings_and_the_shadow(self):
        os.mkdir(f'{self.directory}/shadow.d', 0o755)
        shadow = pathlib.Path(self.directory) / 'shadow.d' / '50-try.json'
        self.set_policy([self.rule(name='all'), self.rule(name='never-reached')])
        self.daemon.stop()
        shadow.write_text('{ "rules": [] }')
        self.start(f'--shadow-directory={self.directory}/shadow.d')
        self.c = self.client()
        self.c.acquire(self.disk).close()
        status, output = self.vfioctl('status')
        self.assertEqual(status, 0)
        self.assertIn('warning: this rule can never match', output)
        self.assertIn('Shadow: loaded, 0 rules, 1 difference\n', output)
        shadow.write_text('{ "rules": 7 }')
        self.vfioctl('reload')
        output = self.vfioctl('status')[1]
        self.assertIn('Shadow: STALE', output)
        self.assertIn('50-try.json:1:', output)

    def test_library(self):
        example = self.tool(os.environ['LIBVFIOD_EXAMPLE'], '06:00.0', '07:00.0')
        output, _ = example.communicate(timeout=20)
        self.assertEqual(example.returncode, 0, output)
        shown = json.loads(output)
        self.assertEqual((shown['devices'], shown['backend'], shown['taken']),
                         ([self.nic.name, self.disk.name], 'iommufd', True))
        self.wait_no_claims()


    def test_library_takes_a_claim_over(self):
        for tether in ('lifeline', 'process', 'connection'):
            hold = self.begin('hold', '--json', '--cookie=vm-1', f'--tether={tether}', self.disk.name)
            claim = json.loads(hold.stdout.readline())['claim']
            taker = self.tool('env', 'TRANSFER=cookie:vm-1', os.environ['LIBVFIOD_LOOP'], stdin=subprocess.PIPE)
            self.assertEqual(json.loads(taker.stdout.readline()), {'claim': claim, 'lifeline': tether == 'lifeline'})
            hold.kill()
            hold.wait()
            self.assertEqual([(c['id'], c['state'], c['tether']) for c in self.claims()], [(claim, 'held', tether)])
            taker.stdin.close()
            self.assertEqual(taker.wait(20), 0)
            self.wait_no_claims()

    def add_vdpa(self):
        self.set_policy([self.rule(device='vdpa:*')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        vdpa = self.host.add_vdpa('vdpa0', driver='vhost_vdpa')
        wait(lambda: self.c.seen('InterfacesAdded', harness.device_path(vdpa.name)), 'it is there')
        wait(lambda: self.c.device(vdpa)['VfioNode'], 'its node is seen')

    def test_exec_with_the_file_of_a_vdpa_device(self):
        self.add_vdpa()
        qemu = f'{self.directory}/qemu'
        with open(qemu, 'w') as f:
            f.write('#!/bin/sh\necho "QEMU emulator version 9.2.0"\n')
        os.chmod(qemu, 0o755)
        for options in ([], ['--backend', 'vhost-vdpa']):
            status, output = self.vfioctl('exec', *options, '-d', 'vdpa:vdpa0', 'echo', 'vhostfd={device}')
            self.assertEqual(status, 0, output)
            self.assertRegex(output, r'^vhostfd=\d+\n$')
            wait(lambda: not self.records(), 'the claim is over')
        for arguments, word in ((['echo', '{iommufd}'], 'backend'), (['--qemu', qemu], 'vDPA')):
            status, output = self.vfioctl('exec', '-d', 'vdpa:vdpa0', *arguments)
            self.assertNotEqual(status, 0, output)
            self.assertIn(word, output)

    def test_plan_and_list_of_a_vdpa_device(self):
        self.add_vdpa()
        status, output = self.vfioctl('plan', 'vdpa:vdpa0')
        self.assertEqual(status, 0, output)
        self.assertIn('by kernel', output)
        self.assertIn('Backend: vhost-vdpa', output)
        self.assertIn('vhost-vdpa-', self.vfioctl('list')[1])


class VarlinkTest(VfioctlTest):
    """The same with claims through the socket."""

    sockets = ('varlink',)

    def setUp(self):
        super().setUp()
        os.environ['VFIOD_SOCKET'] = self.socket_path()
        self.addCleanup(os.environ.pop, 'VFIOD_SOCKET')

    def test_hold_outlives_the_daemon(self):
        hold = self.begin('hold', '--json', self.disk.name)
        claim = json.loads(hold.stdout.readline())['claim']
        self.daemon.stop()
        self.manager.hear_all()
        self.start(keep_fds=True)
        self.assertIsNone(hold.poll(), hold.poll() and hold.stdout.read())
        status, output = self.vfioctl('release', claim)
        self.assertEqual(status, 0, output)
        self.assertEqual(hold.wait(20), 1)
        self.assertIn('the claim was released', hold.stdout.read())
        self.c = self.client()
        self.wait_no_claims()

    def test_exec_without_a_bus(self):
        qemu = f'{self.directory}/qemu'
        with open(qemu, 'w') as f:
            f.write('#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version 9.2.0" || echo "$@"\n')
        os.chmod(qemu, 0o755)
        for options, expected in (
                (['--qemu', qemu], f'-object iommufd,id=vfiod,fd=3 -device vfio-pci,id=pci-0000-06-00.0,iommufd=vfiod,fd=4\n'),
                (['--wait=1', 'echo', '{device}'], '4\n'), (['echo', '{group:8}'], '4\n')):
            process = self.tool('env', 'DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent', os.environ['VFIOCTL'], 'exec',
                                '-d', '06:00.0', *options)
            self.assertEqual(process.communicate(timeout=20)[0], expected)
            wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.vfioctl('exec', '-d', '00:1f.7', 'echo', '{device}')[0], 14)
        self.assertEqual(self.vfioctl('exec', '-d', 'nonsense', 'echo', '{device}')[0], 10)

    def by_both(self, *arguments, user=None):
        """What a verb shows over the socket, where no bus is, and over D-Bus, where no socket is."""
        found = {}
        for transport, missing in (('varlink', 'DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent'),
                                   ('dbus', 'VFIOD_SOCKET=/nonexistent')):
            process = self.tool('env', missing, f'VFIOD_TRANSPORT={transport}', os.environ['VFIOCTL'], *arguments,
                                user=user)
            output, _ = process.communicate(timeout=20)
            found[transport] = process.returncode, output
        return found['varlink'], found['dbus']

    def assert_same(self, status, *arguments, user=None):
        for form in ([], ['--json']):
            varlink, dbus = self.by_both(*form, *arguments, user=user)
            self.assertEqual(varlink, dbus, arguments)
            self.assertEqual(varlink[0], status, varlink[1])
            self.assertNotIn('Unreachable', varlink[1])
        return harness.read_json(varlink[1])

    @needs_root
    def test_users_by_name(self):
        """In texts, as far as the local file has them; what programs read keeps the number."""
        path = f'{self.directory}/passwd'
        for name in ('alice', 'bob'):
            with open(path, 'w') as f:
                f.write(f'{name}:x:{os.getuid()}:0::/:/bin/sh\n')
            self.vfioctl('reload')
            claim = self.c.acquire(self.disk)
            self.wait_logged(f'Claim {claim.id}: {name} ({os.getuid()}) got {self.disk.name}', f'VFIOD_UID={os.getuid()} ')
            status, output = self.vfioctl('plan', self.disk.name)
            self.assertEqual(status, 20, output)
            self.assertIn(f'claim {claim.id} of {name} ({os.getuid()}) holds ', ' '.join(output.split()))
            self.assertIn(f'uid {NOBODY}', self.vfioctl('hold', self.nic.name, user=NOBODY)[1])
            claim.close()
            self.wait_no_claims()
        # A file that cannot be read leaves the names that there are.
        os.unlink(path)
        self.vfioctl('reload')
        claim = self.c.acquire(self.disk)
        self.wait_logged(f'Claim {claim.id}: bob ({os.getuid()}) got ')
        claim.close()
        self.wait_no_claims()

    @needs_root  # who evicts, and is shown the taints
    def test_times(self):
        """Each that --json has anywhere. An object without a time has its own name for that: 0 and null."""
        stranger = self.vfioctl('hold', self.nic.name, user=NOBODY)
        self.assertEqual(stranger[0], 17)
        other = self.c.acquire(self.nic)
        monitor, _ = self.follow_monitor('varlink')
        claim = self.c.acquire(self.disk, cookie='vm:1')
        self.assertRegex(harness.read_json(monitor.stdout.readline())['time'], harness.RFC_3339)
        held, = (c for c in self.claims() if c['id'] == claim.id)
        self.assertEqual((held['evictAtTime'], held['reservedUntilTime']), (None, None))
        self.vfioctl('evict', '--in=60', claim.id)
        for arguments in (['status'], ['status', claim.id], ['status', self.disk.name], ['list'], ['list', '--groups'],
                          ['topology'], ['taint'], ['reload'], ['policy', 'show', '--loaded'],
                          ['policy', 'explain', '--claim', claim.id], ['policy', 'explain', '--last-refusal']):
            with self.subTest(arguments=arguments):
                status, output = self.vfioctl('--json', *arguments)
                self.assertIn(status, (0, 39), output)
                harness.read_json(output)
        evicted, = self.json('status', claim.id)
        self.assertRegex(evicted['evictAtTime'], harness.RFC_3339)
        self.assertRegex(self.json('policy', 'explain', '--claim', claim.id)['claim']['sinceTime'], harness.RFC_3339)
        self.assertRegex(self.json('reload')['policyLoadedTime'], harness.RFC_3339)
        self.assertRegex(self.json('policy', 'explain', '--last-refusal')['refused']['sinceTime'], harness.RFC_3339)
        claim.close()
        other.close()
        self.wait_no_claims()

    def test_the_same_is_shown_by_both(self):
        bare = self.host.add_device('0000:05:00.0', group=None, driver='e1000e')
        self.before = self.host.binding()
        wait(lambda: self.c.seen('InterfacesAdded', harness.device_path(bare.name)), 'it is there')
        self.set_policy([self.rule(untainted=False), self.rule(name='unused')])
        self.vfioctl('reload')
        claim = self.c.acquire(self.disk, cookie='vm:1', reason='a "reason"')
        words = [self.nic.name, self.disk.name, '06:00.0', bare.name, 'group:8', 'group:9', claim.id]
        self.assert_same(0, 'list')
        self.assert_same(0, 'list', '--groups')
        for option in (['-o', 'wide'], ['--sort=driver', 'access=allow'], ['-o', 'name'], ['host-use=-', 'class=network']):
            self.assert_same(0, 'list', *option)
        for word in words + ['cookie:vm:1']:
            self.assert_same(0, 'status', word)
        self.assertEqual(len(self.assert_same(0, 'status', *words)), len(words))
        self.assertIn('warning: ', str(self.assert_same(0, 'status')['manager']['policyWarnings']))
        self.assert_same(0, 'taint')
        self.assert_same(0, 'vf', '06:00.0')
        self.assert_same(47, 'vf', bare.name, '--count=1', '--autoprobe=no')
        self.assert_same(0, 'plan', '06:00.0')
        self.assert_same(20, 'plan', self.disk.name)
        self.assert_same(0, 'policy', 'explain', '--claim', claim.id)
        self.assert_same(16, 'policy', 'explain', '--claim', '0123456789abcdef')
        self.assert_same(0, 'policy', 'generate')
        for status, *words in ((10, 'nonsense'), (10, 'group:x'), (10, 'group:'), (14, '00:1f.7'), (15, 'group:77'),
                               (15, 'group:4294967295'), (16, '0123456789abcdef'), (16, 'cookie:'), (16, 'cookie:vm:2')):
            self.assert_same(status, 'status', *words)
            self.assert_same(status, 'release', *words)
        self.assert_same(16, 'release', self.nic.name)
        self.assert_same(11, 'release', '--device', '00:1f.7', claim.id)
        self.assert_same(1, 'transfer', '--pid=2147483647', claim.id)
        self.assert_same(16, 'transfer', f'--pid={os.getpid()}', self.nic.name)
        claim.close()
        self.wait_no_claims()

    @needs_root
    def test_strangers_are_shown_the_same_by_both(self):
        claim = self.c.acquire(self.disk, cookie='vm:1')
        target = self.tool('sleep', '1000')
        for arguments in (['list'], ['list', '--groups'], ['status', claim.id], ['status', self.disk.name], ['taint']):
            self.assert_same(0, *arguments, user=NOBODY)
        self.assertEqual(self.assert_same(0, 'status', user=NOBODY)['manager']['policyWarnings'], [])
        self.assert_same(16, 'status', 'cookie:vm:1', user=NOBODY)
        self.assert_same(17, 'reload', user=NOBODY)
        self.assert_same(19, 'release', claim.id, user=NOBODY)
        self.assert_same(19, 'release', '--no-wait', claim.id, user=NOBODY)
        self.assert_same(19, 'transfer', f'--pid={target.pid}', claim.id, user=NOBODY)
        self.vfioctl('plan', self.nic.name, user=NOBODY)
        self.assertEqual(self.vfioctl('hold', self.nic.name, user=NOBODY)[0], 17)
        self.assert_same(0, 'policy', 'explain', '--last-refusal', user=NOBODY)
        claim.close()
        self.wait_no_claims()

    @needs_root  # who alone reloads
    def test_reload_by_both(self):
        # The second one is another generation, later.
        varlink, dbus = ({**json.loads(output), 'policyLoaded': 0, 'policyLoadedTime': None}
                         for _, output in self.by_both('--json', 'reload'))
        self.assertEqual(varlink, {**dbus, 'policyGeneration': dbus['policyGeneration'] - 1})
        path = self.set_policy([], text='{ "rules": [ { "nam": 1 }, 7 ] }')
        self.assertIn(path, self.assert_same(18, 'reload')['message'])

    def test_transfer_and_release_by_both(self):
        shown = []
        for transport in ('varlink', 'dbus'):
            environment = ['env', f'VFIOD_TRANSPORT={transport}', os.environ['VFIOCTL']]
            claim = self.c.acquire(self.disk)
            target = self.tool('sleep', '1000')
            lines = []
            for form in ([], ['--json']):
                process = self.tool(*environment, *form, 'transfer', f'--pid={target.pid}', claim.id)
                lines.append(process.communicate(timeout=20)[0])
            gate = self.kernel.hold('reset', self.disk.address)
            process = self.tool(*environment, '--json', 'release', claim.id)
            lines.append(process.stdout.readline())
            claim.close()
            while '"resetting"' not in lines[-1]:
                lines.append(process.stdout.readline())
            gate.let_go()
            rest = process.communicate(timeout=20)[0].splitlines()
            self.assertEqual((process.returncode, json.loads(rest[-1])['state']), (0, 'gone'))
            shown.append([line.replace(claim.id, 'ID') for line in lines])
            target.kill()
            self.wait_no_claims()
        self.assertEqual(shown[0], shown[1])
        draining = json.loads(shown[0][2])
        self.assertEqual((draining['state'], draining['holders'][0]['pid']), ('draining', os.getpid()))

    def follow_monitor(self, transport):
        monitor = self.tool('env', f'VFIOD_TRANSPORT={transport}', os.environ['VFIOCTL'], '--json', 'monitor')
        first = json.loads(monitor.stdout.readline())
        self.assertEqual((first['event'], first['kind'], first['name']), ('connected', 'manager', ''))
        return monitor, first['properties']

    def read_monitor(self, monitor, until):
        """What came and went, and what is known of each object that is there in the end; until all of these events."""
        events, known = [], {}
        while not until <= set(events):
            e = json.loads(monitor.stdout.readline())
            name = e['kind'], e['name']
            if e['event'] != 'changed':
                events.append((e['event'], *name))
            if e['event'] == 'removed':
                # Which of its states was the last that was told depends on which changes were merged into one.
                known.pop(name, None)
                continue
            # Signals are the same for everybody, and have no secrets.
            known.setdefault(name, {}).update({k: v for k, v in e.get('properties', {}).items()
                                               if k not in ('rule', 'cookie')})
        return events, known

    def test_monitor_by_both(self):
        both = [self.follow_monitor(transport) for transport in ('varlink', 'dbus')]
        self.assertEqual(both[0][1], both[1][1])
        new = self.host.add_device('0000:09:00.0', group=10, driver='e1000e')
        wait(lambda: self.c.seen('InterfacesAdded', harness.device_path(new.name)), 'it is there')
        claim = self.c.acquire(self.nic)
        wait(lambda: self.c.seen('InterfacesAdded', claim.path), 'it is announced')
        claim.close()
        self.wait_gone(claim)
        self.kernel.remove(new)
        found = [self.read_monitor(m, {('removed', 'device', new.name), ('removed', 'group', 10)}) for m, _ in both]
        self.assertEqual(sorted(found[0][0]), sorted(found[1][0]))
        self.assertIn(('added', 'claim', claim.id), found[0][0])
        self.assertIn(('removed', 'claim', claim.id), found[0][0])
        # On the bus a change names more than what has changed.
        for name, properties in found[0][1].items():
            for key, value in properties.items():
                if key in found[1][1][name]:
                    self.assertEqual(found[1][1][name][key], value, (name, key))
        self.assertEqual(found[0][1]['device', self.nic.name]['state'], 'free')
        self.daemon.stop()
        self.assertEqual([json.loads(m.stdout.readline())['event'] for m, _ in both], ['disconnected'] * 2)
        self.start()
        self.assertEqual([json.loads(m.stdout.readline())['event'] for m, _ in both], ['connected'] * 2)


    def test_watch_by_both(self):
        """The list changes with the claim, and goes on with the next daemon."""
        watches = [self.tool('env', f'VFIOD_TRANSPORT={t}', os.environ['VFIOCTL'], '--json', 'watch', f'name={self.nic.name}')
                   for t in ('varlink', 'dbus')]

        def until(state):
            for watch in watches:
                states = []
                while states != [state]:
                    shown = json.loads(watch.stdout.readline())
                    self.assertIsInstance(shown, list, shown)
                    states = [device['state'] for device in shown]
        until('free')
        claim = self.c.acquire(self.nic)
        until('claimed')
        claim.close()
        until('free')
        self.wait_gone(claim)
        self.daemon.stop()
        self.start()
        until('free')


class CompatTest(VfiodTestCase):
    """A kernel whose /dev/vfio/vfio is an iommufd."""

    begin, vfioctl, wait_no_claims = VfioctlTest.begin, VfioctlTest.vfioctl, VfioctlTest.wait_no_claims

    def setUp(self):
        super().setUp()
        self.kernel.iommufd_container = True
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def test_exec(self):
        script = 'echo $VFIOD_BACKEND $LISTEN_FDNAMES $1 $2; readlink /proc/self/fd/$1'
        for options in (['-b', 'compat'], []):  # both templates are of this backend alone
            status, output = self.vfioctl('exec', '-d', self.nic.name, *options, '--', 'sh', '-c', script, 'sh',
                                          '{container}', '{device}')
            self.assertEqual(status, 0, output)
            self.assertEqual(output.splitlines()[0], 'compat container:device_pci_0000_06_00.0:lifeline 3 4')
            self.assertTrue(output.splitlines()[1].endswith('/dev/vfio/vfio'), output)
            self.wait_no_claims()

    def test_what_it_is_not_for(self):
        for templates in (['{iommufd}'], ['{group}'], ['{container}', '{group}']):
            status, output = self.vfioctl('exec', '-d', self.nic.name, '-b', 'compat', '--', 'echo', *templates)
            self.assertEqual(status, 2, output)
            self.assertIn('not --backend=compat', output)
        self.assertEqual(self.vfioctl('status')[1].count('-container +compat'), 1)
        status, output = self.vfioctl('plan', '-b', 'group', self.nic.name)
        self.assertEqual(status, 26, output)
        self.assertIn('is an iommufd', output)
        self.assertIn('Request the backend iommufd', output)
        self.wait_no_claims()


if __name__ == '__main__':
    harness.main()
