#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims that can be found again, hang on something else than a lifeline, and move."""

import os

import harness
from harness import VfiodTestCase, needs_root, wait
from host import VFIO

DAEMON = 1  # an account that every host has
EVERYBODY = {'name': 'all', 'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional'}


class TetherTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.card = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()
        self.set_policy([EVERYBODY])

    def client_of(self, uid):
        os.seteuid(uid)
        try:
            return self.client()
        finally:
            os.seteuid(0)

    def restart(self):
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()


class CookieTest(TetherTestCase):
    UUID = '6b86b273-ff34-4ce1-9d6b-804eff5a3f57'

    def test_it_names_the_claim(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, cookie=self.UUID)
        shown = claim.properties()
        self.assertEqual((shown['Cookie'], shown['Tether'], shown['Grant']), (self.UUID, 'lifeline', 'fd'))
        self.assertEqual((claim.result['tether'], claim.result['grant']), ('lifeline', 'fd'))
        plan = c.plan(self.card)
        self.assertEqual((plan['tether'], plan['grant']), ('lifeline', 'fd'))
        explanation = c.manager('Explain', 'asa{sv}', [], {'claim': 'cookie:' + self.UUID})
        self.assertIn(claim.id, explanation)
        c.manager('Release', 'sa{sv}', 'cookie:' + self.UUID, {})
        claim.close()
        self.wait_gone(claim)
        with self.refused('NoSuchClaim', 'cookie:' + self.UUID):
            c.manager('Release', 'sa{sv}', 'cookie:' + self.UUID, {})

    def test_another_connection_finds_it_after_a_crash(self):
        self.start()
        claim = self.client().acquire(self.nic, cookie='vm-1')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.restart()
        c = self.client()
        self.assertEqual(c.properties(claim.path, 'Claim')['Cookie'], 'vm-1')
        with self.refused('CookieInUse', claim.id, 'vm-1'):
            c.acquire(self.card, cookie='vm-1')
        c.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
        claim.client = c
        claim.close()
        self.wait_gone(claim)
        c.acquire(self.card, cookie='vm-1').close()

    def test_it_is_unique_for_its_user(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, cookie='vm-1')
        for call in c.acquire, c.plan:
            with self.refused('CookieInUse', claim.id):
                call(self.card, cookie='vm-1')
        self.assertEqual(self.records(), [claim.id + '.json'])
        other = c.acquire(self.card, cookie='vm-2')
        claim.close()
        self.wait_gone(claim)
        c.acquire(self.nic, cookie='vm-1').close()
        other.close()

    def test_bad_cookies(self):
        self.start()
        c = self.client()
        for bad in ('', ' ', 'a/b', 'a\n', 'é', 'c' * 65, 'cookie:', '\x01'):
            if bad == 'cookie:':
                c.plan(self.nic, cookie=bad)
                continue
            with self.refused('InvalidArgument', 'not a cookie'):
                c.acquire(self.nic, cookie=bad)
        with self.refused('InvalidArgument', 'must be a string'):
            c.acquire(self.nic, cookie=7)
        for name in ('cookie:', 'cookie:x', 'cookie:' + 'c' * 100_000, 'cookie:\x1b[2J'):
            with self.refused('NoSuchClaim'):
                c.manager('Release', 'sa{sv}', name, {})

    @needs_root
    def test_of_somebody_else(self):
        self.start()
        alice, root = self.client_of(harness.NOBODY), self.client()
        claim = alice.acquire(self.nic, cookie='vm-1')
        bob = self.client_of(DAEMON)
        for stranger in (bob, root):
            with self.refused('NoSuchClaim'):
                stranger.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
            with self.refused('NoSuchClaim'):
                stranger.manager('Explain', 'asa{sv}', [], {'claim': 'cookie:vm-1'})
        self.assertEqual(bob.properties(claim.path, 'Claim')['Cookie'], '')
        self.assertEqual(bob.objects()[claim.path]['org.vfiod1.Claim']['Cookie'], '')
        self.assertEqual(root.properties(claim.path, 'Claim')['Cookie'], 'vm-1')
        self.assertNotIn('vm-1', str([c.events for c in (alice, bob, root)]))
        own = bob.acquire(self.card, cookie='vm-1')  # his own
        bob.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
        own.close()
        self.wait_gone(own)
        self.assertEqual(claim.state, 'held')
        claim.close()


class RuleTest(TetherTestCase):
    def test_the_rule_decides(self):
        self.set_policy([{**EVERYBODY, 'tether': ['unit', 'explicit']}])
        self.start()
        c = self.client()
        for call in c.plan, c.acquire:
            with self.refused('AccessDenied', 'does not allow the tether lifeline', 'To loosen the policy',
                              'add "lifeline" to "tether"'):
                call(self.nic)
        with self.refused('InvalidArgument', 'not a tether'):
            c.plan(self.nic, tether='life')
        with self.refused('InvalidArgument', 'not a grant'):
            c.plan(self.nic, grant='fds')
        self.assert_untouched(self.before)

    @needs_root
    def test_explicit_is_for_root(self):
        self.set_policy([{**EVERYBODY, 'tether': ['lifeline', 'explicit']}])
        self.start()
        with self.refused('AccessDenied', 'only root', 'No rule can allow'):
            self.client_of(harness.NOBODY).plan(self.nic, tether='explicit')


if __name__ == '__main__':
    harness.main()
