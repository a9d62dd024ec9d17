#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfioctl and libvfiod against a pretended daemon: what they say, pass on and answer by their exit status."""

import codecs
import contextlib
import faulthandler
import fcntl
import json
import os
import pty
import pwd
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import unittest

import dbus
import dbus.bus
import dbus.lowlevel
from gi.repository import GLib

import harness
from harness import PROPERTIES, ROOT_PATH, SOURCE, device_path, wait
from fake_qmp import FakeQmp
from mock_varlink import TOKEN, MockVarlink
from mock_vfiod import CONTRACT, NAME, MockVfiod, OpenBus, group_path

NIC, EDU, PORT = 'pci:0000:00:04.0', 'pci:0000:06:0d.0', 'pci:0000:00:1c.0'
CLEAN_TAINT = {'kind': 'kernel', 'weakens': False, 'what': 'TAINT_WARN', 'since': dbus.UInt64(1700000000000000)}
WEAK_TAINT = {'kind': 'noiommu-claim', 'weakens': True, 'what': 'device without an IOMMU', 'uid': dbus.UInt32(0),
              'since': dbus.UInt64(1700000000000000), 'device': EDU, 'rule': 'dpdk (/etc/x.json:7)',
              'reason': 'a \x1b test'}
SEES_FDS = f'''
import os, json
names = os.environ["LISTEN_FDNAMES"].split(":")
out = {{"names": names, "pid": os.environ["LISTEN_PID"] == str(os.getpid()),
        "count": os.environ["LISTEN_FDS"], "files": [], "open": sorted(map(int, os.listdir("/proc/self/fd")))}}
for i, name in enumerate(names):
    out["files"].append("pipe" if name == "lifeline" else os.read(3 + i, 100).decode())
out.update({{k: v for k, v in os.environ.items() if k.startswith("VFIOD_C") or k in ("VFIOD_BACKEND",
             "VFIOD_DEVICES", "LISTEN_PIDFDID")}})
print(json.dumps(out))
'''


class Program:
    """A running vfioctl (or another program of ours); the main loop runs while we wait, so the mock answers."""

    def __init__(self, test, command, stdout=None, terminal=None, user=None, cwd=None, **environment):
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        test.addCleanup(self.close)
        env = {k: v for k, v in os.environ.items() if k not in ('NO_COLOR', 'COLUMNS')}
        env.update({'DBUS_SYSTEM_BUS_ADDRESS': test.address, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', 'SYSTEMD_PAGER': '',
                    'VFIOCTL_HWDB': '', **environment})
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL if terminal is None else terminal,
                                        stdout=self.out if stdout is None else stdout,
                                        stderr=self.err if terminal is None else terminal, user=user, cwd=cwd)
        self._pidfd = os.pidfd_open(self.process.pid)
        self._watch = GLib.io_add_watch(self._pidfd, GLib.PRIORITY_DEFAULT, GLib.IO_IN, lambda *_: False)
        # What it writes makes no event for us; what it says on the bus does, and a look each 50 ms costs nothing.
        self._tick = GLib.timeout_add(50, lambda: True)

    def text(self, f=None):
        """All that it has written; it may be in the middle of a letter."""
        f = f or self.out
        return codecs.getincrementaldecoder('utf-8')().decode(os.pread(f.fileno(), 1 << 20, 0))

    def lines(self):
        """Those that it has ended."""
        return [harness.read_json(line) for line in self.text().split('\n')[:-1]]

    def end(self):
        """(exit status, standard output, standard error)"""
        wait(lambda: self.process.poll() is not None, f'{self.process.args} ends')
        return self.process.returncode, self.text(), self.text(self.err)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        GLib.source_remove(self._tick)
        os.close(self._pidfd)
        self.out.close()
        self.err.close()


class ClientTest(unittest.TestCase):
    def setUp(self):
        faulthandler.dump_traceback_later(100, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        temporary = tempfile.TemporaryDirectory(prefix='vfiod-test-vfioctl.')
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        self.bus = OpenBus(self.directory)
        self.addCleanup(self.bus.stop)
        self.address = self.bus.address
        self.mock = MockVfiod(self.address, self.directory)
        self.addCleanup(self.mock.close)
        self.mock.add_group(8, EDU, State='claimed')
        self.mock.add_group(10, NIC, PORT, Viable=False)
        self.mock.add_device(NIC, 10)
        self.mock.add_device(EDU, 8, Driver='', Vendor=0x1234, Product=0x11e8, Class=0x00ff00,
                             VfioNode='/dev/vfio/devices/vfio0', ResetMethods=[])
        self.mock.add_device(PORT, 10, Class=0x060400, Driver='pcieport', AcsPath=('incomplete', PORT))

    def start(self, *arguments, **environment):
        return Program(self, [os.environ['VFIOCTL'], *arguments], **environment)

    def vfioctl(self, *arguments, **environment):
        return self.start(*arguments, **environment).end()

    def succeeds(self, *arguments, **environment):
        status, out, err = self.vfioctl(*arguments, **environment)
        self.assertEqual((status, err), (0, ''), out)
        return out

    def json(self, *arguments):
        return json.loads(self.succeeds(*arguments, '--json'))

    def fails(self, expected, *arguments, **environment):
        """Gives back standard error; nothing may be on standard output."""
        status, out, err = self.vfioctl(*arguments, **environment)
        self.assertEqual((status, out), (expected, ''), err)
        return err

    def forge(self, program, path, interface, member, *arguments):
        """The program gets this signal from a stranger, and has seen it when this returns."""
        stranger = dbus.bus.BusConnection(self.address)
        self.addCleanup(stranger.close)
        answers = []
        for name in stranger.list_names():
            if stranger.call_blocking('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'GetConnectionUnixProcessID',
                                      's', (name,)) != program.process.pid:
                continue
            message = dbus.lowlevel.SignalMessage(path, interface, member)
            message.append(*arguments)
            message.set_destination(name)
            stranger.send_message(message)
            stranger.call_async(name, '/', 'org.freedesktop.DBus.Peer', 'Ping', '', (), lambda: answers.append(1),
                                answers.append)
        wait(lambda: answers, 'the signal is seen')
        self.assertEqual(answers, [1])

    def make_claim(self, *devices):
        """A claim of another process: its lifeline is held here."""
        _, _, fds = self.mock._make_claim(list(devices), {})
        claim = self.mock.claims[list(self.mock.claims)[-1]]
        self.addCleanup(fds.clear)
        claim.fds = fds
        return claim

    def acquired(self):
        return [c for c in self.mock.calls if c[0] == 'Acquire']


class ListTest(ClientTest):
    def test_table(self):
        lines = self.succeeds('list').splitlines()
        self.assertEqual(lines[0].split(), ['NAME', 'GROUP', 'CLASS', 'IDS', 'DRIVER', 'STATE', 'NODE', 'ACCESS', 'MODEL'])
        self.assertEqual([l.split()[0] for l in lines[1:]], [NIC, PORT, EDU])
        self.assertEqual(lines[1].split(), [NIC, '10', 'ethernet', '8086:10d3', 'e1000e', 'free', '-', 'deny', '-'])
        self.assertEqual(lines[3].split()[-6:], ['1234:11e8', '-', 'free', 'vfio0', 'deny', '-'])
        self.assertTrue(all(l == l.rstrip() for l in lines))
        narrow = self.terminal('list', COLUMNS='80', NO_COLOR='1').splitlines()
        self.assertEqual(narrow[0].split(), ['NAME', 'GROUP', 'CLASS', 'IDS', 'DRIVER', 'STATE', 'NODE', 'ACCESS'])
        self.assertTrue(all(len(l) <= 80 for l in narrow))
        column = lines[0].index('STATE')
        self.assertTrue(all(l[column:].startswith('free') for l in lines[1:]))

    def test_no_legend_and_colours(self):
        self.assertEqual(len(self.succeeds('list', '--no-legend').splitlines()), 3)
        self.assertNotIn('\x1b', self.succeeds('list'))
        self.assertIn('\x1b[1mNAME\x1b[0m', self.succeeds('list', '--color=always'))
        self.assertNotIn('\x1b', self.succeeds('list', '--color=never'))

    def terminal(self, *arguments, **environment):
        """What it writes to a terminal 60 columns wide."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        try:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 25, 60, 0, 0))
            program = self.start(*arguments, stdout=theirs, TERM='xterm', **environment)
            self.assertEqual(program.end()[0], 0)
        finally:
            os.close(theirs)
        # The kernel moves the bytes over in its own time: only EIO says that there are no more.
        said = b''
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 65536):
                said += chunk
        return said.decode().replace('\r\n', '\n')

    def asking(self, *arguments, **environment):
        """What a claim by a rule that asks says on the terminal, and how polkit's agent was called."""
        self.mock.plan = '{"ask": true}'
        agent = f'{self.directory}/pkttyagent'
        with open(agent, 'w') as f:
            f.write('#!/bin/sh\necho "$*" >"$0.called"\nexec 3>&-\nexec sleep 100\n')
        os.chmod(agent, 0o755)
        os.chmod(self.directory, 0o777)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(agent + '.called')
        ours, theirs = pty.openpty()
        try:
            program = self.start('exec', '--device', EDU, *arguments, 'true', terminal=theirs,
                                 PATH=f'{self.directory}:{os.environ["PATH"]}', **environment)
            status = program.end()[0]
            os.write(theirs, b'.')  # else a read of nothing would wait
            said = os.read(ours, 65536).decode()
            self.assertEqual(status, 0, said)
        finally:
            os.close(theirs)
            os.close(ours)
        try:
            with open(agent + '.called') as f:
                return said, f.read()
        except FileNotFoundError:
            return said, ''

    def test_a_person_is_asked_on_the_terminal(self):
        user = harness.NOBODY if os.getuid() == 0 else None
        said, agent = self.asking(user=user)
        self.assertIn('Waiting for authentication', said)
        self.assertEqual(agent, '--notify-fd 3 --fallback\n')
        self.assertEqual(self.asking('--no-ask-password', user=user), ('.', ''))
        self.assertEqual(self.mock.interactive, [True, False])
        if os.getuid() == 0:  # polkit asks nobody about root
            self.assertEqual(self.asking()[1], '')

    def test_terminal(self):
        self.mock.add_device('pci:0000:00:02.0', 10, Driver='a-driver-with-quite-a-long-name')
        out = self.terminal('list')
        self.assertIn('\x1b[1mNAME\x1b[0m', out)
        lines = re.sub('\x1b\\[[0-9;]*m', '', out).splitlines()
        self.assertLessEqual(max(map(len, lines)), 60)
        # Columns are dropped; names are not cut.
        self.assertEqual(lines[0].split(), ['NAME', 'DRIVER', 'STATE'])
        self.assertEqual(lines[1].split(), ['pci:0000:00:02.0', 'a-driver-with-quite-a-long-name', 'free'])
        self.assertNotIn('\x1b', self.terminal('list', NO_COLOR='1'))
        whole = self.succeeds('list')
        self.assertNotIn('…', whole)
        for arguments, environment in ((['list'], {'COLUMNS': '200'}), (['list', '--full'], {}), (['-l', 'list'], {})):
            self.assertEqual(self.terminal(*arguments, NO_COLOR='1', **environment), whole)

    def test_tree(self):
        lines = self.succeeds('list', '--groups', '--no-legend').splitlines()
        self.assertEqual([re.split(r'  +', l)[0] for l in lines],
                         ['group 8', f'└─{EDU}', 'group 10', f'├─{NIC}', f'└─{PORT}'])
        self.assertIn('not viable', lines[2])
        self.assertIn(f'`-{EDU}', self.succeeds('list', '-g', LC_ALL='C'))

    def test_tree_shows_devices_without_group(self):
        self.mock.add_device('pci:0000:00:02.0', None)
        self.assertEqual(self.succeeds('list', '--groups').splitlines()[-2].split()[:2], ['no', 'group'])

    def test_json(self):
        devices = self.json('list')
        self.assertEqual([d['name'] for d in devices], [NIC, PORT, EDU])
        edu = devices[2]
        self.assertEqual((edu['group'], edu['claim'], edu['vendor'], edu['numaNode']), (8, None, 0x1234, -1))
        self.assertEqual(edu['resetMethods'], [])
        self.assertEqual(self.json('status', PORT)[0]['acsPath'], {'path': 'incomplete', 'blocker': PORT})
        groups = self.json('list', '--groups')
        self.assertEqual([g['id'] for g in groups], [8, 10])
        self.assertEqual(groups[1]['devices'], [NIC, PORT])
        self.assertEqual(groups[0]['reservedRegions'], [{'start': 0xfee00000, 'end': 0xfeefffff, 'type': 'msi'}])

    def test_json_has_every_property_of_the_contract(self):
        claim = self.make_claim(EDU)
        for word, interface in ((NIC, 'Device'), ('group:8', 'Group'), (claim.id, 'Claim')):
            names = {p[0].lower() + p[1:] for p in CONTRACT['org.vfiod1.' + interface]}
            more = {'Device': {'vendorName', 'modelName'}, 'Claim': {'deadlineTime', 'evictAtTime', 'reservedUntilTime', 'sinceTime', 'sleepAtTime', 'stopAtTime'}}
            self.assertEqual(set(self.json('status', word)[0]), names | {'kind'} | more.get(interface, set()))

    def test_hostile_text_cannot_reach_the_terminal(self):
        self.mock.add_device('pci:0000:00:02.0', 10, Driver='a\x1b[2Jb\u009b1mc\x7f\nd')
        out = self.succeeds('list')
        self.assertIn(r'a\x1b[2Jb\xc2\x9b1mc\x7f\x0ad', out)
        self.assertEqual(len(out.splitlines()), 5)
        raw = self.succeeds('list', '--json')
        self.assertFalse(set('\x1b\x7f\u009b') & set(raw))
        self.assertEqual(json.loads(raw)[0]['driver'], 'a\x1b[2Jb\u009b1mc\x7f\nd')

    def test_many(self):
        for i in range(2000):
            self.mock.add_device(f'pci:0001:{i >> 8:02x}:{i >> 3 & 31:02x}.{i & 7}', 10)
        self.assertEqual(len(self.succeeds('list', '--no-legend').splitlines()), 2003)


class StatusTest(ClientTest):
    def test_daemon(self):
        claim = self.make_claim(EDU)
        out = self.succeeds('status')
        for text in ('vfiod 9.8.7', 'loaded, 3 rules', '+iommufd', '-container', claim.id, EDU):
            self.assertIn(text, out)

    def test_daemon_json(self):
        claim = self.make_claim(EDU)
        status = self.json('status')
        self.assertEqual(status['manager']['policyState'], 'loaded')
        self.assertIs(status['manager']['kernel']['iommufd'], True)
        self.assertEqual([c['id'] for c in status['claims']], [claim.id])
        self.assertEqual(status['claims'][0]['devices'], [EDU])
        self.assertEqual(status['claims'][0]['groups'], [8])
        self.assertEqual(status['claims'][0]['since'], 1790000000000000)

    def test_bad_policy_is_loud(self):
        line = '/etc/vfiod/policy.d/1.json:3:1: error: unknown key "alow"'
        self.mock.objects[ROOT_PATH][1].update(PolicyState='stale', PolicyErrors=[line])
        out = self.succeeds('status')
        self.assertIn('STALE', out)
        self.assertIn(line, out)
        self.mock.objects[ROOT_PATH][1].update(PolicyState='broken')
        self.assertIn('BROKEN', self.succeeds('status'))

    def test_taint_is_loud(self):
        manager = self.mock.objects[ROOT_PATH][1]
        manager['Taints'] = [dict(CLEAN_TAINT)]
        self.assertNotIn('TAINTED', self.succeeds('status'))
        manager['Taints'] += [dict(WEAK_TAINT), dict(WEAK_TAINT)]
        self.assertIn('TAINTED: 2 things weaken this host', self.succeeds('status'))

    def test_devices_without_iommu(self):
        manager = self.mock.objects[ROOT_PATH][1]
        self.assertNotIn('No IOMMU', self.succeeds('status'))
        manager['Noiommu'] = 'managed'
        self.assertIn('No IOMMU: managed', self.succeeds('status'))
        manager['Noiommu'] = 'unavailable'
        self.assertIn('No IOMMU: UNAVAILABLE', self.succeeds('status'))

    def test_stuck_workers(self):
        self.assertNotIn('Stuck worker', self.succeeds('status'))
        self.mock.objects[ROOT_PATH][1]['StuckWorkers'] = [(818, NIC, 'restore', 'unbind', 1790000000000000, ['wait_for', 'unbind_store']),
                                                           (819, '', 'open-groups', '', 1790000000000000, [])]
        out = self.succeeds('status')
        self.assertIn(f'Stuck worker: process 818 since 2026-09-21 14:13:20 UTC (restore: unbind, {NIC}), waits in wait_for unbind_store\n', out)
        self.assertIn('Stuck worker: process 819 since 2026-09-21 14:13:20 UTC (open-groups)\n', out)
        self.assertEqual([(w['pid'], w['device'], w['operation'], w['step'], w['stack'])
                          for w in self.json('status')['manager']['stuckWorkers']],
                         [(818, NIC, 'restore', 'unbind', ['wait_for', 'unbind_store']), (819, '', 'open-groups', '', [])])

    def test_device(self):
        out = self.succeeds('status', '0000:06:0d.0')
        for text in (EDU, 'Resets: none', '\ngroup 8\n', 'Viable: yes', '0xfee00000-0xfeefffff msi', 'Isolation: complete'):
            self.assertIn(text, out)
        self.assertNotIn('claim ', out)
        self.assertIn('Viable: no', self.succeeds('status', 'group:10'))
        self.assertNotIn('Quarantine', out)
        self.mock.set(device_path(EDU), HostCritical='/dev/sda1 is mounted on /', QuarantineCause='no-answer')
        self.assertIn('Quarantine: no-answer', self.succeeds('status', EDU))
        self.assertEqual(json.loads(self.succeeds('status', '--json', EDU))[0]['quarantineCause'], 'no-answer')
        self.assertIn('/dev/sda1 is mounted on /', self.succeeds('status', EDU))

    def test_claim_and_holders(self):
        claim = self.make_claim(EDU)
        self.mock.set(claim.path, State='draining', OpenFiles=[(12, 'qemu', ['group', 'device']), (13, 'x\x1b', ['cdev'])])
        for word in (claim.id, EDU):
            out = self.succeeds('status', word)
            self.assertIn(f'claim {claim.id}\n         State: draining', out)
            self.assertIn('Open in: 12 qemu (group device)\n', out)
            self.assertIn(r'13 x\x1b (cdev)', out)
            self.assertIn('2026-09-21 14:13:20 UTC', out)
        self.assertEqual(self.json('status', claim.id)[0]['holders'],
                         [{'pid': 12, 'command': 'qemu', 'files': ['group', 'device']},
                          {'pid': 13, 'command': 'x\x1b', 'files': ['cdev']}])

    def test_a_claim_whose_processes_are_stopped(self):
        claim = self.make_claim(EDU)
        self.mock.set(claim.path, StopAt=1790000000000000)
        out = self.succeeds('status', claim.id)
        self.assertIn('Ended: at 2026-09-21 14:13:20 UTC, if it is not given back; who keeps its devices open is stopped\n', out)
        self.assertNotIn('Stopping', out)
        self.mock.set(claim.path, State='draining', Stopping='asked')
        self.assertIn('Stopping: asked; next step at 2026-09-21 14:13:20 UTC\n', self.succeeds('status', claim.id))

    def test_a_request_in_the_queue(self):
        claim = self.make_claim(EDU)
        self.assertNotIn('Waits for', self.succeeds('status', claim.id))
        self.mock.set(claim.path, State='waiting', QueuePosition=2,
                      WaitsFor=['claim 0123456789abcdef of uid 1000, held', 'x\x1b'])
        out = self.succeeds('status', claim.id)
        self.assertIn('Position: 2 in the queue\n', out)
        self.assertIn('Waits for: claim 0123456789abcdef of uid 1000, held\n              : x\\x1b\n', out)

    def test_several(self):
        claim = self.make_claim(EDU)
        objects = self.json('status', NIC, 'group:8', claim.id)
        self.assertEqual([o['kind'] for o in objects], ['device', 'group', 'claim'])

    def test_unknown(self):
        self.assertEqual(self.fails(14, 'status', 'pci:0000:ff:00.0'),
                         'vfioctl: pci:0000:ff:00.0: There is no such device.\n')
        self.fails(16, 'status', '0123456789abcdef')
        self.fails(15, 'status', 'group:99')
        self.fails(10, 'status', 'group:x')
        self.fails(10, 'status', b'\xff')


class TaintTest(ClientTest):
    def set(self, *taints):
        self.mock.objects[ROOT_PATH][1]['Taints'] = [dict(t) for t in taints]

    def test_nothing_weakens(self):
        self.assertEqual(self.succeeds('taint'), 'The host is untainted.\n')
        self.assertEqual(json.loads(self.succeeds('taint', '--json')), [])
        self.set(CLEAN_TAINT)
        self.assertRegex(self.succeeds('taint', '--no-legend'), r'^no +2023-11-14 22:13:20 UTC +kernel +TAINT_WARN')

    def test_something_weakens(self):
        self.set(CLEAN_TAINT, WEAK_TAINT)
        status, out, err = self.vfioctl('taint')
        self.assertEqual((status, err), (39, ''))
        for text in ('WEAKENS', 'noiommu-claim', 'root (0)', EDU, 'dpdk (/etc/x.json:7)', r'a \x1b test'):
            self.assertIn(text, out)
        status, out, err = self.vfioctl('taint', '--json')
        self.assertEqual((status, err), (39, ''))
        self.assertEqual(json.loads(out)[1], {**WEAK_TAINT, 'uid': 0, 'sinceTime': '2023-11-14T22:13:20.000000Z'})

    def test_it_takes_no_arguments(self):
        self.fails(2, 'taint', 'x')

    def test_a_daemon_without_ledger(self):
        del self.mock.objects[ROOT_PATH][1]['Taints']
        self.assertIn('no ledger', self.fails(1, 'taint'))


class PlanTest(ClientTest):
    PLAN = {'backend': 'iommufd', 'rule': 'one', 'resetDemand': 'optional', 'groups': [8], 'members': [
        {'name': EDU, 'group': 8, 'disposition': 'claim', 'bind': True, 'targetDriver': 'vfio-pci',
         'originalDriver': '', 'originalOverride': '', 'reset': False, 'resetMethods': []},
        {'name': NIC, 'group': 8, 'disposition': 'park', 'bind': True, 'targetDriver': 'vfio-pci',
         'originalDriver': 'e1000e', 'originalOverride': '', 'reset': True, 'resetMethods': ['flr']},
        {'name': PORT, 'group': 8, 'disposition': 'none-needed', 'bind': False, 'targetDriver': '',
         'originalDriver': 'pcieport', 'originalOverride': '', 'reset': False, 'resetMethods': []}]}

    def test_plan(self):
        self.mock.plan = json.dumps(self.PLAN)
        lines = self.succeeds('plan', EDU).splitlines()
        self.assertEqual(re.split(r'  +', lines[1]), [EDU, '8', 'bind, hand out', '-', 'vfio-pci', 'NO'])
        self.assertEqual(re.split(r'  +', lines[2]), [NIC, '8', 'bind, park', 'e1000e', 'vfio-pci', '-'])
        self.assertEqual(re.split(r'  +', lines[3]), [PORT, '8', 'leave alone', 'pcieport', '-', '-'])
        self.assertEqual(self.json('plan', EDU), self.PLAN)
        self.assertNotRegex('\n'.join(lines), 'Tether:|Memlock:')
        self.mock.plan = json.dumps({**self.PLAN, 'tether': 'lifeline', 'memlock': 0})
        self.assertEqual(self.succeeds('plan', EDU).splitlines(), lines)
        self.mock.plan = json.dumps({**self.PLAN, 'tether': 'unit', 'memlock': 2 << 30})
        shown = self.succeeds('plan', EDU)
        self.assertRegex(shown, r'(?m)^ *Tether: unit$')
        self.assertRegex(shown, r'(?m)^ *Memlock: 2G ')

    def test_options_are_passed(self):
        self.succeeds('plan', EDU, NIC, '-b', 'group', '--reason=why')
        self.assertIn(('Plan', [EDU, NIC], {'backend': 'group', 'reason': 'why'}), self.mock.calls)
        self.succeeds('plan', EDU, '--require', 'pasid,dma-buf')
        self.assertIn(('Plan', [EDU], {'require': 'pasid,dma-buf'}), self.mock.calls)
        self.fails(2, 'policy', 'explain', EDU, '--require=pasid')
        self.succeeds('plan', EDU, '--network', 'mac=52:54:00:12:34:56,vlan=12')
        self.assertIn(('Plan', [EDU], {'network': 'mac=52:54:00:12:34:56,vlan=12'}), self.mock.calls)
        self.succeeds('plan', EDU, '--memlock=2G', '--untainted')
        self.assertIn(('Plan', [EDU], {'memlock': str(2 << 30), 'untainted': '1'}), self.mock.calls)
        self.assertIn('a size such as 16G', self.fails(2, 'plan', EDU, '--memlock=2g'))

    def test_refusal(self):
        self.mock.refusals['Plan'] = 'AccessDenied', f'{EDU}: No rule allows it.'
        self.assertEqual(self.fails(17, 'plan', EDU), f'vfioctl: {EDU}: No rule allows it.\n')
        self.assertEqual(json.loads(self.fails(17, '--json', 'plan', EDU)),
                         {'error': 'AccessDenied', 'message': f'{EDU}: No rule allows it.'})

    def test_answer_that_is_no_plan(self):
        for answer in ('', '[1]', '{'):
            self.mock.plan = answer
            self.fails(1, 'plan', EDU)


class ExecTest(ClientTest):
    def run_python(self, code, *arguments, options=('--device', EDU), **environment):
        return self.vfioctl('exec', *options, '--', sys.executable, '-c', code.replace('{', '{{'), *arguments, **environment)

    def wait_released(self):
        wait(lambda: not any('/claim/' in p for p in self.mock.objects), 'the claim ends')

    def test_fds_and_environment(self):
        status, out, err = self.run_python(SEES_FDS, options=['-d', '0000:06:0d.0', '-d', NIC, '-r', 'because'],
                                           LISTEN_PIDFDID='7', LISTEN_FDS='9')
        self.assertEqual((status, err), (0, ''))
        seen = json.loads(out)
        names = ['iommufd', 'device_pci_0000_06_0d.0', 'device_pci_0000_00_04.0', 'lifeline']
        self.assertEqual(seen['names'], names)
        self.assertEqual(seen['files'], ['iommufd', f'device:{EDU}', f'device:{NIC}', 'pipe'])
        self.assertEqual((seen['pid'], seen['count']), (True, '4'))
        # Beyond those: standard ones, and the directory that lists them.
        self.assertEqual(seen['open'][:7], [0, 1, 2, 3, 4, 5, 6])
        self.assertLessEqual(len(seen['open']), 8)
        self.assertEqual(seen['VFIOD_CLAIM'], list(self.mock.claims)[0])
        self.assertEqual((seen['VFIOD_BACKEND'], seen['VFIOD_DEVICES']), ('iommufd', f'{EDU},{NIC}'))
        self.assertNotIn('LISTEN_PIDFDID', seen)
        self.assertEqual(self.acquired(), [('Acquire', ['0000:06:0d.0', NIC], {'reason': 'because'})])
        self.wait_released()

    def test_group_backend(self):
        status, out, _ = self.run_python(SEES_FDS, options=['-d', EDU, '-b', 'group'])
        self.assertEqual(json.loads(out)['files'], ['container', 'group:8', 'pipe'])
        self.assertEqual((status, json.loads(out)['VFIOD_BACKEND']), (0, 'group'))

    def test_templates(self):
        self.assertEqual(
            self.succeeds('exec', '-d', '0000:06:0d.0', '-d', NIC, '--', 'echo', 'iommufd,fd={iommufd}', '{device}',
                          '{device:1}', f'{{device:{EDU}}}', '{device:0000:00:04.0}', '{{x} {{"a":{device:0}}'),
            'iommufd,fd=3 4 5 4 5 {x} {"a":4}\n')
        self.assertEqual(self.acquired()[-1][2], {'backend': 'iommufd'})
        self.assertEqual(self.succeeds('exec', '-d', NIC, '-d', EDU, 'echo', '{container}', '{group}', '{group:8}'),
                         '3 4 5\n')
        self.assertEqual(self.acquired()[-1][2], {'backend': 'group'})

    def test_qemu_form(self):
        self.assertEqual(
            self.succeeds('exec', '--device', '0000:06:0d.0', '--', 'echo', 'qemu-system-x86_64', '-object',
                          'iommufd,id=i0,fd={iommufd}', '-device', 'vfio-pci,iommufd=i0,fd={device}'),
            'qemu-system-x86_64 -object iommufd,id=i0,fd=3 -device vfio-pci,iommufd=i0,fd=4\n')

    def test_bad_templates_claim_nothing(self):
        for argument in ('{iommu}', '{device:1}', '{device:pci:0000:00:04.0}', '{group:10}', '{', '{device', '{}',
                         '{iommufd}{container}', '{lifeline}'):
            self.fails(2, 'exec', '-d', EDU, '--', 'echo', argument)
        self.fails(2, 'exec', '-d', EDU, '-b', 'group', '--', 'echo', '{device}')
        self.fails(14, 'exec', '-d', 'pci:0000:ff:00.0', '--', 'echo', '{device}')
        self.assertEqual(self.acquired(), [])

    def test_fd_that_did_not_come(self):
        self.mock.backend = 'group'
        original = self.mock._make_claim
        self.mock._make_claim = lambda devices, options: original(devices, {})
        self.assertIn('{iommufd}', self.fails(2, 'exec', '-d', EDU, '--', 'echo', '{iommufd}'))
        self.wait_released()

    def test_wait_with_a_daemon_without_a_queue(self):
        self.mock.unknown_options = {'wait'}
        self.assertEqual(self.succeeds('exec', '--wait=5', '-d', EDU, '--', 'echo', 'mine'), 'mine\n')
        with_wait, without = [options for _, _, options in self.acquired()]
        self.assertEqual((with_wait, without), ({'wait': '5'}, {}))

    def test_exit_status_is_the_commands(self):
        self.assertEqual(self.run_python('import sys; sys.exit(42)')[0], 42)
        self.assertEqual(self.run_python('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')[0],
                         -signal.SIGTERM)

    def program(self, name, text='#!/bin/sh\n', mode=0o755, directory='bin'):
        """Writes a program into a directory below the test's own; gives back its path."""
        os.makedirs(f'{self.directory}/{directory}', exist_ok=True)
        path = f'{self.directory}/{directory}/{name}'
        with open(path, 'w') as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def test_command_that_cannot_run(self):
        self.fails(127, 'exec', '-d', EDU, '--', 'no-such-command-anywhere')
        self.fails(126, 'exec', '-d', EDU, '--', '/etc/passwd')
        self.fails(126, 'exec', '-d', EDU, '--', '/etc')
        self.fails(127, 'exec', '-d', EDU, '--', '')
        self.fails(127, 'exec', '-d', EDU, '--', '/etc/passwd/x')
        self.fails(127, 'exec', '-d', EDU, '--', self.program('orphan', '#!/no/such/interpreter -x\n'))
        self.fails(126, 'exec', '-d', EDU, '--', self.program('orphan', '#! /etc/passwd\n'))
        self.assertEqual(json.loads(self.fails(127, '--json', 'exec', '-d', EDU, 'no-such-command-anywhere'))['error'],
                         'CommandNotFound')
        self.assertEqual(self.acquired(), [])

    def test_command_is_searched_as_execvp_does(self):
        self.program('same', 'echo one', mode=0o644, directory='first')
        self.fails(126, 'exec', '-d', EDU, 'same', PATH=f'/no/such:/etc/passwd:{self.directory}/first')
        self.assertEqual(self.acquired(), [])
        path = f'/no/such:{self.directory}/first:{self.directory}/second:/bin:/usr/bin'
        self.program('same', 'echo two $0', directory='second')  # without "#!": for the shell
        self.assertEqual(self.succeeds('exec', '-d', EDU, 'same', PATH=path), f'two {self.directory}/second/same\n')
        self.assertEqual(self.succeeds('exec', '-d', EDU, 'sh', '-c', 'echo $0', PATH=path), 'sh\n')

    def qemu(self, version):
        return self.program(f'qemu-{version}', f'#!/bin/sh\nif [ "$*" = --version ]; then echo "QEMU emulator version '
                            f'{version}"; else echo "$*"; fi\n')

    def planned(self):
        return [c[2] for c in self.mock.calls if c[0] == 'Plan']

    def test_qemu(self):
        out = self.succeeds('exec', '-d', EDU, '-d', NIC, '--qemu', '--', self.qemu('9.2.0'), '-m', '64M')
        self.assertEqual(out, '-m 64M -object iommufd,id=vfiod,fd=3 -device vfio-pci,id=pci-0000-06-0d.0,iommufd=vfiod,fd=4 '
                         '-device vfio-pci,id=pci-0000-00-04.0,iommufd=vfiod,fd=5\n')
        self.assertEqual(self.acquired()[-1][2], {'backend': 'iommufd', 'grant': 'fd'})

    def test_qemu_with_groups(self):
        out = self.succeeds('exec', '-d', EDU, '--qemu', '-b', 'group', self.qemu('9.2.0'))
        self.assertEqual(out, '-device vfio-pci,id=pci-0000-06-0d.0,host=0000:06:0d.0\n')
        self.assertEqual(self.acquired()[-1][2], {'backend': 'group', 'grant': 'node'})
        # One that is too old for iommufd, and a kernel without it.
        self.succeeds('exec', '-d', EDU, '--qemu', self.qemu('8.2.1'))
        self.assertEqual(self.acquired()[-1][2], {'backend': 'group', 'grant': 'node'})
        self.assertEqual(self.planned()[-1], {'backend': 'group', 'grant': 'node'})
        self.mock.planner = lambda options: options['backend'] == 'group' or 'BackendUnavailable'
        self.succeeds('exec', '-d', EDU, '--qemu', self.qemu('9.2.0'))
        self.assertEqual(self.acquired()[-1][2], {'backend': 'group', 'grant': 'node'})

    def test_qemu_that_cannot_have_it(self):
        n = len(self.acquired())
        self.assertIn('QEMU 8.2', self.fails(26, 'exec', '-d', EDU, '--qemu', '-b', 'iommufd', self.qemu('8.2.1')))
        self.fails(26, 'exec', '-d', EDU, '--qemu', '-b', 'noiommu', self.qemu('9.2.0'))
        self.assertIn('not QEMU', self.fails(2, 'exec', '-d', EDU, '--qemu', 'echo'))
        self.fails(127, 'exec', '-d', EDU, '--qemu', 'no-such-command-anywhere')
        self.fails(2, 'exec', '-d', EDU, '--qemu', '--cloud-hypervisor', self.qemu('9.2.0'))
        self.mock.planner = lambda options: 'HostCritical' if options['backend'] == 'iommufd' else 'AccessDenied'
        self.fails(25, 'exec', '-d', EDU, '--qemu', self.qemu('9.2.0'))
        # What is reported is the refusal of the better backend, unless the host does not have it.
        for iommufd, group, status in (('AccessDenied', 'BackendUnavailable', 17), ('BackendUnavailable', 'AccessDenied', 17),
                                       ('BackendUnavailable', 'BackendUnavailable', 26), ('AccessDenied', 'HostCritical', 25)):
            self.mock.planner = lambda options: iommufd if options['backend'] == 'iommufd' else group
            self.fails(status, 'exec', '-d', EDU, '--qemu', self.qemu('9.2.0'))
        # Who did not request the group backend learns why it was.
        reason = 'QEMU 8.2 takes no file descriptors (QEMU does since 9.0), so the backend group with --grant=node was requested.'
        for options in ([], ['--print']):
            self.mock.planner = lambda options: 'AccessDenied'
            self.assertIn('no. ' + reason, self.fails(17, 'exec', '-d', EDU, '--qemu', *options, self.qemu('8.2.1')))
            self.assertNotIn('since 9.0', self.fails(17, 'exec', '-d', EDU, '--qemu', *options, self.qemu('9.2.0')))
            self.mock.planner = lambda options: 'HostCritical'
            self.assertNotIn('since 9.0', self.fails(25, 'exec', '-d', EDU, '--qemu', *options, self.qemu('8.2.1')))
        self.assertEqual(len(self.acquired()), n)

    def test_grant_that_the_program_cannot_use(self):
        for backend, grant, other in (('iommufd', 'fd', 'node'), ('group', 'node', 'fd')):
            self.assertIn(f'QEMU 9.2 uses the backend {backend} with --grant={grant}, not --grant={other}', self.fails(
                2, 'exec', '-d', EDU, '--qemu', '-b', backend, '--grant', other, self.qemu('9.2.0')))
        self.assertEqual((self.planned(), self.acquired()), ([], []))
        self.succeeds('exec', '-d', EDU, '--qemu', '--grant', 'node', self.qemu('9.2.0'))
        self.succeeds('exec', '-d', EDU, '--qemu', '--grant', 'none', self.qemu('9.2.0'))
        self.assertEqual([a[2] for a in self.acquired()], [{'backend': 'group', 'grant': g} for g in ('node', 'none')])

    def test_cloud_hypervisor(self):
        text = '#!/bin/sh\nif [ "$*" = --help ]; then echo "--platform iommufd=on|off,%s"; else echo "$*"; fi\n'
        program = self.program('ch', text % 'iommufd_fd=<fd>')
        self.assertEqual(self.succeeds('exec', '-d', EDU, '--cloud-hypervisor', program, '--platform', 'serial_number=7'),
                         '--platform serial_number=7,iommufd=on,iommufd_fd=3 --device id=pci-0000-06-0d.0,fd=4\n')
        self.assertIn('iommufd_fd', self.fails(26, 'exec', '-d', EDU, '--cloud-hypervisor', self.program('ch', text % '')))
        self.assertIn('iommufd only', self.fails(26, 'exec', '-d', EDU, '--cloud-hypervisor', '-b', 'group', program))

    def test_print(self):
        self.mock.plan = '{"backend": "iommufd", "groups": [8]}'
        self.assertEqual(
            self.succeeds('exec', '-d', EDU, '--print', 'echo', 'fd={device}', "it's", ''),
            f'LISTEN_FDS=3\nLISTEN_FDNAMES=iommufd:device_pci_0000_06_0d.0:lifeline\nVFIOD_BACKEND=iommufd\n'
            f"VFIOD_DEVICES={EDU}\necho fd=4 'it'\\''s' ''\n")
        shown = json.loads(self.succeeds('--json', 'exec', '-d', EDU, '--print', '--qemu', self.qemu('9.0.0')))
        self.assertEqual(shown['command'][1:], ['-object', 'iommufd,id=vfiod,fd=3', '-device',
                                                'vfio-pci,id=pci-0000-06-0d.0,iommufd=vfiod,fd=4'])
        self.assertEqual(shown['environment']['LISTEN_FDS'], '3')
        self.fails(127, 'exec', '-d', EDU, '--print', 'no-such-command-anywhere')
        self.mock.refusals['Plan'] = 'AccessDenied', f'{EDU}: No rule allows it.'
        self.fails(17, 'exec', '-d', EDU, '--print', 'true')
        self.assertEqual(self.acquired(), [])

    def test_progress_on_a_terminal(self):
        mock = MockVarlink(self.directory)
        self.addCleanup(mock.close)
        shown = threading.Event()
        original = mock.answers['Acquire']
        mock.answers['Acquire'] = lambda p, f: shown.wait(30) and original(p, f)
        ours, theirs = pty.openpty()
        program = self.start('exec', '-d', EDU, 'echo', 'done', terminal=theirs, stdout=None, VFIOD_SOCKET=mock.path)
        os.close(theirs)
        said = b''
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 4096):
                said += chunk
                if f'Claiming {EDU}... 0 s'.encode() in said:
                    shown.set()
        os.close(ours)
        self.assertEqual(program.end()[:2], (0, 'done\n'))
        self.assertTrue(said.startswith(b'\rvfioctl: Claiming'), said)
        self.assertTrue(said.endswith(b'\x1b[K\r\x1b[K'), said)
        # Nothing in pipes, however long it takes.
        mock.answers['Acquire'] = lambda p, f: threading.Event().wait(0.5) or original(p, f)
        self.assertEqual(self.succeeds('exec', '-d', EDU, 'echo', 'done', VFIOD_SOCKET=mock.path), 'done\n')

    def test_connection_as_tether(self):
        self.assertIn('--tether=connection', self.fails(2, 'exec', '-d', EDU, '--tether=connection', 'true'))
        self.assertEqual(self.acquired(), [])

    def test_options_of_a_claim(self):
        self.succeeds('exec', '-d', EDU, '--grant', 'node', '--tether=process', '--cookie', 'a-b', 'true')
        self.assertEqual(self.acquired()[-1][2], {'grant': 'node', 'tether': 'process', 'cookie': 'a-b'})

    def test_nodes_over_varlink(self):
        mock = MockVarlink(self.directory)
        self.addCleanup(mock.close)
        original = mock.answers['Acquire']
        command = ['exec', '-d', EDU, '--grant', 'node', 'sh', '-c', 'echo "nodes:$VFIOD_NODES"']
        for nodes, status, out in ((['/dev/iommu', '/dev/vfio/devices/vfio0'], 0, 'nodes:/dev/iommu,/dev/vfio/devices/vfio0\n'),
                                   ([], 0, 'nodes:\n'), ('/dev/iommu', 0, 'nodes:\n'), ([7], 1, '')):
            mock.answers['Acquire'] = lambda p, f: ((found := original(p, f))[0] | {'nodes': nodes}, found[1])
            self.assertEqual(self.vfioctl(*command, VFIOD_SOCKET=mock.path)[:2], (status, out))

    def test_options_of_the_command_are_its_own(self):
        self.assertEqual(self.succeeds('exec', '-d', EDU, 'echo', '--json', '-d', 'x'), '--json -d x\n')

    def test_claim_lives_as_long_as_a_child_keeps_the_lifeline(self):
        # A child of the command's reads our fifo until we close it.
        fifo = f'{self.directory}/fifo'
        os.mkfifo(fifo)
        ours = os.open(fifo, os.O_RDWR)
        self.assertEqual(self.run_python(f'import os\nf = open({fifo!r})\nif os.fork() == 0: f.read()')[0], 0)
        claim = list(self.mock.claims.values())[0]
        # The command is gone, and so would be its end by now: the bus has answered since.
        self.assertEqual(self.json('status', claim.id)[0]['state'], 'held')
        os.close(ours)
        self.wait_released()

    def test_refusals(self):
        for name, status in (('AccessDenied', 17), ('DeviceClaimed', 20), ('HostCritical', 25), ('Internal', 35)):
            self.mock.refusals['Acquire'] = name, f'{EDU}: no.'
            self.assertEqual(self.fails(status, 'exec', '-d', EDU, 'true'), f'vfioctl: {EDU}: no.\n')
        self.mock.refusals['Acquire'] = 'NameOfALaterVersion', 'no.'
        self.fails(1, 'exec', '-d', EDU, 'true')


class MemlockTest(ClientTest):
    def test_numbers(self):
        self.assertEqual(self.succeeds('memlock-for', '--ram', '64G', '--devices', '2', '--viommu').splitlines()[0], '129G')
        self.assertEqual(self.json('memlock-for', '--ram=64G', '--devices=2', '--viommu=nested')['bytes'], 65 << 30)
        self.assertEqual(self.json('memlock-for', '--ram=64G')['addressSpaces'], 1)
        for arguments in ([], ['--ram=x'], ['--ram=0'], ['--ram=1G', '--devices=0'], ['--ram=1G', '--viommu=x'],
                          ['--ram=8388608T'], ['--ram=1G', 'x']):
            self.fails(2, 'memlock-for', *arguments)


class HotplugTest(ClientTest):
    ID = 'pci-0000-06-0d.0'

    def setUp(self):
        super().setUp()
        self.broker = MockVarlink(self.directory)
        self.addCleanup(self.broker.close)

    def qemu(self, **options):
        qemu = FakeQmp(self.directory, **options)
        self.addCleanup(qemu.close)
        return qemu

    def plug(self, qemu, *arguments, argument=''):
        return self.start('exec', '-d', EDU, '--hotplug', qemu.path + argument, *arguments, VFIOD_SOCKET=self.broker.path)

    def wait_closed(self):
        for fd in self.broker.lifelines.values():
            self.assertEqual(os.read(fd, 1), b'')

    def test_in_and_out(self):
        qemu = self.qemu()
        program = self.plug(qemu, argument=',bus=rp0')
        qemu.wait_for('device_add')
        self.assertEqual(qemu.commands, [
            ('qmp_capabilities', {}), ('qom-list', {'path': '/objects'}),
            ('getfd', {'fdname': 'vfiod-iommufd'}, 'iommufd'),
            ('object-add', {'qom-type': 'iommufd', 'id': 'vfiod', 'fd': 'vfiod-iommufd'}),
            ('getfd', {'fdname': f'vfiod-{self.ID}'}, f'device:{EDU}'),
            ('device_add', {'driver': 'vfio-pci', 'id': self.ID, 'bus': 'rp0', 'iommufd': 'vfiod', 'fd': f'vfiod-{self.ID}'})])
        self.assertEqual(qemu.fds, {})
        self.assertEqual([c[1]['backend'] for c in self.broker.calls if c[0] == 'Acquire'], ['iommufd'])
        wait(lambda: program.text() == f'0123456789abcdef: {EDU} is in the virtual machine as {self.ID}\n', 'it is shown')
        # What is left is the lifeline: QEMU alone has the device open.
        files = [os.readlink(f'/proc/{program.process.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{program.process.pid}/fd')]
        self.assertFalse([f for f in files if 'fd:' in f], files)
        qemu.event('DEVICE_DELETED', device='another', path='/x')
        qemu.event('DEVICE_DELETED', path='/machine/peripheral/x')
        qemu.event('DEVICE_DELETED', device=self.ID, path='/x')
        self.assertEqual(program.end()[0], 0)
        self.assertEqual(qemu.commands[-1], ('object-del', {'id': 'vfiod'}))
        self.wait_closed()

    def test_virtual_machine_with_an_iommufd(self):
        qemu = self.qemu(objects=['its-own'])
        program = self.plug(qemu)
        qemu.wait_for('device_add')
        self.assertEqual(qemu.commands[-1][1]['iommufd'], 'its-own')
        self.assertNotIn('object-add', [c[0] for c in qemu.commands])
        qemu.event('DEVICE_DELETED', device=self.ID)
        self.assertEqual(program.end()[0], 0)
        self.assertNotIn('object-del', [c[0] for c in qemu.commands])

    def test_failures_leave_nothing(self):
        for command, undone in (('device_add', ['closefd', 'object-del']), ('object-add', ['closefd']), ('getfd', []),
                                ('qom-list', [])):
            qemu = self.qemu()
            qemu.failures[command] = "Bus 'pcie.0' does not support hotplugging"
            status, out, err = self.plug(qemu).end()
            self.assertEqual((status, out), (1, ''))
            self.assertIn(f'QEMU: {command}: Bus', err)
            commands = [c[0] for c in qemu.commands]
            self.assertEqual(commands[commands.index(command) + 1:], undone)
            self.assertEqual(qemu.fds, {})
            self.wait_closed()
            qemu.close()
            os.unlink(qemu.path)

    def test_end_of_qemu(self):
        qemu = self.qemu()
        program = self.plug(qemu)
        qemu.wait_for('device_add')
        qemu.close()
        self.assertEqual(program.end()[0], 0)
        self.wait_closed()

    def test_signals(self):
        qemu = self.qemu()
        program = self.plug(qemu)
        wait(lambda: program.text(), 'the device is in')
        program.process.terminate()
        qemu.wait_for('device_del')
        self.assertEqual(qemu.commands[-1], ('device_del', {'id': self.ID}))
        qemu.event('DEVICE_UNPLUG_GUEST_ERROR', device=self.ID)
        wait(lambda: 'the guest does not give' in program.text(program.err), 'the guest is heard')
        program.process.terminate()  # once more
        self.assertEqual(program.end()[0], 0)
        self.wait_closed()

    def test_claim_that_is_released_from_outside(self):
        qemu = self.qemu()
        program = self.plug(qemu)
        wait(lambda: program.text() and self.broker.monitors, 'the device is in')
        self.broker.report(event='changed', kind='claim', claim={'id': '0123456789abcdef', 'state': 'draining'})
        qemu.wait_for('device_del')
        qemu.event('DEVICE_DELETED', device=self.ID)
        status, _, err = program.end()
        self.assertEqual(status, 1)
        self.assertIn('draining', err)

    def test_groups(self):
        qemu = self.qemu(version=(8, 2))
        program = self.plug(qemu)
        qemu.wait_for('device_add')
        self.assertEqual(qemu.commands, [('qmp_capabilities', {}), (
            'device_add', {'driver': 'vfio-pci', 'id': self.ID, 'host': '0000:06:0d.0'})])
        self.assertEqual([(c[1]['backend'], c[1]['grant']) for c in self.broker.calls if c[0] == 'Acquire'],
                         [('group', 'node')])
        qemu.event('DEVICE_DELETED', device=self.ID)
        self.assertEqual(program.end()[0], 0)

    def test_a_device_that_needs_a_token(self):
        self.broker.last_needs_token = True
        qemu = self.qemu()
        program = self.plug(qemu)
        qemu.wait_for('device_add')
        self.assertEqual(next(c[1]['vf-token'] for c in qemu.commands if c[0] == 'device_add'), TOKEN)
        qemu.event('DEVICE_DELETED', device=self.ID)
        self.assertEqual(program.end()[0], 0)

    def test_flood_of_events(self):
        qemu = self.qemu()
        qemu.flood = True
        status, out, err = self.plug(qemu).end()
        self.assertEqual((status, out), (1, ''))
        self.assertIn('QEMU does not answer', err)

    def test_earlier_device_with_this_name_leaves(self):
        for command in ('getfd', 'device_add'):
            qemu = self.qemu()
            qemu.before[command] = self.ID
            program = self.plug(qemu)
            wait(lambda: program.text() == f'0123456789abcdef: {EDU} is in the virtual machine as {self.ID}\n', 'it is shown')
            qemu.event('DEVICE_DELETED', device=self.ID)
            self.assertEqual(program.end()[0], 0)
            self.wait_closed()
            qemu.close()
            os.unlink(qemu.path)

    def test_device_that_leaves_while_another_comes(self):
        qemu = self.qemu()
        second = 'pci-0000-00-04.0'
        qemu.before[second] = self.ID
        program = self.plug(qemu, '-d', NIC)
        wait(program.text, 'the device is in')
        qemu.event('DEVICE_DELETED', device=second)
        status, out, _ = program.end()
        self.assertEqual((status, out), (0, f'0123456789abcdef: {NIC} is in the virtual machine as {second}\n'))

    def test_what_is_no_monitor(self):
        qemu = self.qemu()
        qemu.greeting = {'hello': 'world'}
        self.assertIn('not a QMP socket', self.plug(qemu).end()[2])
        for path in ('/nonexistent', '/etc/passwd', self.directory + '/' + 'x' * 200):
            self.assertIn(path, self.fails(1, 'exec', '-d', EDU, '--hotplug', path))
        for arguments in (['true'], ['--memlock=1G'], ['--print'], ['--cloud-hypervisor']):
            self.fails(2, 'exec', '-d', EDU, '--hotplug', qemu.path, *arguments)
        self.fails(2, 'exec', '-d', EDU, '--hotplug', qemu.path + ',bus=a,bus=b')
        self.assertEqual(self.broker.calls + self.acquired(), [])


class HoldTest(ClientTest):
    def hold(self, *arguments):
        program = self.start('hold', '--json', *arguments)
        wait(lambda: '\n' in program.text() or program.process.poll() is not None, 'the claim is shown')
        return program, program.lines()[0]

    def test_until_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            program, shown = self.hold(EDU, '--reason', 'test')
            claim = self.mock.claims[shown['claim']]
            self.assertEqual((shown['backend'], shown['devices'], shown['pid']),
                             ('iommufd', [EDU], program.process.pid))
            self.assertEqual(shown['fds'], ['iommufd', f'device:{EDU}', 'lifeline'])
            self.assertIn(claim.path, self.mock.objects)
            program.process.send_signal(number)
            self.assertEqual(program.end()[0], 0)
            wait(lambda: claim.path not in self.mock.objects, 'the claim ends')

    def test_killed(self):
        program, shown = self.hold(EDU)
        program.process.kill()
        wait(lambda: self.mock.claims[shown['claim']].path not in self.mock.objects, 'the claim ends')

    def test_ended_from_outside(self):
        program, shown = self.hold(EDU)
        self.mock.holders = [(program.process.pid, 'vfioctl', ['cdev'])]
        self.mock.end_claim(self.mock.claims[shown['claim']])
        status, _, err = program.end()
        self.assertEqual(status, 1)
        self.assertEqual(json.loads(err)['message'], f'{shown["claim"]}: the claim was released, or its device is gone (draining).')

    def test_ended_before_it_was_announced(self):
        program, shown = self.hold(EDU)
        claim = self.mock.claims[shown['claim']]
        wait(lambda: ('GetAll', claim.path) in self.mock.calls, 'it is followed')
        self.mock.objects[claim.path][1]['State'] = 'draining'
        self.mock.add(claim.path, 'Claim', announce=True, **self.mock.objects[claim.path][1])
        status, _, err = program.end()
        self.assertEqual(status, 1)
        self.assertIn('(draining)', err)

    def test_strangers_cannot_make_it_ask_again(self):
        program, shown = self.hold(EDU)
        claim = self.mock.claims[shown['claim']]

        def looks():
            return self.mock.calls.count(('GetAll', claim.path))
        wait(lambda: looks() == 1, 'it has looked')
        self.forge(program, claim.path, PROPERTIES, 'PropertiesChanged', 'org.vfiod1.Claim',
                   dbus.Dictionary({}, signature='sv'), dbus.Array(['State'], signature='s'))
        self.forge(program, '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'NameOwnerChanged', NAME,
                   self.mock.link.get_unique_name(), '')
        self.mock.set(claim.path, State='draining')
        self.assertEqual(program.end()[0], 1)
        self.assertEqual(looks(), 2)

    def test_outlives_the_bus(self):
        program, _ = self.hold(EDU)
        self.mock.link.close()
        self.bus.stop()
        wait(lambda: 'Holding on.' in program.text(program.err), 'it has seen that')
        self.assertIsNone(program.process.poll())
        program.process.terminate()
        self.assertEqual(program.end()[0], 0)

    def test_outlives_the_daemon(self):
        program, shown = self.hold(EDU)
        claim = self.mock.claims[shown['claim']]
        properties = self.mock.objects[claim.path]
        self.mock.link.close()
        wait(lambda: 'Holding on.' in program.text(program.err), 'it has seen that')
        self.assertEqual(properties[1]['State'], 'held')
        self.assertIsNone(program.process.poll())
        program.process.terminate()
        self.assertEqual(program.end()[0], 0)

    def test_text(self):
        program = self.start('hold', EDU)
        wait(lambda: 'Held until interrupted.' in program.text(), 'the claim is shown')
        self.assertIn(f'Got: iommufd\n              : device:{EDU}', program.text())
        program.process.terminate()
        program.end()


class ReleaseTest(ClientTest):
    def test_waits_until_nobody_has_it_open(self):
        claim = self.make_claim(EDU)
        self.mock.holders = [(77, 'qemu', ['cdev'])]
        program = self.start('release', '--json', claim.id)
        wait(lambda: '"draining"' in program.text(), 'the claim drains')
        self.assertIsNone(program.process.poll())
        self.mock.set(claim.path, State='resetting', OpenFiles=[])
        wait(lambda: '"resetting"' in program.text(), 'the device is reset')
        self.mock.remove(claim.path)
        self.assertEqual(program.end()[0], 0)
        self.assertEqual(program.lines()[-3:], [
            {'claim': claim.id, 'state': 'draining', 'holders': [{'pid': 77, 'command': 'qemu', 'files': ['cdev']}]},
            {'claim': claim.id, 'state': 'resetting', 'holders': []},
            {'claim': claim.id, 'state': 'gone', 'holders': []}])

    def test_by_device_as_text(self):
        claim = self.make_claim(EDU)
        self.assertEqual(self.succeeds('release', '0000:06:0d.0').splitlines()[-1], f'{claim.id}: gone')
        self.assertNotIn(claim.path, self.mock.objects)

    def test_several(self):
        claims = [self.make_claim(EDU), self.make_claim(NIC)]
        self.succeeds('release', *(c.id for c in claims))
        self.assertFalse([c for c in claims if c.path in self.mock.objects])

    def test_no_wait(self):
        claim = self.make_claim(EDU)
        self.mock.holders = [(77, 'qemu', ['cdev'])]
        self.assertEqual(self.succeeds('release', '--no-wait', claim.id), '')
        wait(lambda: self.mock.objects[claim.path][1]['State'] == 'draining', 'the claim drains')

    def test_quarantine(self):
        claim = self.make_claim(EDU)
        self.mock.holders = [(77, 'qemu', ['cdev'])]
        program = self.start('release', claim.id)
        wait(lambda: 'draining' in program.text(), 'the claim drains')
        self.mock.set(claim.path, State='quarantined', Failure='The reset failed.')
        status, _, err = program.end()
        self.assertEqual((status, err), (21, f'vfioctl: {claim.id}: The reset failed.\n'))

    def test_lifting_a_quarantine(self):
        claim = self.make_claim(EDU)
        self.mock.set(claim.path, State='quarantined', Failure='The reset failed.')
        self.assertIn(f'{claim.id}: gone', self.succeeds('release', claim.id))

    def test_refusals(self):
        claim = self.make_claim(EDU)
        self.assertEqual(self.fails(16, 'release', NIC), f'vfioctl: {NIC}: the device is not claimed.\n')
        self.fails(16, 'release', '0123456789abcdef')
        self.fails(16, 'release', '--no-wait', '0123456789abcdef')
        self.mock.refusals['Release'] = 'NotOwner', f'{claim.id}: It is somebody else\'s.'
        self.fails(19, 'release', claim.id)

    def test_daemon_dies_meanwhile(self):
        claim = self.make_claim(EDU)
        self.mock.holders = [(77, 'qemu', ['cdev'])]
        program = self.start('release', claim.id)
        wait(lambda: 'draining' in program.text(), 'the claim drains')
        self.mock.link.close()
        status, _, err = program.end()
        self.assertEqual(status, 3, err)


class MonitorTest(ClientTest):
    def monitor(self, *arguments):
        program = self.start('monitor', '--json', *arguments)
        self.wait_lines(program, 1)
        self.assertEqual(program.lines()[0]['event'], 'connected')
        return program

    def wait_lines(self, program, n):
        wait(lambda: program.text().count('\n') >= n, f'{n} lines')
        return [{k: v for k, v in line.items() if k not in ('timestamp', 'time')} for line in program.lines()]

    def test_json(self):
        program = self.monitor()
        self.mock.add_device('pci:0000:00:05.0', 10, announce=True)
        self.mock.set(device_path('pci:0000:00:05.0'), Driver='vfio-pci', Claim='/')
        self.mock.set(group_path(10), Viable=True)
        self.mock.remove(device_path('pci:0000:00:05.0'))
        lines = self.wait_lines(program, 5)[1:]
        self.assertEqual(lines[0]['properties'].pop('driver'), 'e1000e')
        del lines[0]['properties']
        self.assertEqual(lines, [
            {'event': 'added', 'kind': 'device', 'name': 'pci:0000:00:05.0'},
            {'event': 'changed', 'kind': 'device', 'name': 'pci:0000:00:05.0',
             'properties': {'driver': 'vfio-pci', 'claim': None}},
            {'event': 'changed', 'kind': 'group', 'name': 10, 'properties': {'viable': True}},
            {'event': 'removed', 'kind': 'device', 'name': 'pci:0000:00:05.0'}])

    def test_text(self):
        program = self.start('monitor')
        self.wait_text(program, ' connected manager version=9.8.7 policyState=loaded devices=0 claims=0\n')
        self.mock.add_device('pci:0000:00:05.0', 10, announce=True, Driver='x\x1by')
        self.mock.set(ROOT_PATH, PolicyState='stale')
        self.wait_text(program, 'changed manager policyState=stale\n')
        self.assertRegex(program.text(), r'(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ added device pci:0000:00:05.0 driver=x\\x1by group=10 '
                                         r'state=free$')

    def test_people_read_names_and_times(self):
        claim = self.make_claim(EDU)
        program = self.start('monitor')
        self.wait_text(program, ' connected manager ')
        self.mock.remove(claim.path)
        claim = self.make_claim(EDU)
        self.wait_text(program, f' owner={pwd.getpwuid(os.getuid()).pw_name} ({os.getuid()})')
        self.mock.set(claim.path, Eviction='announced', EvictAt=1700000000000000)
        wait(lambda: re.search(r' evictAt=2023-11-1\d \d\d:\d\d:20 \S+', program.text()), 'a time')

    def wait_text(self, program, text):
        wait(lambda: text in program.text(), text)

    def test_daemon_restarts(self):
        program = self.monitor()
        self.mock.link.close()
        self.assertEqual(self.wait_lines(program, 2)[1], {'event': 'disconnected', 'kind': 'manager', 'name': ''})
        second = MockVfiod(self.address, self.directory)
        self.addCleanup(second.close)
        self.assertEqual(self.wait_lines(program, 3)[2]['event'], 'connected')
        second.add_device(EDU, 8, announce=True)
        self.assertEqual(self.wait_lines(program, 4)[3]['name'], EDU)

    def test_strangers_are_not_heard(self):
        program = self.monitor()
        self.forge(program, ROOT_PATH, PROPERTIES, 'PropertiesChanged', 'org.vfiod1.Manager',
                   dbus.Dictionary({'PolicyState': 'broken'}, signature='sv'), dbus.Array([], signature='s'))
        self.forge(program, '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'NameOwnerChanged', NAME,
                   self.mock.link.get_unique_name(), '')
        self.mock.set(ROOT_PATH, PolicyState='stale')
        self.assertEqual(self.wait_lines(program, 2)[1]['properties'], {'policyState': 'stale'})

    def test_bus_goes(self):
        program = self.monitor()
        self.mock.link.close()
        self.bus.stop()
        status, _, err = program.end()
        self.assertEqual(status, 3)
        self.assertEqual(json.loads(err)['error'], 'Unreachable')


class ReloadTest(ClientTest):
    def test_reload(self):
        self.assertEqual(self.succeeds('reload'), 'Policy reloaded: 3 rules\n')
        self.assertEqual(self.json('reload')['policyRules'], 3)
        self.assertIn(('ReloadPolicy',), self.mock.calls)

    def test_errors_are_lines(self):
        self.mock.refusals['ReloadPolicy'] = 'PolicyBroken', 'a.json:1:2: error: x\x1b\nb.json:3:4: error: y'
        self.assertEqual(self.fails(18, 'reload'), 'vfioctl: a.json:1:2: error: x\\x1b\nb.json:3:4: error: y\n')

    def test_all_errors_are_told(self):
        self.mock.refusals['ReloadPolicy'] = 'PolicyBroken', 'a.json:1:2: error: x; and 40 more'
        self.mock.objects[ROOT_PATH][1]['PolicyErrors'] = [f'a.json:{i}:2: error: x\x1b' for i in range(41)]
        err = self.fails(18, 'reload')
        self.assertEqual(err.splitlines()[40], r'a.json:40:2: error: x\x1b')
        self.assertEqual(err.splitlines()[41:], ['vfioctl: The policy has 41 errors and was not loaded. '
                                                 'Fix the files and reload.'])
        status, _, err = self.vfioctl('reload', '--json')
        self.assertEqual((status, json.loads(err)['message']), (18, 'a.json:1:2: error: x; and 40 more'))

    def test_warnings_are_told(self):
        self.mock.objects[ROOT_PATH][1].update(
            PolicyWarnings=['a.json:1:2: warning: y'], ShadowErrors=['s.json:3:4: error: z'])
        self.assertEqual(self.vfioctl('reload'),
                         (0, 'Policy reloaded: 3 rules\n',
                          'a.json:1:2: warning: y\nIn shadow: s.json:3:4: error: z\n'))


class UsageTest(ClientTest):
    def test_wrong_usage(self):
        for arguments in ([], ['lsit'], ['list', 'x'], ['plan'], ['exec', 'true'], ['exec', '-d', EDU], ['hold'],
                          ['release'], ['--colour', 'list'], ['list', '--color=pink'], ['list', '-x'],
                          ['list', '--device=x'], ['hold', EDU, '--backend'], ['-b', 'group', 'plan', EDU],
                          ['monitor', '--groups'], ['reload', 'x']):
            err = self.fails(2, *arguments)
            self.assertTrue(err.startswith('vfioctl: '), err)
        self.assertIn('--device: ', self.fails(2, 'list', '-d', 'x'))
        # Before anything is asked or shown.
        for verb, meant in (('list', 'driver'), ('status', 'devices'), ('taint', 'device')):
            self.assertIn(f"did you mean '{meant}'? The columns are ", self.fails(2, verb, f'--sort={meant[:-1]}'))
        self.assertIn('--sort=nonsense: there is no such column. The columns are claim, ', self.fails(2, 'status', '--sort=nonsense'))
        self.assertIn("did you mean 'list'?", self.fails(2, 'lsit'))
        self.assertEqual(json.loads(self.fails(2, 'lsit', '--json'))['error'], 'UsageError')
        self.assertEqual(self.acquired(), [])

    def test_help_and_version(self):
        self.assertRegex(self.succeeds('--version'), r'^vfioctl \d+\.\d+\.\d+\n$')
        text = self.succeeds('--help')
        for verb in ('list', 'status', 'plan', 'exec', 'hold', 'release', 'monitor', 'reload'):
            self.assertRegex(text, rf'\n  {verb}[ \n]')
        self.assertEqual([line for line in text.splitlines() if len(line) > 80], [])
        plan = self.succeeds('plan', '-h')
        self.assertTrue(plan.startswith('vfioctl plan [OPTION…] DEVICE…\n'), plan)
        self.assertIn('--memlock=SIZE', plan)
        self.assertNotIn('--no-wait', plan)
        self.assertIn('--connect=URI', self.succeeds('virt', '--help'))
        self.assertRegex(self.fails(1, 'virt', 'start', '--connect', 'test:///default', 'x'), 'vfioctl.virt')
        self.assertEqual(self.succeeds('help'), text)
        self.assertEqual(self.succeeds('help', 'plan'), plan)
        self.assertEqual(self.succeeds('help', 'policy', 'check'), self.succeeds('policy', 'check', '--help'))
        policy = self.succeeds('help', 'policy')
        self.assertIn('  policy explain ', policy)
        self.assertNotIn('  hold ', policy)
        self.assertNotIn('--qemu', policy)
        self.assertEqual([self.succeeds('policy', option) for option in ('--help', '-h')], [policy, policy])
        self.assertEqual([line for line in policy.splitlines() if len(line) > 80], [])
        self.assertIn("did you mean 'list'?", self.fails(2, 'help', 'lsit'))
        self.assertIn('plan: expected one verb', self.fails(2, 'help', 'list', 'plan'))

    def test_bus_that_closes_the_connection(self):
        # dbus-daemon does so with a user who has no account.
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'bus')
            with socket.socket(socket.AF_UNIX) as bus:
                bus.bind(path)
                bus.listen()
                threading.Thread(target=lambda: bus.accept()[0].close(), daemon=True).start()
                err = self.fails(3, '--json', 'list', DBUS_SYSTEM_BUS_ADDRESS=f'unix:path={path}')
                self.assertEqual(json.loads(err)['error'], 'Unreachable')

    def test_no_bus(self):
        for verb in (['list'], ['status'], ['plan', EDU], ['exec', '-d', EDU, 'true'], ['hold', EDU],
                     ['release', EDU], ['monitor'], ['reload']):
            err = self.fails(3, '--json', *verb, DBUS_SYSTEM_BUS_ADDRESS='unix:path=/nonexistent')
            self.assertEqual(json.loads(err)['error'], 'Unreachable')

    def test_no_daemon(self):
        self.mock.link.close()
        for verb in (['list'], ['hold', EDU], ['monitor']):
            self.assertIn('vfiod is not running', self.fails(3, *verb))

    def test_full_disk(self):
        with open('/dev/full', 'w') as full:
            process = subprocess.Popen([os.environ['VFIOCTL'], '--help'], stdout=full, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, err), (1, b'vfioctl: Cannot write: No space left on device\n'))


class DocumentsTest(unittest.TestCase):
    """What is said in more than one place."""

    def read(self, path):
        return (SOURCE / path).read_text()

    def test_manual_lists_every_exit_status(self):
        table = {(int(status), name) for name, status in re.findall(
            r'^    X\(\w+, "(\w+)", \w+, (\d+),', self.read('src/core/error-table.h'), re.MULTILINE)}
        self.assertGreater(len(table), 20)
        own = {(int(status), name) for name, status in re.findall(
            r'^        \{ERROR_NAME_(\w+), \w+, (\d+)\},', self.read('src/client/error-text.c'), re.MULTILINE)}
        names = dict(re.findall(r'#define ERROR_NAME_(\w+) "(\w+)"', self.read('src/client/error-text.h')))
        table |= {(status, names[name]) for status, name in own}
        manual = {(int(status), name) for status, name in re.findall(
            r'^\|  (\d+)\n:  (\w+)$', self.read('man/vfioctl.1.scd'), re.MULTILINE)}
        self.assertEqual(manual, table - {(1, 'Failed')})

    def test_library_exports_its_header_and_nothing_else(self):
        declared = set(re.findall(r'^[a-zA-Z][\w \*]*[ \*](vfiod_\w+)\(', self.read('src/client/vfiod.h'), re.MULTILINE))
        exported = set(re.findall(r'^    (\w+);$', self.read('src/client/libvfiod.sym'), re.MULTILINE))
        self.assertEqual(declared, exported)
        manual = set(re.findall(r'[ \*](vfiod_\w+)\(', self.read('man/libvfiod.3.scd').split('# DESCRIPTION')[0]))
        self.assertEqual(declared, manual)

    def test_help_and_manual_know_the_same(self):
        text = subprocess.run([os.environ['VFIOCTL'], '--help'], check=True, stdout=subprocess.PIPE, text=True).stdout
        for option in set(re.findall(r'--[a-z][a-z-]+', text)):
            self.assertIn(option, self.read('man/vfioctl.1.scd'))


class LibraryTest(ClientTest):
    """The shared library, used by a program that has nothing else of ours."""

    def example(self, *arguments):
        return Program(self, [os.environ['LIBVFIOD_EXAMPLE'], *arguments]).end()

    def test_acquire_and_release(self):
        status, out, err = self.example('0000:06:0d.0', NIC)
        self.assertEqual((status, err), (0, ''))
        claim = list(self.mock.claims.values())[0]
        self.assertEqual(json.loads(out), {
            'id': claim.id, 'backend': 'iommufd', 'rule': 'one (/etc/vfiod/policy.d/1.json:2)', 'cloexec': True,
            'devices': [EDU, NIC], 'iommufd': 'iommufd', 'first': f'device:{EDU}', 'spelled': f'device:{EDU}',
            'full': f'device:{EDU}', 'last': f'device:{NIC}', 'tokens': ['none', 'none'], 'none': True, 'taken': True})
        wait(lambda: claim.path not in self.mock.objects, 'the claim ends')
        self.assertIn(('Release', claim.id), self.mock.calls)

    def test_errors(self):
        status, out, _ = self.example('pci:0000:ff:00.0', NIC)
        self.assertEqual((status, out), (1, 'NoSuchDevice 19 pci:0000:ff:00.0: There is no such device.\n'))
        self.mock.refusals['Acquire'] = 'com.example.Odd', 'x' * 5000
        _, out, _ = self.example(EDU, NIC)
        self.assertRegex(out, r'^com.example.Odd \d+ x{1000,1023}…?\n$')
        self.assertEqual(self.example(b'\xff', NIC)[1].split()[0], 'InvalidName')

    def test_message_without_lifeline(self):
        original = self.mock._make_claim

        def without(devices, options):
            path, result, fds = original(devices, options)
            return path, result, [f for f in fds if f[0] != 'lifeline']
        self.mock._make_claim = without
        self.assertEqual(self.example(EDU, NIC)[1].split()[0], 'Failed')


if __name__ == '__main__':
    harness.main()
