#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a refusal teaches, to whom, and what it leaves behind."""

import errno
import json
import os
import sys

import dbus

import harness
from harness import NAME, NOBODY, ROOT_PATH, Pending, VfiodTestCase, device_path, needs_root, wait
from host import VFIO


class ErrorTestCase(VfiodTestCase):
    def error_of(self, method, signature, *arguments):
        """All arguments of the error that a call gives; a blocking call of python3-dbus tells the first only."""
        pending = Pending()
        self.client().connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', method, signature, arguments,
                                            pending.reply, pending.fail, 20)
        wait(lambda: pending.done, f'{method} answers')
        return pending.error.args


class DetailsTest(ErrorTestCase):
    """The parts of a refusal, for who asks for them and may know them."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.file = self.set_policy([{'name': 'mine', 'effect': 'allow', 'who': {'user': os.getuid()},
                                      'what': {'device': '06:00.0', 'driver': 'iavf'}}])
        self.start()

    def details(self, *devices, **options):
        names = [getattr(d, 'name', d) for d in devices]
        sentence, details = self.error_of('Acquire', 'asa{sv}', names, {'details': True, **options})
        return str(sentence), {str(k): v for k, v in details.items()}

    def test_nearest_rule(self):
        sentence, details = self.details(self.nic)
        self.assertIn('no rule of the policy allows it', sentence)
        self.assertIn(f'Rule mine ({self.file}:', sentence)
        self.assertEqual(details['device'], self.nic.name)
        self.assertTrue(details['nearest'].startswith('mine ('))
        self.assertEqual(details['predicate'], 'what.driver')
        self.assertEqual(details['wanted'], 'iavf')
        self.assertEqual(details['seen'], 'e1000e')
        self.assertIn('what.driver requires iavf, found e1000e', details['remedy'])
        self.assertNotIn('rule', details)

    def test_rule_that_denies(self):
        self.set_policy([self.rule(name='never', effect='deny')])
        self.client().manager('ReloadPolicy', 'a{sv}', {})
        sentence, details = self.details(self.nic)
        self.assertIn('[rule never (', sentence)
        self.assertEqual((details['rule'], details['file']), (f'never ({self.file}:3)', self.file))
        self.assertEqual(details['line'], 3)

    def test_only_who_asks_gets_them(self):
        for options in ({}, {'details': False}):
            self.assertEqual(len(self.error_of('Acquire', 'asa{sv}', [self.nic.name], options)), 1)

    def test_of_what_is_wrong_before_the_options(self):
        _, details = self.details('nonsense')
        self.assertIn('"nonsense" is not the name of a device', details['reason'])
        self.assertIn('vfioctl list', details['remedy'])

    def test_every_method_takes_it(self):
        c = self.client()
        self.assertEqual(len(self.error_of('Plan', 'asa{sv}', [self.nic.name], {'details': True})), 2)
        self.assertEqual(len(self.error_of('Release', 'sa{sv}', 'x', {'details': True})), 2)
        c.manager('ReloadPolicy', 'a{sv}', {'details': True})
        with self.refused('InvalidArgument', 'details'):
            c.plan(self.nic, details='yes')

    def test_clients_as_they_are_show_the_sentence(self):
        for options in (['0'], ['1', 'details', 'b', 'true']):
            status, output = self.busctl('call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', 'Acquire',
                                         'asa{sv}', '1', '06:00.0', *options)
            self.assertNotEqual(status, 0)
            self.assertIn('no rule of the policy allows it', output)
        gdbus = self.tool('gdbus', 'call', '--system', '-d', 'org.vfiod1', '-o', '/org/vfiod1',
                          '-m', 'org.vfiod1.Manager.Acquire', "['06:00.0']", '{}')
        self.assertIn('no rule of the policy allows it', gdbus.communicate(timeout=20)[0])

    @needs_root
    def test_stranger_hears_nothing(self):
        """What a stranger is told must not depend on the rules that are about others."""
        said = []
        for rules in ([], [self.rule(name='secret')], [self.rule(name='secret', effect='deny')],
                      [self.rule(name='secret', driver='iavf')]):
            for rule in rules:
                rule['what'].update({'driver': rule.pop('driver')} if 'driver' in rule else {})
            self.set_policy(rules)
            self.client().manager('ReloadPolicy', 'a{sv}', {})
            said.append(self.busctl('call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', 'Acquire', 'asa{sv}',
                                    '1', '06:00.0', '1', 'details', 'b', 'true', user=NOBODY))
        self.assertEqual(len(set(said)), 1, said)
        self.assertIn('no rule of the policy allows it', said[0][1])


class ObstaclesTest(ErrorTestCase):
    """Whoever asks what stands in the way of a claim hears all of it at once."""

    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:01:00.0', group=1, driver='nouveau', class_code=0x030000, reset='')
        self.audio = self.host.add_device('0000:01:00.1', group=1, driver='snd_hda_intel', class_code=0x040300)
        self.set_policy([self.rule(reason='required')])
        self.start()

    ALL = ['ResetUnsupported', 'GroupNotViable', 'ReasonRequired', 'LimitExceeded']

    def test_plan(self):
        options = {'details': True, 'memlock': dbus.UInt64(4096)}
        _, details = self.error_of('Plan', 'asa{sv}', [self.gpu.name], options)
        self.assertEqual([details['error']] + [o['error'] for o in details['obstacles']], self.ALL)
        self.assertEqual([dict(b) for b in details['obstacles'][0]['blockers']],
                         [{'kind': 'device', 'name': self.audio.name, 'why': 'driver snd_hda_intel'}])
        self.assertIn(self.audio.name, details['obstacles'][0]['reason'])
        # A claim is refused for the first, and nothing else is looked for.
        _, details = self.error_of('Acquire', 'asa{sv}', [self.gpu.name], options)
        self.assertEqual(details['error'], self.ALL[0])
        self.assertNotIn('obstacles', details)

    def test_explain(self):
        found = json.loads(self.client().manager('Explain', 'asa{sv}', [self.gpu.name],
                                                 {'memlock': dbus.UInt64(4096)}))
        self.assertEqual([o['error'] for o in found['obstacles']], self.ALL)
        self.assertEqual((found['error'], found['message']),
                         (self.ALL[0], found['obstacles'][0]['message']))

    @needs_root
    def test_stranger(self):
        for command in ('Plan', 'Acquire'):
            status, output = self.busctl('--json=short', 'call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager',
                                         command, 'asa{sv}', '1', '01:00.0', '1', 'details', 'b', 'true', user=NOBODY)
            self.assertNotEqual(status, 0)
            self.assertIn('no rule of the policy allows it', output)
            self.assertNotIn(self.audio.name, output)
        status, output = self.busctl('--json=short', 'call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager',
                                     'Explain', 'asa{sv}', '1', '01:00.0', '0', user=NOBODY)
        self.assertEqual(status, 0, output)
        self.assertNotIn(self.audio.name, output)
        found = json.loads(json.loads(output)['data'][0])
        self.assertEqual([o['error'] for o in found['obstacles']], ['AccessDenied'])

    @needs_root
    def test_beyond_the_policy(self):
        """Root learns at once what a rule for a user who is denied would meet."""
        names = ['AccessDenied', 'ResetUnsupported', 'GroupNotViable']
        self.set_policy([self.rule(user=4711)])
        client = self.client()
        client.manager('ReloadPolicy', 'a{sv}', {})
        found = json.loads(client.manager('Explain', 'asa{sv}', [self.gpu.name], {'uid': dbus.UInt32(4712)}))
        self.assertEqual([o['error'] for o in found['obstacles']], names)
        self.assertEqual(found['error'], names[0])
        self.assertIn('a rule by default requires a reset', found['obstacles'][1]['message'])
        self.assertIn(self.audio.name, found['obstacles'][2]['message'])
        _, details = self.error_of('Plan', 'asa{sv}', [self.gpu.name], {'details': True})
        self.assertEqual([details['error']] + [o['error'] for o in details['obstacles']], names)


class BlockersTest(ErrorTestCase):
    """A refusal names what blocks it as data."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()

    def blockers(self):
        _, details = self.error_of('Acquire', 'asa{sv}', [self.nic.name], {'details': True})
        return [(str(b['kind']), str(b['name'])) for b in details['blockers']]

    def test_a_claim(self):
        claim = self.client().acquire(self.nic)
        self.assertEqual(self.blockers(), [('claim', claim.id)])

    def test_a_process(self):
        fd = self.host.hold_node('/dev/vfio/8')
        self.assertEqual(self.blockers(), [('process', str(os.getpid()))])
        os.close(fd)


class ExplainTest(VfiodTestCase):
    """Manager.Explain."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.file = self.set_policy([self.rule(name='bobs', user=4711), self.rule(name='mine', driver='e1000e')])
        self.start()
        self.c = self.client()

    def rule(self, driver=None, **fields):
        rule = super().rule(**fields)
        if driver:
            rule['what']['driver'] = driver
        return rule

    def explain(self, *devices, **options):
        return json.loads(self.c.manager('Explain', 'asa{sv}', [d.name for d in devices], options))

    def reload(self, *rules):
        self.set_policy(list(rules))
        self.c.manager('ReloadPolicy', 'a{sv}', {})

    def explain_as(self, user, *arguments):
        status, output = self.busctl('--json=short', 'call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', 'Explain',
                                     'asa{sv}', *arguments, user=user)
        return status, json.loads(json.loads(output)['data'][0]) if status == 0 else output

    def test_yes(self):
        story = self.explain(self.nic)
        self.assertEqual(story['effect'], 'allow')
        self.assertIsNone(story['error'])
        self.assertEqual(story['plan']['backend'], 'iommufd')
        self.assertEqual(story['subject'], {'user': None, 'uid': os.getuid()})
        device, = story['devices']
        self.assertEqual((device['rule'], device['file'], device['change']), ('mine', self.file, None))
        self.assertEqual([r['holds'] for r in device['considered']], [False, True])

    def test_no_of_the_policy_and_of_acquire(self):
        self.reload(self.rule(name='mine', driver='iavf'))
        story = self.explain(self.nic)
        self.assertEqual((story['effect'], story['error'], story['plan']), ('deny', 'AccessDenied', None))
        self.assertIn('what.driver requires iavf, found e1000e', story['devices'][0]['change'])
        self.assertIn(story['devices'][0]['change'], story['message'])
        # The policy says yes and the host says no.
        self.reload(self.rule(backend=['group']))
        story = self.explain(self.nic, backend='iommufd')
        self.assertEqual((story['effect'], story['error']), ('allow', 'BackendUnavailable'))

    def test_claim(self):
        """The device is on another driver meanwhile than the one that the rule speaks of."""
        claim = self.c.acquire(self.nic)
        story = self.explain(claim=claim.id)
        self.assertEqual(story['effect'], 'allow')
        self.assertEqual((story['claim']['id'], story['claim']['state']), (claim.id, 'held'))
        self.assertIn('mine (', story['claim']['rule'])
        self.reload(self.rule(name='other', user=4711))
        story = self.explain(claim=claim.id)
        self.assertEqual(story['effect'], 'deny')
        self.assertIn('mine (', story['claim']['rule'])
        claim.close()

    def test_facts_are_read(self):
        """Of predicates that need more than what the kernel announces."""
        self.reload({'name': 'resettable', 'effect': 'allow', 'who': {'user': os.getuid()},
                     'what': {'device': '06:00.0', 'isolation': {'reset': True, 'alone': True}, 'numa': 3}})
        story = self.explain(self.nic)
        self.assertEqual(story['effect'], 'deny')
        seen = {p['key']: (p['holds'], p['seen']) for p in story['devices'][0]['considered'][0]['predicates']}
        self.assertEqual(seen['what.isolation.alone'], ('yes', 'alone in group 8'))
        self.assertEqual(seen['what.isolation.reset'][0], 'yes')
        self.assertEqual(seen['what.numa'], ('no', 'none'))
        self.reload({'name': 'resettable', 'effect': 'allow', 'who': {'user': os.getuid()},
                     'what': {'device': '06:00.0', 'isolation': {'reset': True}}})
        claim = self.c.acquire(self.nic)
        self.assertEqual(self.explain(claim=claim.id)['effect'], 'allow')
        claim.close()

    def test_failure_is_remembered_like_a_refusal(self):
        self.host.fail_binding(self.nic, errno.EBUSY)
        with self.refused('BindFailed'):
            self.c.acquire(self.nic)
        story = self.explain(lastRefusal=True)
        self.assertEqual(story['refused']['error'], 'BindFailed')
        self.assertEqual(story['effect'], 'allow')

    def test_claim_after_a_restart(self):
        self.reload({**self.rule(name='mine'), 'who': {'group': os.getgid()}})
        claim = self.c.acquire(self.nic)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.daemon.kill()
        self.c.close()
        self.start(keep_fds=True)
        self.manager.forget()
        self.c = self.client()
        story = self.explain(claim=claim.id)
        self.assertEqual((story['effect'], story['devices'][0]['rule']), ('allow', 'mine'))
        self.assertEqual(story['claim']['state'], 'held')
        claim.close()

    def test_last_refusal(self):
        with self.refused('InvalidArgument', 'vfiod remembers no refusal'):
            self.explain(lastRefusal=True)
        self.reload(self.rule(name='mine', driver='iavf'))
        with self.refused('AccessDenied') as caught:
            self.c.acquire(self.nic, reason='why not')
        story = self.explain(lastRefusal=True)
        self.assertEqual(story['refused']['error'], 'AccessDenied')
        self.assertEqual(story['refused']['message'], caught.exception.get_dbus_message())
        self.assertFalse(story['refused']['policyReloaded'])
        self.assertEqual(story['effect'], 'deny')
        # What was said then stays, what would be said now is next to it.
        self.reload(self.rule())
        story = self.explain(lastRefusal=True)
        self.assertTrue(story['refused']['policyReloaded'])
        self.assertEqual((story['effect'], story['error']), ('allow', None))
        # The device is gone.
        self.kernel.remove(self.nic)
        path = device_path(self.nic.name)
        wait(lambda: self.c.seen('InterfacesRemoved', path), 'vfiod has heard of it')
        story = self.explain(lastRefusal=True)
        self.assertEqual((story['effect'], story['error'], story['devices']), ('deny', 'NoSuchDevice', []))

    @needs_root
    def test_groups_by_name(self):
        """As far as the local file has them, next to that of the users."""
        with open(f'{self.directory}/group', 'w') as f:
            f.write('video:x:44:\n')
        self.reload({**self.rule(), 'who': {'group': 4242}})
        story = self.explain(self.nic, uid=dbus.UInt32(1), gids=dbus.Array([44, 45], 'u'))
        self.assertIn('found video (44), gid 45', story['devices'][0]['change'])

    @needs_root
    def test_about_others(self):
        story = self.explain(self.nic, uid=dbus.UInt32(4711), user='bob')
        self.assertEqual((story['effect'], story['devices'][0]['rule']), ('allow', 'bobs'))
        self.assertEqual(story['subject'], {'user': 'bob', 'uid': 4711})
        self.reload({**self.rule(), 'who': {'group': 4242, 'capability': 'CAP_SYS_RAWIO', 'label': 'x*',
                                            'unit': 'a.service', 'cgroup': '/a*', 'namespace': 'host'}})
        options = {'uid': dbus.UInt32(1), 'gids': dbus.Array([4242], 'u'), 'label': 'xyz', 'unit': 'a.service',
                   'cgroup': '/a.slice/a.service', 'capabilities': ['CAP_SYS_RAWIO']}
        self.assertEqual(self.explain(self.nic, **options)['effect'], 'allow')
        for key in ('gids', 'label', 'cgroup', 'capabilities'):
            self.assertEqual(self.explain(self.nic, **{k: v for k, v in options.items() if k != key})['effect'], 'deny')
        self.assertEqual(self.explain(self.nic, **options, foreignNamespace=True)['effect'], 'deny')
        self.assertEqual(self.explain(self.nic, **options, namespace='other')['effect'], 'deny')
        self.assertEqual(self.explain(self.nic, **options, namespace='host')['effect'], 'allow')
        with self.refused('InvalidArgument', 'namespace'):
            self.explain(self.nic, **options, namespace='mine')
        self.assertEqual(self.explain(self.nic, **options, scope='ci')['effect'], 'deny')
        with self.refused('InvalidArgument', 'scope'):
            self.explain(self.nic, **options, scope='../ci')
        self.reload({**self.rule(), 'who': {'scope': ['lab', 'ci']}})
        self.assertEqual(self.explain(self.nic, **options, scope='ci')['effect'], 'allow')
        self.assertEqual(self.explain(self.nic, **options)['effect'], 'deny')
        with self.refused('InvalidArgument', 'uid'):
            self.explain(self.nic, user='bob')

    @needs_root
    def test_others_about_themselves(self):
        """A stranger hears of no rule, sees no claim of others, and describes nobody."""
        self.reload(self.rule(name='bobs', user=4711), self.rule(name='mine'))
        status, story = self.explain_as(NOBODY, '1', '06:00.0', '0')
        self.assertEqual(status, 0, story)
        self.assertEqual(story['subject']['uid'], NOBODY)
        device, = story['devices']
        self.assertEqual((device['rule'], device['considered'], device['hidden']), (None, [], 2))
        for secret in ('mine', 'bobs', '4711', self.file, 'e1000e'):
            self.assertNotIn(secret, json.dumps(story))
        status, output = self.explain_as(NOBODY, '1', '06:00.0', '1', 'uid', 'u', '0')
        self.assertIn('only root can ask about another user', output)
        claim = self.c.acquire(self.nic)
        status, output = self.explain_as(NOBODY, '0', '1', 'claim', 's', claim.id)
        self.assertIn('is not yours', output)
        # Another one's refusal is not his, and root finds both.
        with self.refused('DeviceClaimed'):
            self.c.acquire(self.nic)
        status, output = self.explain_as(NOBODY, '0', '1', 'lastRefusal', 'b', 'true')
        self.assertIn('vfiod remembers no refusal', output)
        self.busctl('call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', 'Acquire', 'asa{sv}', '1', '06:00.0', '0',
                    user=NOBODY)
        status, story = self.explain_as(NOBODY, '0', '1', 'lastRefusal', 'b', 'true')
        self.assertEqual(story['refused']['error'], 'AccessDenied')
        self.assertEqual(self.explain(lastRefusal=True)['subject']['uid'], NOBODY)
        self.assertEqual(self.explain(lastRefusal=True, uid=dbus.UInt32(0))['refused']['error'], 'DeviceClaimed')
        claim.close()

    @needs_root
    def test_bounded_in_time(self):
        """Everybody may ask, and nobody gets the whole daemon by asking."""
        self.reload(*({'effect': 'allow', 'who': {}, 'what': {'id': f'1234:{n:04x}', 'driver': f'd{n}'}}
                      for n in range(3000)))
        script = ('import dbus, sys, time\n'
                  'bus = dbus.bus.BusConnection(sys.argv[1])\n'
                  'end = time.monotonic() + 15\n'
                  'while time.monotonic() < end:\n'
                  '    try:\n'
                  '        bus.call_blocking("org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager", "Explain", "asa{sv}",\n'
                  '                          (["06:00.0"], {}), 20)\n'
                  '    except dbus.DBusException as e:\n'
                  '        print(e.get_dbus_name())\n'
                  '        break\n')
        process = self.tool(sys.executable, '-c', script, self.bus.address, user=NOBODY)
        self.assertEqual(process.communicate(timeout=30)[0], 'org.vfiod1.Error.LimitExceeded\n')
        self.assertEqual(self.explain(self.nic)['effect'], 'deny')  # root is not held back
        other = self.tool(sys.executable, '-c', script.replace('+ 15', '+ 0.01'), self.bus.address, user='daemon')
        self.assertEqual(other.communicate(timeout=30)[0], '')  # nor is another user, who asks once

    def test_bad_questions(self):
        for devices, options in (([], {}), ([self.nic.name], {'lastRefusal': True}),
                                 ([self.nic.name], {'claim': 'x'}), ([], {'claim': 'x', 'lastRefusal': True}),
                                 ([self.nic.name], {'uid': 'root'}), ([self.nic.name], {'gids': dbus.Array([], 's')}),
                                 ([self.nic.name], {'capabilities': ['CAP_FLY']}), ([], {'lastRefusal': 'yes'})):
            with self.refused('InvalidArgument'):
                self.c.manager('Explain', 'asa{sv}', devices, options)
        with self.refused('NoSuchClaim'):
            self.explain(claim='x')
        with self.refused('UnknownOption'):
            self.explain(self.nic, colour='red')
        with self.refused('NoSuchDevice'):
            self.c.manager('Explain', 'asa{sv}', ['0000:99:00.0'], {})


class FloodTest(VfiodTestCase):
    """A client that asks often for what it may not have."""

    def test_refusals_are_counted_not_logged(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.set_policy([self.rule(device='0000:07:*')])
        self.start()
        c = self.client()
        for _ in range(200):
            with self.refused('AccessDenied'):
                c.acquire(nic)
        self.assertEqual(len(self.log_lines('Refused uid')), 5)
        # Who was refused so often gets nothing unseen.
        self.set_policy([self.rule()])
        c.manager('ReloadPolicy', 'a{sv}', {})
        c.acquire(nic).close()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(len(self.log_lines('got pci:0000:06:00.0')), 1)
        self.assertEqual(len(self.log_lines('195 more refusals of uid')), 1)


if __name__ == '__main__':
    harness.main()
