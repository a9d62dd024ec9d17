#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reservations: a device waits for the one who brings the ticket, which is spent once, whenever the daemon dies."""

import datetime
import json
import os
import re
import signal
import types
import unittest.mock

import dbus

import harness
from harness import NAME, NOBODY, ROOT_PATH, Claim, Pending, device_path, needs_root, wait
from host import VFIO
from mock_polkit import MockPolkit
from varlink_client import VarlinkTestCase

TICKET = re.compile('[0-9a-f]{16}-[0-9a-f]{32}')
NIC_CLASS = 0x020000


class Reservation:
    def __init__(self, client, path, ticket, result):
        self.client, self.path, self.ticket = client, str(path), str(ticket)
        self.id = self.path.rsplit('/', 1)[1]
        self.result = {str(k): v for k, v in result.items()}
        self.device = str(self.result['device'])

    state = Claim.state
    properties = Claim.properties


class ReserveTestCase(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e', class_code=NIC_CLASS)
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='igb', class_code=NIC_CLASS)
        self.disk = self.host.add_device('0000:08:00.0', group=10, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.set_rules()
        self.start()
        self.c = self.client()

    def set_rules(self):
        pass

    def reserve(self, what, client=None, **options):
        client = client or self.c
        return Reservation(client, *client.manager('Reserve', 'sa{sv}', getattr(what, 'name', what), options))

    def redeem(self, reservation, client=None, **options):
        return (client or self.c).acquire(ticket=getattr(reservation, 'ticket', reservation), **options)

    def nobody(self):
        with harness.identity(NOBODY):
            return self.client()

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)


class ReserveTest(ReserveTestCase):
    def test_reserve_and_redeem(self):
        r = self.reserve(self.nic, ttl=dbus.UInt64(60), reason='vm 7 arrives')
        self.assertTrue(TICKET.fullmatch(r.ticket), r.ticket)
        self.assertTrue(r.ticket.startswith(r.id))
        self.assertEqual((r.device, int(r.result['uid'])), (self.nic.name, os.getuid()))
        shown = r.properties()
        self.assertEqual((shown['State'], shown['Devices'], shown['Uid'], shown['Reason']),
                         ('reserved', [device_path(self.nic.name)], os.getuid(), 'vm 7 arrives'))
        self.assertEqual(shown['ReservedUntil'], r.result['until'])
        self.assertEqual(int(r.result['until'] - shown['Since']) // 1000000, 60)
        self.assertEqual(self.c.device(self.nic)['State'], 'reserved')
        self.assertEqual(self.host.binding(), self.before)
        self.assertEqual(self.records(), [r.id + '.json'])
        wait(lambda: self.c.seen('InterfacesAdded', r.path), 'it is announced')

        claim = self.redeem(r, cookie='arrived')
        self.assertEqual((claim.id, list(claim.result['devices'])), (r.id, [self.nic.name]))
        self.assertEqual(sorted(claim.fds), ['device:' + self.nic.name, 'iommufd', 'lifeline'])
        shown = claim.properties()
        self.assertEqual((shown['State'], shown['ReservedUntil'], shown['Cookie']), ('held', 0, 'arrived'))
        self.assertEqual(self.nic.driver, VFIO)
        self.assertEqual(self.records(), [r.id + '.json'])
        wait(lambda: [e[0] for e in self.c.events if e[1] == r.path and e[0] != 'PropertiesChanged'] ==
             ['InterfacesAdded', 'InterfacesRemoved', 'InterfacesAdded'], 'it is another object')
        with self.refused('TicketInvalid', 'redeemed'):
            self.redeem(r)
        self.end(claim)
        self.wait_logged(r.id, 'reserved', self.nic.name)
        self.wait_logged(r.id, 'got', self.nic.name)

    def test_the_secret_is_shown_to_nobody(self):
        r = self.reserve(self.nic)
        secret = r.ticket.split('-')[1]
        self.assertNotIn(secret, repr(self.c.objects()) + repr(r.properties()))
        self.assertNotIn(secret, json.dumps(self.peer().call('List', {'claim': r.id})))
        with self.refused('TicketInvalid'):
            self.redeem(r.id + '-' + '0' * 32)
        self.redeem(r).close()
        self.assertEqual(self.log_lines(secret), [])

    def test_nobody_else_gets_it(self):
        r = self.reserve(self.nic)
        with self.refused('DeviceReserved', f'reserved for uid {os.getuid()} until 20', r.id, self.nic.name):
            self.c.acquire(self.nic)
        with self.refused('DeviceReserved', r.id):
            self.c.plan(self.nic)
        with self.refused('DeviceReserved', r.id):
            self.reserve(self.nic)
        text = self.c.manager('Explain', 'asa{sv}', [self.nic.name], {})
        self.assertEqual(json.loads(text)['error'], 'DeviceReserved')
        with self.refused('ClaimBusy', 'reserved'):
            self.c.manager('Transfer', 'sa{sv}', r.id, {'tether': 'process'})
        self.c.release(r)
        self.wait_gone(r)
        claim = self.c.acquire(self.nic)
        self.end(claim)
        self.wait_logged(r.id, 'cancelled')

    def test_the_group_is_reserved_with_it(self):
        sibling = self.host.add_device('0000:06:00.1', group=8, driver=VFIO)
        wait(lambda: self.c.seen('InterfacesAdded', device_path(sibling.name)), 'it is there')
        self.before = self.host.binding()
        r = self.reserve(self.nic)
        with self.refused('DeviceReserved', r.id):
            self.c.acquire(sibling)
        self.end(self.redeem(r))

    def test_a_plan_with_a_ticket(self):
        r = self.reserve(self.nic)
        plan = self.c.plan(ticket=r.ticket)
        self.assertEqual([m['name'] for m in plan['members']], [self.nic.name])
        self.assertEqual(r.state, 'reserved')
        self.assertEqual(self.c.device(self.nic)['Claim'], r.path)
        self.end(self.redeem(r))

    def test_what_is_no_ticket(self):
        r = self.reserve(self.nic)
        for bad in ('', 'x', r.id, r.ticket + '0', r.ticket[:-1], r.ticket.upper() + ' ', '\u00e9' * 24 + 'x'):
            with self.refused('InvalidArgument', 'ticket'):
                self.redeem(bad)
        with self.refused('TicketInvalid'):
            self.redeem('0' * 16 + '-' + '0' * 32)
        with self.refused('TicketInvalid'):  # the id of a claim that is no reservation
            claim = self.c.acquire(self.disk)
            self.redeem(claim.id + '-' + '0' * 32)
        claim.close()
        with self.refused('InvalidArgument', 'names one, too'):
            self.c.acquire(self.nic, ticket=r.ticket)
        with self.refused('InvalidArgument'):
            self.c.acquire()
        self.assertEqual(r.state, 'reserved')
        with self.refused('InvalidArgument', 'ticket'):
            self.c.manager('Explain', 'asa{sv}', [self.nic.name], {'ticket': r.ticket})

    def test_bad_options(self):
        for options, error in (({'ttl': dbus.UInt64(86401)}, 'LimitExceeded'), ({'ttl': 'long'}, 'InvalidArgument'),
                               ({'cookie': 'mine'}, 'UnknownOption'), ({'ticket': '0'}, 'UnknownOption'),
                               ({'lastRefusal': True}, 'UnknownOption'), ({'pid': dbus.UInt64(1)}, 'UnknownOption'),
                               ({'backend': 'none'}, 'InvalidArgument')):
            with self.subTest(options), self.refused(error):
                self.reserve(self.nic, **options)
        for what, error, *words in (('', 'InvalidName'), ('class:', 'InvalidName'), ('class:ether', 'InvalidName', 'class'),
                                    ('tag:', 'InvalidName'), ('tag:' + 'x' * 100, 'InvalidName'),
                                    ('0000:06:0g.0', 'InvalidName'), ('class:0x02', 'InvalidName'),
                                    ('pci:0000:55:00.0', 'NoSuchDevice', '0000:55:00.0'),
                                    ('tag:unknown', 'NoSuchDevice'), ('class:audio', 'NoSuchDevice', 'class:audio')):
            with self.subTest(what), self.refused(error, *words):
                self.reserve(what)
        self.assert_untouched(self.before)

    def test_it_expires(self):
        r = self.reserve(self.nic, ttl=dbus.UInt64(1))
        self.wait_gone(r)
        with self.refused('TicketInvalid', 'expired'):
            self.redeem(r)
        self.assert_untouched(self.before)
        self.assertEqual(self.c.device(self.nic)['State'], 'free')
        self.wait_logged(r.id, 'expired')

    def test_its_device_goes(self):
        r = self.reserve(self.nic)
        self.kernel.remove(self.nic)
        self.wait_gone(r)
        with self.refused('TicketInvalid', 'gone'):
            self.redeem(r)
        self.wait_logged(r.id, 'the device has gone')

    def test_a_refused_redemption_leaves_it(self):
        r = self.reserve(self.nic)
        with self.refused('TicketInvalid'):
            self.redeem(r.ticket[:-1] + ('0' if r.ticket[-1] != '0' else '1'))
        self.set_policy([self.rule('no', effect='deny')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied'):
            self.redeem(r)
        self.assertEqual((r.state, self.c.device(self.nic)['Claim']), ('reserved', r.path))
        self.set_policy([self.rule()])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('BackendUnavailable'):
            self.redeem(r, backend='vhost-vdpa')
        self.end(self.redeem(r))

    def test_a_failed_bind_spends_it(self):
        r = self.reserve(self.nic)
        self.host.fail_binding(self.nic, 16)
        with self.refused('BindFailed'):
            self.redeem(r)
        self.assert_untouched(self.before)
        with self.refused('TicketInvalid'):
            self.redeem(r)

    def test_two_at_once(self):
        """While one redeems, the other is refused; then there is nothing left."""
        r = self.reserve(self.nic)
        gates = self.host.hold_binding(self.nic)
        first = self.c.acquire_later(ticket=r.ticket)
        wait(lambda: gates.entered, 'the bind is under way')
        with self.refused('TicketInvalid'):
            self.redeem(r)
        gates.let_go()
        wait(lambda: first.done, 'the first has it')
        self.assertIsNone(first.error)
        self.end(first.value[0])


class ZoneTest(ReserveTestCase):
    """Messages have the local time of the host with its zone."""

    def setUp(self):
        zone = unittest.mock.patch.dict(os.environ, {'TZ': '<+03>-3'})
        zone.start()
        self.addCleanup(zone.stop)
        super().setUp()

    def test_refusal_and_journal(self):
        r = self.reserve(self.nic)
        zone = datetime.timezone(datetime.timedelta(hours=3))
        until = datetime.datetime.fromtimestamp(r.properties()['ReservedUntil'] / 1e6, zone)
        text = until.strftime('until %Y-%m-%d %H:%M:%S +03')
        with self.refused('DeviceReserved', f'{text} (reservation {r.id})'):
            self.c.acquire(self.nic)
        self.wait_logged(r.id, 'reserved', text)


class ChoiceTest(ReserveTestCase):
    def test_by_class(self):
        first = self.reserve('class:ethernet')
        second = self.reserve('class:0200')
        self.assertEqual((first.device, second.device), (self.nic.name, self.other.name))
        with self.refused('NoDeviceAvailable', 'class:ethernet', '2 held by claims'):
            self.reserve('class:ethernet')
        self.c.release(first)
        self.wait_gone(first)
        self.assertEqual(self.reserve('class:02').device, self.nic.name)

    def test_by_pattern(self):
        self.assertEqual(self.reserve('0000:0[78]:*').device, self.other.name)
        self.assertEqual(self.reserve('0000:0[78]:*').device, self.disk.name)
        with self.refused('NoSuchDevice', 'mdev:*'):
            self.reserve('mdev:*')

    def test_each_candidate_has_its_reason(self):
        self.set_policy([self.rule('nics', device='0000:07:*', backend=['group'])])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('NoDeviceAvailable', self.nic.name, 'no rule', self.other.name):
            self.reserve('class:ethernet', backend='iommufd')
        with self.fails('NoDeviceAvailable') as caught:
            self.peer().call('Reserve', {'device': 'class:ethernet', 'backend': 'iommufd'})
        self.assertEqual([(o['device'], o['error']) for o in caught.exception.parameters['obstacles']],
                         [(self.nic.name, 'AccessDenied'), (self.other.name, 'BackendUnavailable')])

    def test_many_candidates(self):
        """Their number is bounded, and the sentence with them."""
        for i in range(80):
            self.host.add_device(f'0000:20:{i // 8:02x}.{i % 8}', group=100 + i, driver='igb', class_code=0x030000)
        wait(lambda: self.c.seen('InterfacesAdded', device_path('pci:0000:20:09.7')), 'they are there')
        self.set_policy([self.rule('last', device='0000:20:09.7')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('NoDeviceAvailable', 'not looked at') as caught:
            self.reserve('class:display')
        self.assertLess(len(caught.exception.get_dbus_message()), 4096)
        self.assertEqual(self.reserve('0000:20:09.*').device, 'pci:0000:20:09.7')


class TagTest(ReserveTestCase):
    def set_rules(self):
        self.set_policy([{**self.rule('tagged', user=NOBODY), 'what': {'tag': 'uplink'}}, self.rule('root')],
                        tags={'uplink': [{'slot': '0000:07:00.0', 'id': '8086:10d3'},
                                         {'path': '0000:06:00.0', 'id': '8086:10d3'}]})

    @needs_root
    def test_by_tag(self):
        nobody = self.nobody()
        self.assertEqual([self.reserve('tag:uplink', client=nobody).device for _ in range(2)],
                         [self.nic.name, self.other.name])
        with self.refused('NoDeviceAvailable', 'tag:uplink', '2 held'):
            self.reserve('tag:uplink', client=nobody)
        with self.refused('NoDeviceAvailable', '2 held'):
            self.reserve('tag:uplink')

    @needs_root
    def test_a_tag_of_other_rules_is_unknown(self):
        """Whoever may have the device by another rule learns nothing of the tag."""
        self.set_policy([{**self.rule('tagged'), 'what': {'tag': 'uplink'}}, self.rule('nobody', user=NOBODY)],
                        tags={'uplink': {'slot': '0000:06:00.0', 'id': '8086:10d3'}})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        nobody = self.nobody()
        with self.refused('NoSuchDevice', 'tag:uplink'):
            self.reserve('tag:uplink', client=nobody)
        self.assertEqual(self.reserve(self.nic, client=nobody).device, self.nic.name)

    @needs_root
    def test_devices_show_their_tags(self):
        """By another card in the place, the device is not the tagged one; serial numbers are looked at, too."""
        self.set_policy([{**self.rule('tagged', user=NOBODY), 'what': {'tag': 'uplink'}}, self.rule('all')],
                        tags={'uplink': [{'slot': '0000:06:00.0', 'id': '8086:10d3'}, {'slot': '0000:07:00.0', 'id': '8086:ffff'}],
                              'mine': {'path': '0000:06:00.0', 'id': '8086:10d3'},
                              'serial': {'slot': '0000:06:00.0', 'id': '8086:10d3', 'serial': '00-00-00-ff-ff-00-00-01'}})
        self.c.manager('ReloadPolicy', 'a{sv}', {})

        def tags(client, device):
            return sorted(map(str, client.get(device_path(device.name), 'Device', 'Tags')))
        self.assertEqual((tags(self.c, self.nic), tags(self.c, self.other)), (['mine', 'uplink'], []))
        nobody = self.nobody()
        self.assertEqual(tags(nobody, self.nic), ['uplink'])
        self.assertNotIn('Tags', self.c.properties(device_path(self.nic.name), 'Device'))
        self.set_policy([self.rule('all')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(tags(self.c, self.nic), [])

    @needs_root
    def test_many_cards_of_a_tag(self):
        """Their places are read one by one, in slices: others are served meanwhile."""
        for i in range(300):
            self.host.add_device(f'0000:{0x20 + i // 256:02x}:{i // 8 % 32:02x}.{i % 8}', group=100 + i, driver='igb')
        wait(lambda: self.c.seen('InterfacesAdded', device_path('pci:0000:21:05.3')), 'they are there')
        self.set_policy([{**self.rule('tagged', user=NOBODY), 'what': {'tag': 'last'}}],
                        tags={'last': {'path': '0000:21:05.3', 'id': '8086:10d3'}})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(self.reserve('tag:last', client=self.nobody()).device, 'pci:0000:21:05.3')

    @needs_root
    def test_a_tag_is_told_to_those_who_may_have_it(self):
        self.set_policy([{**self.rule('tagged'), 'what': {'tag': 'uplink'}}],
                        tags={'uplink': {'slot': '0000:06:00.0', 'id': '8086:10d3'}})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('NoSuchDevice', 'tag:uplink') as caught:
            self.reserve('tag:uplink', client=self.nobody())
        self.assertNotIn('0000:06', caught.exception.get_dbus_message())


class UsersTest(ReserveTestCase):
    def set_rules(self):
        self.set_policy([self.rule('nobody', user=NOBODY), self.rule('root', user=0)])

    @needs_root
    def test_root_reserves_for_another(self):
        r = self.reserve(self.nic, uid=dbus.UInt32(NOBODY))
        self.assertEqual((int(r.result['uid']), int(r.properties()['Uid'])), (NOBODY, NOBODY))
        with self.refused('TicketInvalid', f'is for uid {NOBODY}'):
            self.redeem(r)
        self.assertEqual(r.state, 'reserved')
        self.end(self.redeem(r, client=self.nobody()))

    @needs_root
    def test_a_stranger_with_the_ticket(self):
        r = self.reserve(self.nic)
        nobody = self.nobody()
        with self.refused('TicketInvalid', 'is for uid 0'):
            self.redeem(r, client=nobody)
        with self.refused('TicketInvalid'):
            nobody.plan(ticket=r.ticket)
        with self.refused('NotOwner'):
            nobody.release(r)
        with self.refused('AccessDenied', 'only root'):
            self.reserve(self.other, client=nobody, uid=dbus.UInt32(0))
        self.assertEqual(r.state, 'reserved')
        self.end(self.redeem(r))

    @needs_root
    def test_the_policy_is_asked_about_the_redeemer(self):
        self.set_policy([{**self.rule('by-group'), 'who': {'group': 4242}, 'what': {'device': self.other.name}}])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied'):
            self.reserve(self.other)
        with self.refused('AccessDenied', f'uid {NOBODY}'):
            self.reserve(self.other, uid=dbus.UInt32(NOBODY))
        r = self.reserve('class:ethernet', uid=dbus.UInt32(NOBODY), gids=dbus.Array([4242], signature='u'))
        self.assertEqual(r.device, self.other.name)
        with self.refused('AccessDenied'):  # it has the group in the description alone
            self.redeem(r, client=self.nobody())

    @needs_root
    def test_thousands_of_them(self):
        """They count as claims: of a user, and of a rule."""
        for i in range(70):
            self.host.add_device(f'0000:20:{i // 8:02x}.{i % 8}', group=100 + i, driver=VFIO, class_code=0x030000)
        wait(lambda: self.c.seen('InterfacesAdded', device_path('pci:0000:20:08.5')), 'they are there')
        nobody, got = self.nobody(), []
        with self.refused('LimitExceeded'):
            for i in range(2000):
                got.append(self.reserve('class:display', client=nobody))
        self.assertEqual(len(got), 64)
        claim = self.redeem(got[0], client=nobody)  # takes no more than the reservation did
        claim.close()
        self.wait_gone(claim)
        self.set_policy([self.rule('two', user=NOBODY, limits={'claims-per-user': 65})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(len(self.records()), 63)

    @needs_root
    def test_the_host_limits_the_time(self):
        nobody = self.nobody()
        self.set_policy([self.rule('nobody', user=NOBODY), self.rule('root', user=0)], host={'reservation-ttl': 60})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('LimitExceeded', '60 seconds at most'):
            self.reserve(self.nic, client=nobody, ttl=dbus.UInt64(61))
        r = self.reserve(self.nic, client=nobody)
        self.assertLessEqual(int(r.result['until'] - r.properties()['Since']), 61 * 1000000)
        self.reserve(self.other, ttl=dbus.UInt64(61))
        self.set_policy([self.rule('nobody', user=NOBODY), self.rule('root', user=0)], host={'reservation-ttl': 0})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied', 'only root can reserve'):
            self.reserve(self.disk, client=nobody)
        self.reserve(self.disk, uid=dbus.UInt32(NOBODY))
        self.redeem(r, client=nobody).close()  # what was given stays

    @needs_root
    def test_limits_of_rules(self):
        self.set_policy([self.rule('one', user=NOBODY, limits={'claims-per-user': 1, 'devices-per-user': 1})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        nobody = self.nobody()
        r = self.reserve(self.nic, client=nobody)
        with self.refused('LimitExceeded', '-per-user'):
            nobody.acquire(self.other)
        claim = self.redeem(r, client=nobody)
        with self.refused('LimitExceeded', '-per-user'):
            self.reserve(self.other, client=nobody)
        self.end(claim)
        claim = nobody.acquire(self.other)
        self.end(claim)


class AskTest(ReserveTestCase):
    """Where the rule asks, the person is asked when it is reserved, and not again."""

    def set_rules(self):
        self.set_policy([self.rule('asks', effect='ask')])
        self.polkit = MockPolkit(self.bus.address)
        self.addCleanup(self.polkit.close)

    def reserve_asking(self, device, answer=True, **options):
        pending = Pending()
        m = dbus.lowlevel.MethodCallMessage(NAME, ROOT_PATH, NAME + '.Manager', 'Reserve')
        m.set_allow_interactive_authorization(True)
        m.append(device.name, options, signature='sa{sv}')

        def on_reply(reply):
            if isinstance(reply, dbus.lowlevel.ErrorMessage):
                pending.fail(dbus.DBusException(*reply.get_args_list(), name=reply.get_error_name()))
            else:
                pending.reply(Reservation(self.c, *reply.get_args_list()))
        self.c.connection.send_message_with_reply(m, on_reply, 20)
        before = len(self.polkit.questions)
        wait(lambda: len(self.polkit.questions) > before, 'polkit is asked')
        self.polkit.questions[-1].answer(answer)
        wait(lambda: pending.done, 'it is answered')
        if pending.error:
            raise pending.error
        return pending.value[0]

    def test_asked_once(self):
        with self.refused('NotAuthorized'):
            self.reserve_asking(self.nic, answer=False)
        self.assert_untouched(self.before)
        r = self.reserve_asking(self.nic)
        n = len(self.polkit.questions)
        claim = self.redeem(r)
        self.assertEqual(len(self.polkit.questions), n)
        self.end(claim)

    @needs_root
    def test_whoever_reserves_is_asked(self):
        """And not the user whom it is for, about a process that is not theirs."""
        self.set_policy([self.rule('asks', effect='ask', user=NOBODY)])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        r = self.reserve_asking(self.nic, uid=dbus.UInt32(NOBODY))
        self.assertEqual(int(r.result['uid']), NOBODY)
        peer, n = self.peer(), len(self.polkit.questions)
        peer.send('Reserve', {'device': self.other.name, 'uid': NOBODY, 'allowInteractiveAuthentication': True})
        wait(lambda: len(self.polkit.questions) > n, 'polkit is asked')
        self.polkit.questions[-1].answer(True)
        reply, _ = peer.reply()
        self.assertEqual(reply['uid'], NOBODY)
        self.c.manager('Release', 'sa{sv}', reply['claim'], {})
        kind, details = self.polkit.questions[-1].subject
        self.assertEqual((kind, int(details['pid']), int(details['uid'])), ('unix-process', os.getpid(), 0))
        self.end(self.redeem(r, client=self.nobody()))

    def test_another_type_is_not_what_was_asked(self):
        """The template is another one, though it has the same name."""
        self.host.add_mdev_parent()

        def define(mdev_type):
            self.set_policy([self.rule('asks', device='template:serial', effect='ask')],
                            host={'templates': [{'name': 'serial', 'parent': 'mtty', 'type': mdev_type}]})
            self.c.manager('ReloadPolicy', 'a{sv}', {})
        define('mtty-1')
        r = self.reserve_asking(types.SimpleNamespace(name='template:serial'))
        define('mtty-2')
        with self.refused('NotAuthorized', 'something else'):
            self.redeem(r)
        self.assertEqual(r.state, 'reserved')
        define('mtty-1')
        n = len(self.polkit.questions)
        claim = self.redeem(r)
        self.assertEqual(len(self.polkit.questions), n)
        claim.close()
        self.wait_gone(claim)

    def test_another_rule_is_not_what_was_asked(self):
        r = self.reserve_asking(self.nic)
        self.set_policy([self.rule('asks-differently', effect='ask')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('NotAuthorized', 'something else'):
            self.redeem(r)
        self.assertEqual(r.state, 'reserved')


class CrashTest(ReserveTestCase):
    def restart(self):
        self.start(keep_fds=True)
        self.manager.forget()

    def record(self):
        return json.loads(self.slots()[0])

    def test_it_survives(self):
        r = self.reserve(self.nic, ttl=dbus.UInt64(600))
        until = r.properties()['ReservedUntil']
        for end in (self.daemon.kill, self.daemon.stop):
            end()
            self.restart()
            end = None
            self.assertEqual((r.state, r.properties()['ReservedUntil']), ('reserved', until))
            with self.refused('DeviceReserved', r.id):
                self.c.acquire(self.nic)
            break
        self.daemon.stop()
        self.restart()
        self.end(self.redeem(r))

    def test_it_expires_while_there_is_no_daemon(self):
        r = self.reserve(self.nic, ttl=dbus.UInt64(600))
        self.daemon.kill()
        self.unpack_slots()
        path = f'{self.directory}/state/claims/{r.id}.json'
        with open(path) as f:
            record = json.load(f)
        self.assertEqual((record['state'], len(record['ticket'])), ('reserved', 32))
        with open(path, 'w') as f:
            json.dump({**record, 'deadline': 1}, f)
        self.restart()
        self.wait_gone(r)
        with self.refused('TicketInvalid'):
            self.redeem(r)
        self.assert_untouched(self.before)

    def test_its_device_goes_while_there_is_no_daemon(self):
        r = self.reserve(self.nic)
        self.daemon.kill()
        self.kernel.remove(self.nic)
        self.restart()
        self.wait_gone(r)
        with self.refused('TicketInvalid'):
            self.redeem(r)

    def test_records_that_contradict_themselves(self):
        """A reservation without a ticket, and a ticket without a reservation, free nothing."""
        for change in ({'ticket': ''}, {'state': 'held'}, {'ticket': 'x' * 32}, {'ticket': 'a' * 31}):
            with self.subTest(change):
                r = self.reserve(self.nic)
                self.daemon.kill()
                self.unpack_slots()
                path = f'{self.directory}/state/claims/{r.id}.json'
                with open(path) as f:
                    record = json.load(f)
                with open(path, 'w') as f:
                    json.dump({**record, **change}, f)
                self.restart()
                with self.refused('TicketInvalid'):
                    self.redeem(r)
                self.assertEqual(self.c.device(self.nic)['State'], 'quarantined')
                self.c.manager('Release', 'sa{sv}', r.id, {})
                wait(lambda: self.c.device(self.nic)['State'] == 'free', 'it is free')

    def test_killed_before_the_bind(self):
        """The record of the claim is there before the first write: the ticket is spent, and everything goes back."""
        r = self.reserve(self.nic)
        gates = self.host.hold_binding(self.nic)
        answer = self.c.acquire_later(ticket=r.ticket)
        wait(lambda: gates.entered, 'the bind is under way')
        record = self.record()
        self.assertEqual((record['id'], record['state'], record.get('ticket')), (r.id, 'binding', None))
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        gates.let_go()
        self.restart()
        wait(lambda: self.records() == [], 'it is undone')
        with self.refused('TicketInvalid'):
            self.redeem(r)
        wait(lambda: self.host.binding() == self.before, 'everything is back')

    def test_killed_before_anything_is_written(self):
        """Its device is on its vfio driver, and whether its group is in use is being asked: nothing is decided yet."""
        r = self.reserve(self.disk, backend='group')
        gate = self.kernel.hold('open', data='/dev/vfio/10')
        answer = self.c.acquire_later(ticket=r.ticket, backend='group')
        wait(lambda: gate.entered, 'the open is under way')
        spent = 'ticket' not in self.record()
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        gate.let_go(16, effect=False)
        self.restart()
        if spent:
            wait(lambda: self.records() == [], 'the claim is undone')
            with self.refused('TicketInvalid'):
                self.redeem(r)
        else:
            self.assertEqual(r.state, 'reserved')
            self.redeem(r).close()

    def test_killed_when_it_is_held(self):
        r = self.reserve(self.nic)
        claim = self.redeem(r)
        wait(lambda: len(self.manager.fds) == 1, 'the lifeline is with the service manager')
        self.daemon.kill()
        self.restart()
        self.assertEqual(claim.state, 'held')
        with self.refused('TicketInvalid'):
            self.redeem(r)
        self.end(claim)

    def test_killed_at_any_time(self):
        """A ticket that was given is redeemed once: before the kill or after it."""
        for i in range(10):
            r = self.reserve(self.disk)
            answer = self.c.acquire_later(ticket=r.ticket)
            self.c.connection.flush()
            if i % 2:
                wait(lambda: answer.done, 'it is answered')
            self.daemon.process.send_signal(signal.SIGKILL)
            self.daemon.kill()
            wait(lambda: answer.done, 'the caller hears of it')
            self.restart()
            if answer.error is None:
                with self.refused('TicketInvalid'):
                    self.redeem(r)
                claim = answer.value[0]
            elif r.state == 'reserved':
                claim = self.redeem(r)
            else:
                claim = None
            if claim:
                claim.close()
            wait(lambda: self.records() == [], 'nothing is left')


class VarlinkTest(ReserveTestCase):
    def test_both_faces(self):
        peer = self.peer()
        reply = peer.call('Reserve', {'device': 'class:ethernet', 'ttl': 60, 'reason': 'arrives'})
        self.assertEqual(sorted(reply), ['claim', 'device', 'ticket', 'uid', 'until'])
        self.assertEqual((reply['device'], reply['uid']), (self.nic.name, os.getuid()))
        shown = peer.call('List', {'claim': reply['claim']})['claim']
        self.assertEqual((shown['state'], shown['reservedUntil']), ('reserved', reply['until']))
        with self.fails('DeviceReserved', reply['claim']):
            peer.call('Acquire', {'devices': [self.nic.name]})
        with self.fails('TicketInvalid'):
            peer.call('Acquire', {'devices': [], 'ticket': reply['claim'] + '-' + '0' * 32})
        claim = self.c.acquire(ticket=reply['ticket'])  # over the bus
        self.assertEqual(claim.id, reply['claim'])
        self.end(claim)
        r = self.reserve(self.nic)
        with self.peer() as other:
            answer, fds = other.acquire(ticket=r.ticket)
            self.assertEqual(answer['claim'], r.id)
            for fd in fds.values():
                os.close(fd)
        self.wait_gone(r)

    def test_bad_input(self):
        peer = self.peer()
        for parameters, error in (({'device': self.nic.name, 'ttl': -1}, 'InvalidArgument'),
                                  ({'device': self.nic.name, 'ttl': 86401}, 'LimitExceeded'),
                                  ({'device': 'class:x'}, 'InvalidName'), ({'device': 'tag:x'}, 'NoSuchDevice'),
                                  ({'device': self.nic.name, 'gids': [1]}, 'InvalidArgument'),
                                  ({'device': self.nic.name, 'uid': -1}, 'InvalidArgument')):
            with self.subTest(parameters), self.fails(error):
                peer.call('Reserve', parameters)
        with self.fails('org.varlink.service.InvalidParameter'):
            peer.call('Reserve', {'device': self.nic.name, 'ticket': 'x'})
        self.assert_untouched(self.before)


if __name__ == '__main__':
    harness.main()
