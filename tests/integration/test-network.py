#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a network card keeps for a virtual function: requested within the bounds of a rule, set before the bind, put
back at the end, whatever happens between."""

import copy
import errno
import json
import os
import pathlib
import threading

import harness
from harness import device_path, needs_root, wait
from host import VFIO
from varlink_client import VarlinkTestCase

MAC = '52:54:00:12:34:56'
BOUNDS = {'mac': ['52:54:00:*:*:*', '02:00:00:00:00:07'], 'vlan': [10, '100-199'], 'spoofchk': 'off',
          'trust': ['on', 'off']}


class NetworkTestCase(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.set_policy([self.rule(network=BOUNDS)])
        self.pf = self.host.add_sriov(self.host.add_device('0000:06:00.0', group=8, driver='ixgbe'), group=100)
        self.host.add_interface_of(self.pf, 'eth4', 41)
        self.kernel.set_functions(self.pf, 3)
        self.vf, self.other, self.third = self.pf.functions
        self.netlink = self.kernel.netlink
        self.vf.network.mac, self.vf.network.vlan = bytes.fromhex('020000000055'), 7
        self.vf.network.qos, self.vf.network.protocol = 3, 0x88A8
        self.before = copy.copy(self.vf.network)
        self.bindings = self.host.binding()

    def begin(self):
        self.start()
        self.c = self.client()

    def mac(self, function=None):
        return (function or self.vf).network.mac.hex(':')

    def wait_back(self):
        wait(lambda: self.vf.network == self.before, 'the network of the function is back')
        wait(lambda: self.host.binding() == self.bindings, 'the drivers are back')
        wait(lambda: self.records() == [], 'the record goes')

    def assert_never_touched(self):
        self.assertEqual(self.netlink.set_messages, [])
        self.assertEqual(self.host.binding(), self.bindings)
        self.assertEqual(self.c.device(self.vf)['State'], 'free')


class ClaimTest(NetworkTestCase):
    def test_set_and_restored(self):
        self.begin()
        claim = self.c.acquire(self.vf, network=f'mac={MAC},vlan=101,spoofchk=off,trust=on')
        n = self.vf.network
        self.assertEqual((self.mac(), n.vlan, n.qos, n.protocol, n.spoofchk, n.trust), (MAC, 101, 0, 0x8100, 0, 1))
        self.assertEqual(self.vf.driver, VFIO)
        self.assertEqual(self.netlink.set_messages,
                         [(self.vf.address, name) for name in ('mac', 'vlan', 'spoofchk', 'trust')])
        wait(lambda: self.log_lines(claim.id, f'network mac={MAC},vlan=101,spoofchk=off,trust=on'), 'it is on record')
        claim.close()
        self.wait_gone(claim)
        self.wait_back()

    def test_before_the_bind_and_before_the_driver_is_back(self):
        self.begin()
        seen = []
        self.kernel.before('bind', lambda: seen.append((self.mac(), self.vf.network.vlan)), self.vf.address, driver=VFIO)
        self.kernel.before('bind', lambda: seen.append((self.mac(), self.vf.network.vlan)), self.vf.address,
                           driver='ixgbevf')
        claim = self.c.acquire(self.vf, network=f'mac={MAC}')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(seen, [(MAC, 7), ('02:00:00:00:00:55', 7)])

    def test_only_what_is_requested(self):
        self.begin()
        claim = self.c.acquire(self.vf, network='vlan=10')
        self.assertEqual(self.netlink.set_messages, [(self.vf.address, 'vlan')])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.netlink.set_messages, [(self.vf.address, 'vlan')] * 2)
        self.wait_back()

    def test_what_is_there_already(self):
        self.begin()
        self.vf.network.trust = 1
        self.before.trust = 1
        claim = self.c.acquire(self.vf, network='trust=on')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.netlink.set_messages, [])

    def test_without_the_option_nothing_is_asked(self):
        self.begin()
        gate = self.kernel.fail('getlink', self.pf.address, errno.EIO)
        claim = self.c.acquire(self.vf)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(gate.hits, 0)

    def test_on_the_vfio_driver_before(self):
        self.host.change_driver(self.vf, VFIO)
        self.bindings = self.host.binding()
        self.begin()
        claim = self.c.acquire(self.vf, network=f'mac={MAC}')
        self.assertEqual(self.mac(), MAC)
        claim.close()
        self.wait_gone(claim)
        self.wait_back()

    def test_two_claims_of_one_card(self):
        self.begin()
        gate = self.kernel.hold('setlink', self.pf.address, data='mac')
        first = self.c.acquire_later(self.vf, network=f'mac={MAC}')
        wait(lambda: gate.entered, 'the card is at the first')
        second = self.client().acquire(self.other, network='mac=02:00:00:00:00:07,vlan=10')
        gate.let_go()
        wait(lambda: first.done, 'the first is held')
        first, = first.value
        self.assertEqual((self.mac(), self.mac(self.other)), (MAC, '02:00:00:00:00:07'))
        first.close()
        self.wait_gone(first)
        self.assertEqual((self.mac(self.other), self.other.network.vlan), ('02:00:00:00:00:07', 10))
        second.close()
        self.wait_gone(second)
        self.wait_back()
        self.assertEqual((self.mac(self.other), self.other.network.vlan), ('00:00:00:00:00:00', 0))

    def test_a_device_that_joins(self):
        self.begin()
        claim = self.c.acquire(self.other)
        self.c.add(claim, self.vf, network=f'mac={MAC}')
        self.assertEqual(self.mac(), MAC)
        self.c.release_devices(claim, self.vf)
        claim.close(f'device:{self.vf.name}')
        wait(lambda: self.vf.network == self.before, 'it is back')
        self.assertEqual(claim.state, 'held')

    def test_several_devices(self):
        self.begin()
        claim = self.c.acquire(self.vf, self.other, network='vlan=10')
        self.assertEqual((self.vf.network.vlan, self.other.network.vlan), (10, 10))
        claim.close()
        self.wait_gone(claim)
        self.wait_back()
        self.assertEqual(self.other.network.vlan, 0)

    def test_over_varlink(self):
        self.begin()
        with self.peer() as p:
            plan = p.call('Plan', {'devices': [self.vf.name], 'network': 'vlan=10'})['plan']
            self.assertEqual(plan['members'][0]['network'], {'vlan': 10})
            with self.fails('AccessDenied', 'vlan=11', device=self.vf.name):
                p.call('Plan', {'devices': [self.vf.name], 'network': 'vlan=11'})


class RefusalTest(NetworkTestCase):
    def test_shape(self):
        self.begin()
        for bad, word in (('', 'no attribute'), ('mac=01:00:5e:00:00:01', 'multicast'), ('vlan=4095', 'not a VLAN'),
                          ('mac=00:00:00:00:00:00', 'zero'), ('vlan=-1', 'not a VLAN'), ('trust=maybe', 'neither on nor off'),
                          ('rate=5', 'no attribute'), ('vlan=1,vlan=2', 'twice'), ('mac=\x1b[2J', 'not a MAC')):
            with self.refused('InvalidArgument', 'network', word):
                self.c.acquire(self.vf, network=bad)
        with self.refused('InvalidArgument', 'names 2'):
            self.c.acquire(self.vf, self.other, network=f'mac={MAC}')
        self.assert_never_touched()

    def test_out_of_bounds(self):
        self.begin()
        for bad, allowed in (('mac=50:54:00:12:34:56', '52:54:00:*:*:*, 02:00:00:00:00:07'), ('vlan=11', '10, 100-199'),
                             ('vlan=0', '10, 100-199'), ('spoofchk=on', 'off')):
            with self.refused('AccessDenied', self.vf.name, bad, allowed, '50-test.json'):
                self.c.acquire(self.vf, network=bad)
        self.assert_never_touched()

    def test_no_bounds(self):
        self.set_policy([self.rule()])
        self.begin()
        with self.refused('AccessDenied', 'trust=off', 'no request for trust'):
            self.c.acquire(self.vf, network='trust=off')
        self.assert_never_touched()

    def test_each_device_by_its_rule(self):
        self.set_policy([self.rule('one', device=self.vf.address, network=BOUNDS), self.rule('two')])
        self.begin()
        with self.refused('AccessDenied', self.other.name, 'two'):
            self.c.acquire(self.vf, self.other, network='vlan=10')

    def test_no_virtual_function(self):
        plain = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.begin()
        with self.refused('NetworkFailed', plain.name, 'not a virtual function'):
            self.c.acquire(plain, network='vlan=10')
        with self.refused('NetworkFailed', 'not a virtual function'):
            self.c.plan(plain, network='vlan=10')

    def test_parent_without_a_network_driver(self):
        self.host.change_driver(self.pf, VFIO)
        self.bindings = self.host.binding()
        self.begin()
        with self.refused('NetworkFailed', self.vf.name, f'{self.pf.name}, which is on the driver {VFIO}'):
            self.c.acquire(self.vf, network='vlan=10')
        self.assert_never_touched()

    def assert_failed(self, *words, network='vlan=10'):
        with self.refused('NetworkFailed', self.vf.name, *words):
            self.c.acquire(self.vf, network=network)
        self.assertEqual(self.vf.network, self.before)
        self.assertEqual(self.host.binding(), self.bindings)
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.c.device(self.vf)['State'], 'free')

    def test_no_interface(self):
        self.kernel.remove_tree(f'{self.pf.path}/net')
        self.begin()
        self.assert_failed('has no network interface', 'vlan=10')

    def test_several_interfaces(self):
        self.host.add_interface(f'{self.pf.path}/net/eth5')
        self.begin()
        self.assert_failed('several network interfaces')

    def test_a_driver_that_cannot(self):
        self.begin()
        self.netlink.unsupported = {'trust'}
        self.assert_failed('trust=on', 'eth4', 'driver does not support it', network=f'mac={MAC},trust=on')
        self.assertEqual(self.netlink.set_messages, [])
        self.netlink.unsupported = set()
        self.kernel.fail('setlink', self.pf.address, errno.EOPNOTSUPP, data='vlan')
        self.assert_failed('vlan=10', 'set', 'driver does not support it', network=f'mac={MAC},vlan=10')
        self.assertEqual([a for _, a in self.netlink.set_messages], ['mac', 'mac'])  # and back

    def test_a_driver_that_does_something_else(self):
        self.begin()
        self.netlink.ignored = {'vlan'}
        self.assert_failed('vlan=10', 'shows another value')

    def test_an_address_that_another_function_has(self):
        self.begin()
        self.other.network.mac = bytes.fromhex(MAC.replace(':', ''))
        self.assert_failed(MAC, 'another function of the card has this address', network=f'mac={MAC}')

    def test_the_address_of_the_card_itself(self):
        self.begin()
        self.pf.network.mac = bytes.fromhex(MAC.replace(':', ''))
        self.assert_failed(MAC, 'look', 'has this address', network=f'mac={MAC}')
        self.assertEqual(self.netlink.set_messages, [])

    def test_no_answer_of_sense(self):
        self.begin()
        self.kernel.fail('getlink', self.pf.address, errno.EIO)
        self.assert_failed('look', 'Input/output error')


class EndTest(NetworkTestCase):
    def hold(self):
        self.begin()
        return self.c.acquire(self.vf, network=f'mac={MAC},vlan=101,trust=on')

    def test_what_an_operator_has_set_stays(self):
        claim = self.hold()
        self.vf.network.vlan, self.vf.network.protocol = 150, 0x8100
        claim.close()
        self.wait_gone(claim)
        self.assertEqual((self.mac(), self.vf.network.vlan, self.vf.network.trust), ('02:00:00:00:00:55', 150, 0))

    def test_a_restore_that_fails(self):
        claim = self.hold()
        self.kernel.fail('setlink', self.pf.address, errno.EBUSY, data='mac')
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'the quarantine')
        self.assertIn('cannot restore mac=02:00:00:00:00:55', claim.properties()['Failure'])
        self.assertEqual(self.vf.driver, VFIO)  # nobody gets it with the address of somebody else
        self.kernel.heal()
        if os.getuid() == 0:
            self.c.manager('Release', 'sa{sv}', claim.id, {})
            self.wait_back()

    def vanish(self, *steps):
        """The kernel waits for the last close."""
        claim = self.hold()
        thread = threading.Thread(target=lambda: [step() for step in steps], daemon=True)
        thread.start()
        wait(lambda: claim.state == 'draining', 'vfiod has heard of it')
        claim.close()
        thread.join(harness.WAIT_TIMEOUT)
        self.wait_gone(claim)
        wait(lambda: self.records() == [], 'the record goes')

    def test_the_function_vanishes(self):
        self.vanish(lambda: self.kernel.remove(self.vf))

    def test_the_card_vanishes(self):
        self.vanish(lambda: self.kernel.set_functions(self.pf, 0), lambda: self.kernel.remove(self.pf))

    def test_the_interface_is_away_for_a_while(self):
        claim = self.hold()
        self.kernel.remove_tree(f'{self.pf.path}/net')
        claim.close()
        wait(lambda: claim.state == 'restoring', 'it is about to be restored')
        self.assertEqual(self.vf.driver, VFIO)
        self.host.add_interface_of(self.pf, 'eth9', 42)
        self.wait_back()

    def test_the_interface_stays_away(self):
        """It may be in another network namespace: what was set is still there, and nobody gets the function."""
        claim = self.hold()
        self.kernel.remove_tree(f'{self.pf.path}/net')
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'the quarantine', timeout=60)
        self.assertIn('cannot restore', claim.properties()['Failure'])
        self.assertEqual((self.mac(), self.vf.driver), (MAC, VFIO))

    def test_the_driver_does_not_list_it_for_a_while(self):
        """As some do while it comes back from its reset."""
        claim = self.hold()
        self.netlink.hidden.add(self.vf.address)
        gate = self.kernel.hold('getlink', self.pf.address)
        claim.close()
        wait(lambda: gate.entered, 'it is about to be restored')
        again = self.kernel.hold('getlink', self.pf.address)
        gate.let_go()
        wait(lambda: again.entered, 'once more')
        self.assertEqual((self.mac(), self.vf.driver), (MAC, VFIO))
        self.netlink.hidden.clear()
        again.let_go()
        self.wait_back()

    def test_the_card_cannot_now(self):
        claim = self.hold()
        busy = self.kernel.fail('setlink', self.pf.address, errno.EAGAIN, times=2)
        claim.close()
        self.wait_back()
        self.assertEqual(busy.hits, 2)

    def test_the_functions_are_made_anew(self):
        """They have the same names and ids, and nothing of what was set."""
        self.make_anew(3)

    def test_the_functions_go_while_it_is_restored(self):
        self.make_anew(0)

    def make_anew(self, count):
        claim = self.hold()
        gate = self.kernel.hold('getlink', self.pf.address)
        claim.close()
        wait(lambda: gate.entered, 'it is about to be restored')
        self.netlink.set_messages.clear()
        self.kernel.set_functions(self.pf, 0)
        self.kernel.set_functions(self.pf, count)
        gate.let_go()
        self.wait_gone(claim)
        self.assertEqual(self.netlink.set_messages, [])


class CrashTest(NetworkTestCase):
    REQUEST = f'mac={MAC},vlan=101'

    def test_the_record_is_one_that_an_older_vfiod_refuses(self):
        """It would forget what to put back."""
        self.begin()
        claims = self.c.acquire(self.vf, network=self.REQUEST), self.client().acquire(self.other)
        self.daemon.kill()
        self.unpack_slots()
        versions = [json.loads(pathlib.Path(f'{self.directory}/state/claims/{c.id}.json').read_text())['version']
                    for c in claims]
        self.assertEqual(versions, [3, 2])
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual([c.state for c in claims], ['held', 'held'])

    def test_while_it_is_held(self):
        self.begin()
        claim = self.c.acquire(self.vf, network=self.REQUEST)
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual((self.mac(), claim.state), (MAC, 'held'))
        claim.close()
        self.wait_back()

    def test_between_the_look_and_the_set(self):
        self.crash_at('mac')

    def test_in_the_middle_of_the_set(self):
        self.crash_at('vlan')

    def crash_at(self, name):
        self.begin()
        gate = self.kernel.hold('setlink', self.pf.address, data=name)
        answer = self.c.acquire_later(self.vf, network=self.REQUEST)
        wait(lambda: gate.entered, 'the card is at it')
        self.daemon.kill()
        gate.let_go()
        wait(lambda: self.netlink.set_messages[-1:] == [(self.vf.address, name)], 'the card has taken it')
        self.start()
        self.wait_back()
        wait(lambda: answer.done, 'the caller hears of it')

    def test_before_the_bind(self):
        self.begin()
        gates = self.host.hold_binding(self.vf)
        self.c.acquire_later(self.vf, network=self.REQUEST)
        wait(lambda: gates.entered, 'the bind is under way')
        self.assertEqual(self.mac(), MAC)
        self.daemon.kill()
        gates.let_go()
        wait(lambda: self.vf.driver == VFIO, 'the kernel has bound it')
        self.start()
        self.wait_back()

    def test_in_the_middle_of_the_restore(self):
        self.begin()
        claim = self.c.acquire(self.vf, network=self.REQUEST)
        gate = self.kernel.hold('setlink', self.pf.address, data='mac')  # the last that is put back
        claim.close()
        wait(lambda: gate.entered, 'the card is at it')
        self.daemon.kill()
        gate.let_go()
        self.start()
        self.wait_back()

    def test_when_the_restore_is_done_and_not_on_record(self):
        """What an operator sets after that is not ours, although the record says that something may be."""
        self.begin()
        claim = self.c.acquire(self.vf, network=self.REQUEST)
        gate = self.kernel.hold('bind', self.vf.address, driver='ixgbevf')
        claim.close()
        wait(lambda: gate.entered, 'the network is back, the driver not')
        self.daemon.kill()
        self.vf.network.vlan, self.vf.network.protocol = 180, 0x8100
        gate.let_go()
        self.start()
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.vf.network.vlan, 180)

    def test_a_card_that_does_not_answer(self):
        self.start('--worker-timeout=1')
        self.c = self.client()
        gate = self.kernel.hold('setlink', self.pf.address, data='vlan')
        with self.refused('TimedOut', self.vf.name):
            self.c.acquire(self.vf, network=self.REQUEST)
        self.assertEqual(self.c.device(self.vf)['State'], 'quarantined')
        gate.let_go()
        if os.getuid() == 0:
            self.c.manager('Release', 'sa{sv}', str(self.c.device(self.vf)['Claim']).rsplit('/', 1)[1], {})
            self.wait_back()


class PrivilegeTest(NetworkTestCase):
    NET_ADMIN, SYS_PTRACE, SYS_ADMIN = 1 << 12, 1 << 19, 1 << 21

    def capabilities(self, pid):
        with open(f'/proc/{pid}/status', encoding='utf-8') as f:
            status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
        return int(status['CapPrm'], 16)

    @needs_root
    def test_the_worker_that_sets_it_has_this_capability_alone(self):
        self.begin()
        self.c.get(device_path(self.vf.name), 'Device', 'AcsPath')  # a worker that reads config space
        gate = self.kernel.hold('setlink', self.pf.address)
        answer = self.c.acquire_later(self.vf, network='vlan=10')
        wait(lambda: gate.entered, 'a worker is at it')
        at_it = self.netlink.peer
        self.assertEqual(self.capabilities(at_it), self.NET_ADMIN)
        self.assertEqual(self.capabilities(self.daemon.pid) & (self.NET_ADMIN | self.SYS_ADMIN), 0)
        spawner, = [pid for pid in harness.children_of(self.daemon.pid) if self.capabilities(pid) & self.SYS_ADMIN]
        self.assertEqual(self.capabilities(spawner), self.NET_ADMIN | self.SYS_PTRACE | self.SYS_ADMIN)
        lookers = [pid for pid in harness.children_of(spawner) if pid != at_it]
        self.assertEqual({self.capabilities(pid) for pid in lookers}, {self.SYS_PTRACE | self.SYS_ADMIN})
        gate.let_go()
        wait(lambda: answer.done, 'it is held')


if __name__ == '__main__':
    harness.main()
