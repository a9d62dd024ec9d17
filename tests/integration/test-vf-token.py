#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual functions whose physical function is on a vfio driver: the kernel wants its token, which vfiod makes and gives
to whoever has a claim of one of them."""

import errno
import os
import re

import harness
from harness import NOBODY, device_path, needs_root, wait
from host import VFIO, config_space
from varlink_client import VarlinkTestCase

UUID = re.compile('[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')
VFIO_DEVICE_FEATURE = 0x3B75


class TokenTestCase(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.pf = self.host.add_sriov(self.host.add_device('0000:06:00.0', group=8, driver=VFIO), group=100)
        self.kernel.put(self.pf.path + '/sriov_drivers_autoprobe', '0\n')
        self.kernel.set_functions(self.pf, 3)
        self.vf, self.other, self.third = self.pf.functions
        self.bindings = self.host.binding()

    def begin(self, *arguments, **options):
        self.start(*arguments, **options)
        self.c = self.client()

    def token_of(self, claim, index=0):
        token = str(claim.result['vfTokens'][index])
        self.assertRegex(token, UUID)
        return token

    def in_kernel(self):
        return self.pf.vf_token and self.pf.vf_token.hex()

    def n_set(self):
        return sum(request == VFIO_DEVICE_FEATURE for _, request, _, _ in self.kernel.ioctls)

    def assert_free_again(self):
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.host.binding(), self.bindings)
        self.assertEqual(self.c.device(self.vf)['State'], 'free')


class ClaimTest(TokenTestCase):
    def test_made_and_given(self):
        self.begin()
        for backend in ('iommufd', 'group'):
            with self.subTest(backend):
                claim = self.c.acquire(self.vf, backend=backend)
                token = self.token_of(claim)
                self.assertEqual(token.replace('-', ''), self.in_kernel())
                self.assertEqual(list(claim.properties()['VfTokens']), [token])
                self.assertFalse(self.pf.opened)
                claim.close()
                self.wait_gone(claim)
        self.assert_free_again()

    def test_one_for_all_functions(self):
        self.begin()
        first, second = self.c.acquire(self.vf), self.client().acquire(self.other, self.third)
        token = self.token_of(first)
        self.assertEqual([self.token_of(second, 0), self.token_of(second, 1)], [token, token])
        self.assertEqual(self.n_set(), 1)
        first.close()
        self.wait_gone(first)
        third = self.c.acquire(self.vf)
        self.assertEqual(self.token_of(third), token)
        for claim in (second, third):
            claim.close()
            self.wait_gone(claim)
        last = self.c.acquire(self.vf)
        self.assertNotEqual(self.token_of(last), token)
        self.assertEqual(self.token_of(last).replace('-', ''), self.in_kernel())

    def test_a_device_that_joins(self):
        plain = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.begin()
        claim = self.c.acquire(plain)
        self.assertNotIn('vfTokens', claim.result)
        self.assertEqual(list(claim.properties()['VfTokens']), [])
        result = self.c.add(claim, self.vf)
        token, = result['vfTokens']
        self.assertEqual(list(claim.properties()['VfTokens']), ['', token])

    def test_opened_by_vfiod(self):
        """The kernel checks the token here."""
        self.kernel.iommufd_container = True
        self.begin()
        claim = self.c.acquire(self.vf, backend='compat')
        self.assertEqual(self.token_of(claim).replace('-', ''), self.in_kernel())

    def test_over_varlink(self):
        self.begin()
        with self.peer() as p:
            reply, _ = p.acquire(self.vf)
            self.assertEqual(reply['vfTokens'][0].replace('-', ''), self.in_kernel())

    @needs_root
    def test_only_for_the_owner(self):
        self.begin()
        claim = self.c.acquire(self.vf)
        token = self.token_of(claim)
        for member, arguments in (('Get', ['org.vfiod1.Claim', 'VfTokens']), ('GetAll', ['org.vfiod1.Claim'])):
            status, output = self.busctl('call', harness.NAME, claim.path, 'org.freedesktop.DBus.Properties', member,
                                         's' * len(arguments), *arguments, user=NOBODY)
            self.assertEqual(status, 0, output)
            self.assertNotIn(token, output)
        status, output = self.busctl('call', harness.NAME, '/org/vfiod1', 'org.freedesktop.DBus.ObjectManager',
                                     'GetManagedObjects', user=NOBODY)
        self.assertEqual(status, 0, output)
        self.assertNotIn(token, output)
        self.assertFalse(self.log_lines(token))

    def test_none_where_the_host_drives_the_card(self):
        self.kernel.set_functions(self.pf, 0)
        self.host.change_driver(self.pf, 'ixgbe')
        self.kernel.set_functions(self.pf, 1)
        self.begin()
        claim = self.c.acquire(self.pf.functions[0])
        self.assertNotIn('vfTokens', claim.result)
        self.assertEqual(self.n_set(), 0)


class AnotherCardTest(TokenTestCase):
    """A token is of one physical function: no claim gets that of another."""

    def setUp(self):
        super().setUp()
        self.pf2 = self.host.add_sriov(self.host.add_device('0000:07:00.0', group=9, driver=VFIO), group=120)
        self.kernel.put(self.pf2.path + '/sriov_drivers_autoprobe', '0\n')
        self.kernel.set_functions(self.pf2, 2)
        self.bindings = self.host.binding()

    def test_each_has_its_own(self):
        self.begin()
        first, second = self.c.acquire(self.vf), self.client().acquire(self.pf2.functions[0])
        tokens = self.token_of(first), self.token_of(second)
        self.assertNotEqual(*tokens)
        self.assertEqual([t.replace('-', '') for t in tokens], [self.in_kernel(), self.pf2.vf_token.hex()])
        self.assertEqual(list(first.properties()['VfTokens']), [tokens[0]])

    def test_one_claim_of_both(self):
        """The kernel checks the tokens here: each device is opened with that of its own card."""
        self.kernel.iommufd_container = True
        self.begin()
        claim = self.c.acquire(self.pf2.functions[0], self.vf, backend='compat')
        self.assertEqual([str(t).replace('-', '') for t in claim.result['vfTokens']],
                         [self.pf2.vf_token.hex(), self.in_kernel()])
        claim.close()
        self.wait_gone(claim)
        self.assert_free_again()

    def test_unknown_while_the_other_is_known(self):
        """One of them is used without vfiod: the token of the other is no substitute."""
        self.kernel.iommufd_container = True
        self.begin()
        self.c.acquire(self.pf2.functions[0], backend='compat')
        self.kernel.set_enable(self.pf, 1)
        self.pf.vf_token = bytes(range(16))
        with self.refused('OpenFailed', self.vf.name):
            self.client().acquire(self.vf, backend='compat')
        self.assertEqual(self.pf.vf_token, bytes(range(16)))


class HoldersTest(TokenTestCase):
    """Functions of one card may have different holders. The card itself has none while it has functions."""

    def make(self, count):
        self.kernel.set_functions(self.pf, count)
        wait(lambda: all(device_path(f.name) in self.c.objects() for f in self.pf.functions), 'vfiod has seen them')

    def assert_no_function(self, *words):
        for name in (self.pf.functions[0].name, self.pf.functions[1].name):
            for ask in (self.c.acquire, self.c.plan, lambda name: self.c.manager('Reserve', 'sa{sv}', name, {})):
                with self.refused('DeviceClaimed', name, self.pf.name, *words):
                    ask(name)

    @needs_root
    def test_two_users(self):
        self.set_policy([self.rule('root'), self.rule('nobody', user=NOBODY, device=self.other.name)])
        self.begin()
        with harness.identity(NOBODY):
            nobody = self.client()
        first, second = self.c.acquire(self.vf), nobody.acquire(self.other)
        self.assertEqual(self.token_of(first), self.token_of(second))
        self.assertEqual(list(nobody.get(first.path, 'Claim', 'VfTokens')), [])  # though it knows it
        first.close()
        self.wait_gone(first)
        self.assertEqual((second.state, self.n_set()), ('held', 1))
        with self.refused('DeviceClaimed', second.id, self.other.name):
            self.c.acquire(self.pf)

    def test_nobody_has_the_card_while_it_has_functions(self):
        self.begin()
        for ask in (self.c.acquire, self.c.plan, lambda name: self.c.manager('Reserve', 'sa{sv}', name, {})):
            with self.refused('HostCritical', self.pf.name, self.vf.name, 'vfioctl vf'):
                ask(self.pf.name)
        with self.refused('HostCritical', self.pf.name):
            self.c.acquire(self.pf, self.vf)
        claim = self.c.acquire(self.vf)
        with self.refused('DeviceClaimed', self.pf.name, claim.id):  # its own holder, too
            self.c.acquire(self.pf)
        with self.refused('DeviceClaimed', self.pf.name, claim.id):
            self.c.add(claim, self.pf)
        claim.close()
        self.wait_gone(claim)
        self.assert_free_again()

    def test_functions_that_are_made_while_it_is_held(self):
        """By root, without vfiod: nobody gets one before the card is free."""
        self.kernel.set_functions(self.pf, 0)
        self.begin()
        claim = self.c.acquire(self.pf)
        self.make(2)
        self.assert_no_function(claim.id)
        self.assertEqual(self.n_set(), 0)
        claim.close()
        self.wait_gone(claim)
        claim = self.c.acquire(self.pf.functions[0])
        self.assertEqual(self.token_of(claim).replace('-', ''), self.in_kernel())

    def test_functions_that_are_made_while_it_is_reserved(self):
        self.kernel.set_functions(self.pf, 0)
        self.begin()
        _, ticket, _ = self.c.manager('Reserve', 'sa{sv}', self.pf.name, {})
        self.make(2)
        self.assert_no_function(str(ticket)[:16])
        with self.refused('HostCritical', self.pf.name, self.pf.functions[0].name):
            self.c.acquire(ticket=ticket)
        self.kernel.set_functions(self.pf, 0)
        wait(lambda: not self.c.get(device_path(self.pf.name), 'Device', 'VirtualFunctions'), 'they are gone')
        claim = self.c.acquire(ticket=ticket)
        claim.close()
        self.wait_gone(claim)


class LostTest(TokenTestCase):
    """Hardware whose functions do not come back after the reset."""

    def test_silent(self):
        self.begin()
        gate = self.kernel.hold('ioctl', data=f'/dev/vfio/devices/vfio{self.pf.vfio_index}')
        answer = self.c.acquire_later(self.vf)
        wait(lambda: gate.entered, 'a worker has the card')
        config = config_space(0x8086, 0x10FB)
        self.kernel.put(self.vf.path + '/config', b'\xff' * len(config))
        gate.let_go()
        wait(lambda: answer.done, 'the caller hears of it')
        self.assertEqual(answer.error.get_dbus_name(), harness.ERROR + 'OpenFailed')
        for word in (self.vf.name, 'it no longer answers', 'virtual functions', f'vfioctl vf {self.pf.name} '):
            self.assertIn(word, answer.error.get_dbus_message())
        self.kernel.put(self.vf.path + '/config', config)
        self.assert_free_again()

    def test_only_its_ids_are_ones(self):
        """As those of every virtual function."""
        self.kernel.put(self.vf.path + '/config', b'\xff' * 4 + config_space(0x8086, 0x10FB)[4:])
        self.begin()
        self.token_of(self.c.acquire(self.vf))


class VfioctlTest(TokenTestCase):
    def qemu(self, version):
        path = f'{self.directory}/qemu-{version}'
        with open(path, 'w') as f:
            f.write(f'#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version {version}" || echo "$@"\n')
        os.chmod(path, 0o755)
        return path

    def succeeds(self, *arguments):
        status, output = self.vfioctl(*arguments)
        self.assertEqual(status, 0, output)
        wait(lambda: not self.records(), 'the claim is over')
        return output

    def test_environment(self):
        plain = self.host.add_device('0000:08:00.0', group=9, driver=VFIO)
        self.begin()
        show = ['sh', '-c', 'echo "${{VFIOD_VF_TOKENS-none}"']
        output = self.succeeds('exec', '-d', plain.name, '-d', self.vf.name, *show)
        self.assertEqual(output.rstrip('\n').replace('-', ''), ',' + self.in_kernel())
        self.assertEqual(self.succeeds('exec', '-d', plain.name, *show), 'none\n')

    def test_qemu(self):
        self.begin()
        output = self.succeeds('exec', '-d', self.vf.name, '--qemu', self.qemu('9.2.0'))
        found = re.search(',vf-token=([0-9a-f-]+)$', output)
        self.assertEqual(found and found[1].replace('-', ''), self.in_kernel(), output)
        self.assertNotIn('vf-token', self.succeeds('exec', '-d', self.vf.name, '--print', '--qemu', self.qemu('9.2.0')))

    def test_qemu_that_takes_none(self):
        self.set_policy([self.rule(grant=['node'])])
        self.begin()
        status, output = self.vfioctl('exec', '-d', self.vf.name, '--qemu', self.qemu('7.2.0'))
        self.assertEqual(status, 26, output)
        self.assertIn('QEMU does since 8.1', output)
        wait(lambda: not self.records(), 'the claim is over')


class NobodyIsDisturbedTest(TokenTestCase):
    """The claim has no token then, and whoever uses the card knows the one that it has."""

    def assert_none(self, word, n_set=0):
        claim = self.c.acquire(self.vf)
        self.assertNotIn('vfTokens', claim.result)
        self.assertIsNone(self.pf.vf_token)
        self.assertEqual(self.n_set(), n_set)
        self.wait_logged(claim.id, self.vf.name, word)
        claim.close()
        self.wait_gone(claim)
        self.assert_free_again()

    def test_somebody_has_the_card(self):
        self.begin()
        self.kernel.set_enable(self.pf, 1)
        self.assert_none('another program has the physical function open')

    def test_somebody_has_a_function(self):
        self.host.change_driver(self.other, VFIO)
        self.bindings = self.host.binding()
        self.begin()
        self.kernel.set_enable(self.other, 1)
        self.assert_none('in use without vfiod')
        self.assertFalse([path for path, request, _, _ in self.kernel.ioctls if path.endswith(f'vfio{self.pf.vfio_index}')])

    def test_another_claim_has_a_function_without_one(self):
        self.begin()
        self.kernel.set_enable(self.pf, 1)
        claim = self.client().acquire(self.other)
        self.assertNotIn('vfTokens', claim.result)
        self.kernel.set_enable(self.pf, 0)
        self.assertNotIn('vfTokens', self.c.acquire(self.vf).result)
        self.assertIsNone(self.pf.vf_token)
        self.wait_logged(self.vf.name, 'another claim has one of its functions without a token')

    def test_the_host_uses_a_function(self):
        self.host.change_driver(self.other, 'ixgbevf')
        self.bindings = self.host.binding()
        self.begin()
        self.assert_none('the host uses another of its functions')

    def test_a_driver_without_a_token(self):
        self.begin()
        self.kernel.fail_ioctl[VFIO_DEVICE_FEATURE] = errno.ENOTTY
        self.assert_none('its driver has none', n_set=1)

    def test_the_kernel_wants_it_nevertheless(self):
        self.kernel.iommufd_container = True
        self.begin()
        self.kernel.fail_ioctl[VFIO_DEVICE_FEATURE] = errno.EIO
        with self.refused('OpenFailed', self.vf.name):
            self.c.acquire(self.vf, backend='compat')
        self.assert_free_again()


class AtOnceTest(TokenTestCase):
    def test_while_it_is_being_set(self):
        self.begin()
        gate = self.kernel.hold('ioctl', data=f'/dev/vfio/devices/vfio{self.pf.vfio_index}')
        first = self.c.acquire_later(self.vf)
        wait(lambda: gate.entered, 'a worker has the card')
        with self.refused('DeviceBusy', self.other.name, 'being set for another claim'):
            self.client().acquire(self.other)
        gate.let_go()
        wait(lambda: first.done, 'the first is held')
        self.assertEqual(self.token_of(self.c.acquire(self.other)), self.token_of(first.value[0]))


class CrashTest(TokenTestCase):
    def test_while_it_is_held(self):
        self.begin()
        claim = self.c.acquire(self.vf)
        token = self.token_of(claim)
        self.daemon.kill()
        self.begin(keep_fds=True)
        self.manager.forget()
        self.assertEqual(self.token_of(self.c.acquire(self.other)), token)
        self.assertEqual(self.n_set(), 1)

    def test_while_it_is_being_set(self):
        self.begin()
        gate = self.kernel.hold('ioctl', data=f'/dev/vfio/devices/vfio{self.pf.vfio_index}')
        answer = self.c.acquire_later(self.vf)
        wait(lambda: gate.entered, 'a worker has the card')
        self.daemon.kill()
        gate.let_go()
        wait(lambda: answer.done, 'the caller hears of it')
        self.begin()
        self.assert_free_again()
        claim = self.c.acquire(self.vf)
        self.assertEqual(self.token_of(claim).replace('-', ''), self.in_kernel())


if __name__ == '__main__':
    harness.main()
