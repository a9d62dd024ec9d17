#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Varlink face: the same verbs as on the bus, through a socket."""

import contextlib
import os

import harness
from harness import VfiodTestCase, wait
from varlink_client import INTERFACE, Peer, VarlinkError


class VarlinkTestCase(VfiodTestCase):
    sockets = ('varlink',)

    def peer(self, name='varlink', **options):
        peer = Peer(self.socket_path(name), **options)
        self.addCleanup(peer.close)
        return peer

    @contextlib.contextmanager
    def fails(self, error, *words, **parameters):
        with self.assertRaises(VarlinkError) as caught:
            yield caught
        e = caught.exception
        self.assertEqual(e.name, error if '.' in error else f'{INTERFACE}.{error}', e.parameters)
        for word in words:
            self.assertIn(word, e.parameters['message'])
        for key, value in parameters.items():
            self.assertEqual(e.parameters[key], value)


class AcquireTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.before = self.host.binding()

    def end(self, claim, fds):
        for fd in fds.values():
            os.close(fd)
        wait(lambda: claim + '.json' not in self.records(), f'claim {claim} ends')

    def test_all_fds_come_with_the_reply(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic, backend='iommufd')
        self.assertEqual(sorted(fds), ['device:pci:0000:06:00.0', 'iommufd', 'lifeline'])
        self.assertEqual((reply['backend'], reply['grant'], reply['tether']), ('iommufd', 'fd', 'lifeline'))
        self.assertEqual(reply['devices'], ['pci:0000:06:00.0'])
        self.assertIn('test (', reply['rule'])
        self.assertEqual(self.records(), [reply['claim'] + '.json'])
        self.end(reply['claim'], fds)
        self.assertEqual(self.host.binding(), self.before)

    def test_two_devices_and_a_reason(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic, self.other, reason='for a test', untainted=False)
        self.assertEqual(reply['devices'], [self.nic.name, self.other.name])
        claims = [o for path, o in self.client().objects().items() if '/claim/' in path]
        self.assertEqual([str(o['org.vfiod1.Claim']['Reason']) for o in claims], ['for a test'])
        self.end(reply['claim'], fds)

    def test_the_claim_outlives_the_connection(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic)
        peer.close()
        self.peer().call('io.systemd.service.Ping')
        self.assertEqual(self.records(), [reply['claim'] + '.json'])
        self.end(reply['claim'], fds)

    def test_release(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic)
        self.assertEqual(peer.call('Release', {'claim': reply['claim']}), {})
        self.end(reply['claim'], fds)
        with self.fails('NoSuchClaim'):
            peer.call('Release', {'claim': reply['claim']})

    def test_a_refusal_has_its_parts(self):
        self.set_policy([self.rule(device='pci:0000:07:00.0')])
        self.start()
        with self.fails('AccessDenied', 'pci:0000:06:00.0', device='pci:0000:06:00.0') as caught:
            self.peer().acquire(self.nic)
        self.assertLessEqual({'message', 'reason', 'remedy'}, set(caught.exception.parameters))
        self.assert_untouched(self.before)

    def test_who_holds_the_device(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic)
        with self.fails('DeviceClaimed', reply['claim']) as caught:
            self.peer().acquire(self.nic)
        self.assertIn('claim', [b['kind'] for b in caught.exception.parameters['blockers']])
        self.end(reply['claim'], fds)

    def test_plan(self):
        self.start()
        plan = self.peer().call('Plan', {'devices': [self.nic.name]})['plan']
        self.assertEqual(plan, self.client().plan(self.nic))
        self.assert_untouched(self.before)

    def test_nothing_is_left_when_the_client_goes_while_it_waits(self):
        gate = self.kernel.hold('bind', self.nic.address)
        self.start()
        peer = self.peer()
        peer.send('Acquire', {'devices': [self.nic.name]})
        wait(lambda: gate.entered, 'the worker binds')
        peer.close()
        gate.let_go()
        wait(lambda: self.records() == [] and self.host.binding() == self.before, 'all is as before')

    def test_nothing_is_left_when_the_client_never_reads(self):
        self.start()
        with self.peer() as peer:
            peer.send('Acquire', {'devices': [self.nic.name]})
            wait(self.records, 'the claim is on record')
        wait(lambda: self.records() == [] and self.host.binding() == self.before, 'all is as before')


if __name__ == '__main__':
    harness.main()
