#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfioctl policy and vfioctl snapshot: over recorded hosts, and beside a daemon, which must say the same."""

import errno
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import jsonschema

import harness
from harness import SOURCE, VfiodTestCase, needs_root, wait
from host import VFIO

OLD_HIERARCHY = '/sys/fs/cgroup/systemd'
HOST = SOURCE / 'tests/rehearsal/host.json'
CASES = SOURCE / 'tests/rehearsal/cases.json'
WORKSHOP = SOURCE / 'policy/examples/70-workshop.json'
GPU, SWAPPED, UPLINK, SPARE = (f'pci:0000:{slot}' for slot in ('01:00.0', '02:00.0', '04:00.0', '08:00.0'))
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.S)


def strip_comments(text):
    """A comment is a space, unless it only looks like one in a string."""
    return TOKEN.sub(lambda m: m[0] if m[0].startswith('"') else ' ', text)


def rule(effect='allow', who=None, what=None, **keys):
    return {'effect': effect, 'who': who or {}, 'what': what or {}, **{k.replace('_', '-'): v for k, v in keys.items()}}


class FilesTest(unittest.TestCase):
    """No daemon, no bus, no device of this host."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix='vfiod-test-rehearsal.')
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name

    def vfioctl(self, *arguments, host=HOST, stdin=None):
        """(exit status, standard output, standard error)"""
        command = [os.environ['VFIOCTL'], *map(str, arguments)]
        if host:
            command += ['--host', str(host)]
        environment = {**os.environ, 'LC_ALL': 'C.UTF-8', 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'}
        environment.pop('LD_PRELOAD', None)
        done = subprocess.run(command, input=stdin, stdin=None if stdin else subprocess.DEVNULL, env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def text(self, *arguments, status=0, **options):
        found, out, err = self.vfioctl(*arguments, **options)
        self.assertEqual((found, err), (status, ''), out)
        return out

    def json(self, *arguments, status=0, **options):
        return json.loads(self.text(*arguments, '--json', status=status, **options))

    def fails(self, status, *arguments, **options):
        found, out, err = self.vfioctl(*arguments, **options)
        self.assertEqual((found, out), (status, ''), err)
        return err

    def file(self, name, content):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def policy(self, *rules, name='policy.json', **keys):
        return self.file(name, {'rules': list(rules), **keys})

    def explain(self, *arguments, policy=WORKSHOP, **options):
        return self.json('policy', 'explain', '--policy', policy, *arguments, **options)


class CheckTest(FilesTest):
    def test_clean(self):
        self.assertEqual(self.text('policy', 'check', WORKSHOP), '1 file, 9 rules, no errors, no warnings\n')
        checked = self.json('policy', 'check', WORKSHOP)
        self.assertRegex(checked.pop('digest'), '^[0-9a-f]{16}$')
        self.assertEqual(checked, {'files': 1, 'rules': 9, 'errors': [], 'warnings': []})

    def test_errors_have_places(self):
        path = self.file('a.json', '{\n  "rules": [\n    {"efect": "allow", "who": {}, "what": {}}\n  ]\n}\n')
        lines = self.text('policy', 'check', path, status=1).splitlines()
        self.assertIn(f'{path}:3:6: error: unknown key "efect" in a rule, did you mean "effect"?', lines)
        self.assertIn('none of this would be loaded', lines[-1])
        found = self.json('policy', 'check', path, status=1)
        self.assertEqual((found['errors'], found['rules']), (lines[:-1], 0))

    def test_warnings_do_not_fail(self):
        path = self.policy(rule('deny', name='all'), rule('deny', who={'user': 'alice'}, name='never'))
        lines = self.text('policy', 'check', path).splitlines()
        self.assertRegex(lines[0], r'policy.json:1:\d+: warning: .*"?all"?')
        self.assertTrue(lines[-1].endswith('no errors, 1 warning'), lines)

    def test_accounts_are_those_of_the_recorded_host(self):
        path = self.policy(rule(who={'user': 'alise'}), rule(who={'group': 'artists'}))
        found = self.json('policy', 'check', path)['warnings']
        self.assertEqual(len(found), 1)
        self.assertIn('unknown user "alise"', found[0])

    def test_directories_and_several_files(self):
        self.policy(rule(name='b'), name='d/20-b.json')
        self.policy(rule(name='a'), name='d/10-a.json')
        self.file('d/README', 'not a policy')
        first = self.policy(rule('deny', who={'user': 'bob'}, name='first'), name='99.json')
        shown = self.json('policy', 'show', first, f'{self.directory}/d')
        self.assertEqual([r['rule'] for r in shown['rules']], ['first', 'a', 'b'])

    def test_trouble(self):
        found = self.json('policy', 'check', f'{self.directory}/none.json', status=1)['errors']
        self.assertIn('none.json: error: cannot open: No such file or directory', found[0])
        self.assertIn('cannot read the recorded host', self.fails(2, 'policy', 'check', host='/nonexistent'))
        broken = self.file('host.json', '{"version": 1, "devises": []}')
        self.assertIn('devises', self.fails(2, 'policy', 'check', WORKSHOP, host=broken))
        self.assertIn('unknown verb', self.fails(2, 'policy', 'chek', host=None))
        self.assertIn("'check'", self.fails(2, 'policy', 'chek', host=None))
        self.assertIn('No verb after policy', self.fails(2, 'policy', host=None))

    def test_hostile_text_cannot_reach_the_terminal(self):
        path = self.policy(rule(who={'user': 'x\x1b[31m\n'}))
        self.assertNotIn('\x1b', self.text('policy', 'check', path, status=1))


class ShowTest(FilesTest):
    def test_order_and_places(self):
        shown = self.json('policy', 'show', WORKSHOP)
        self.assertEqual([r['rule'] for r in shown['rules']][:3],
                         ['workshop-uplink', 'workshop-not-from-inside', 'workshop-render'])
        render = shown['rules'][2]
        lines = WORKSHOP.read_text().splitlines()
        self.assertEqual((render['file'], lines[render['line']].strip()), (str(WORKSHOP), '"name": "workshop-render",'))
        self.assertEqual((render['who'], render['memlock'], render['limits']),
                         ({'group': 'artists'}, '64G', {'claims-per-user': 1}))
        self.assertEqual([t['tag'] for t in shown['tags']], ['render', 'capture', 'uplink'])
        self.assertEqual(shown['host'], {'noiommu': 'off'})
        text = self.text('policy', 'show', WORKSHOP)
        self.assertRegex(text, r'workshop-render +allow +group artists +tag render +siblings park, memlock 64G, limits claims-per-user 1')

    def test_no_rules(self):
        self.assertIn('everything is denied to everybody', self.text('policy', 'show', self.policy()))

    def test_virtual_functions(self):
        path = self.file('functions.json', json.dumps({'host': {'virtual-functions': [
            {'device': '3b:00.0', 'count': 8, 'autoprobe': False}, {'device': '0000:3c:*', 'count': 1}]}}))
        first, second = self.json('policy', 'show', path)['host']['virtualFunctions']
        self.assertEqual((first['device'], first['count'], first['autoprobe']), ('3b:00.0', 8, False))
        self.assertNotIn('autoprobe', second)
        self.assertTrue(second['place'].startswith(f'{path}:1:'), second)
        self.assertEqual((second['file'], second['line']), (path, 1))
        self.assertIn('1 of 0000:3c:* (', self.text('policy', 'show', path))
        self.assertIn('already declared at', self.text('policy', 'check', path, self.file('other.json', json.dumps(
            {'host': {'virtual-functions': [{'device': '0000:3b:00.0', 'count': 8}]}})), status=1))

    def test_broken(self):
        self.assertIn('nothing of it is loaded', self.fails(2, 'policy', 'show', self.policy(rule('alow'))))


class ExplainTest(FilesTest):
    def test_what_was_not_told_is_named(self):
        """Only where it decides: with a plain no beside it, it does not matter."""
        policy = self.policy(rule(who={'unit': 'x.service', 'label': 'y'}, name='a'),
                             rule(who={'slice': 'z.slice'}, what={'device': '77:00.0'}, name='b'))
        explain = ['policy', 'explain', '--policy', policy, GPU, '--user', 'alice']
        self.assertIn('Unknown: who.unit (--unit), who.label (--label)\n', self.text(*explain))
        self.assertIn('Unknown: who.label (--label)\n', self.text(*explain, '--unit', 'x.service'))
        self.assertNotIn('Unknown', self.text(*explain, '--unit', 'v.service'))

    def test_somebody_without_an_account(self):
        found = self.explain('--user', '4711', '--group', '4711', '06:00.0', policy=self.policy(rule(who={'user': 1})))
        self.assertEqual(found['subject'], {'user': None, 'uid': 4711})
        # What is proposed can be written as it stands.
        self.assertIn('"who": { "user": 4711 }', found['devices'][0]['change'])

    def test_all_obstacles_of_a_user_without_a_rule(self):
        """What the proposed rule would meet is listed at once, not after it was added."""
        host = json.loads(HOST.read_text())
        gpu = next(d for d in host['devices'] if d['name'] == GPU)
        gpu['resetMethods'] = []
        alone = self.file('alone.json', host)
        policy = self.policy(rule(who={'user': 1}))
        found = self.explain('--user', '4711', GPU, policy=policy, host=alone)
        names = [o['error'] for o in found['obstacles']]
        self.assertEqual(names, ['AccessDenied', 'ResetUnsupported', 'GroupNotViable'])
        self.assertEqual(found['error'], names[0])
        text = self.text('policy', 'explain', '--policy', policy, '--user', '4711', GPU, host=alone)
        self.assertIn('All obstacles', text)
        self.assertIn('a rule by default requires a reset', ' '.join(text.split()))
        # Then the rule is added as it was proposed.
        added = self.policy(rule(who={'user': 4711}, what={'device': GPU}), name='added.json')
        found = self.explain('--user', '4711', GPU, policy=added, host=alone)
        self.assertEqual([o['error'] for o in found['obstacles']], names[1:])

    def test_groups_by_name(self):
        artists = self.policy(rule(who={'group': 'artists'}))
        for groups, seen in (([], 'bob (1001), drivers (2001)'), (['--group', '4711'], 'gid 4711')):
            found = self.explain('--user', 'bob', *groups, GPU, policy=artists)
            group, = (p for p in found['devices'][0]['considered'][0]['predicates'] if p['key'] == 'who.group')
            self.assertIn(seen, group['seen'])

    def test_yes(self):
        found = self.explain('--user', 'alice', '01:00.0')
        self.assertEqual((found['effect'], found['error'], found['message']), ('allow', None, None))
        self.assertEqual(found['subject'], {'user': 'alice', 'uid': 1000})
        self.assertEqual(found['plan']['backend'], 'iommufd')
        device, = found['devices']
        self.assertEqual((device['device'], device['rule'], device['change']), (GPU, 'workshop-render', None))
        self.assertEqual([(r['rule'], r['holds']) for r in device['considered']],
                         [('workshop-uplink', False), ('workshop-not-from-inside', False), ('workshop-render', True)])

    def test_no_tells_what_was_seen_and_what_to_change(self):
        found = self.explain('--user', 'mallory', '01:00.0', '--unit', 'x.service', '--label', 'unconfined')
        device, = found['devices']
        self.assertEqual((found['effect'], found['error'], device['rule']), ('deny', 'AccessDenied', None))
        self.assertEqual(len(device['considered']), 9)
        group, = (p for r in device['considered'] if r['rule'] == 'workshop-render' for p in r['predicates']
                  if p['key'] == 'who.group')
        self.assertEqual((group['holds'], group['wanted']), ('no', 'artists'))
        self.assertIn('1002', group['seen'])
        self.assertTrue(device['change'])
        text = self.text('policy', 'explain', '--policy', WORKSHOP, '--user', 'mallory', GPU)
        self.assertIn('denied: no rule matches', text)
        self.assertRegex(text, r'no match workshop-render: allow \(\S+70-workshop.json:34\)\n +who.group: no; requires artists')

    def test_group_in_place_of_the_accounts(self):
        self.assertEqual(self.explain('--user', 'mallory', '--group', 'artists', GPU)['effect'], 'allow')
        self.assertEqual(self.explain('--user', 'mallory', '--group', '2000', '--group', '5', GPU)['effect'], 'allow')
        self.assertEqual(self.explain('--user', 'alice', '--group', 'drivers', GPU)['effect'], 'deny')

    def test_namespace_and_capability(self):
        found = self.explain('--user', 'alice', '--namespace', 'other', GPU)
        self.assertEqual(found['devices'][0]['rule'], 'workshop-not-from-inside')
        measure = ['--user', '7777', '--group', '7777', '--unit', 'measure-1.service', '0a:00.0']
        self.assertEqual(self.explain(*measure)['effect'], 'deny')
        self.assertEqual(self.explain(*measure, '--capability', 'CAP_SYS_RAWIO')['effect'], 'ask')

    def test_scope(self):
        policy = self.policy(rule(who={'scope': 'ci'}, name='ci'), rule(name='all'))
        deciding = lambda *arguments: self.explain('--user', 'alice', *arguments, GPU, policy=policy)['devices'][0]['rule']
        self.assertEqual([deciding(), deciding('--scope', 'ci'), deciding('--scope', 'lab')], ['all', 'ci', None])
        found = self.explain('--user', 'alice', '--scope', 'lab', GPU, policy=self.policy(rule(name='all')))
        self.assertIn('"scope": "lab"', found['devices'][0]['change'])
        predicate = {'key': 'who.scope', 'holds': 'no', 'wanted': 'no scope', 'seen': 'lab'}
        self.assertIn(predicate, found['devices'][0]['considered'][0]['predicates'])
        self.assertIn('not the name of a scope', self.fails(2, 'policy', 'explain', '--policy', policy, '--user', 'alice',
                                                            '--scope', '../x', GPU))

        self.assertIn('To loosen the policy, add a rule with "scope": "lab" in its "who".', self.explain(
            '--user', 'alice', '--scope', 'lab', GPU, policy=self.policy(rule(who={'user': 'alice'})))['devices'][0]['change'])

    def test_grant_and_tether(self):
        policy = self.policy(rule(grant='node', tether='unit', siblings='park', name='vm'))
        explain = lambda *arguments: self.explain('--user', 'alice', *arguments, '06:00.0', policy=policy)
        self.assertIn('does not allow the grant fd', explain('--tether', 'unit')['message'])
        self.assertIn('Request the tether unit. To', explain('--grant', 'node')['message'])
        plan = explain('--grant', 'node', '--tether', 'unit')['plan']
        self.assertEqual((plan['grant'], plan['tether']), ('node', 'unit'))
        self.assertIn('not a grant', self.fails(2, 'policy', 'explain', '--policy', policy, '--user', 'alice', '--grant', 'x', GPU))

    def test_unit_of_a_cgroup(self):
        found = self.explain('--user', 'root', '--cgroup', '/system.slice/crio.service/x', '06:00.0')
        self.assertEqual(found['effect'], 'allow')
        found = self.explain('--user', 'root', '--cgroup', '/user.slice/crio.service', '06:00.0')
        self.assertEqual(found['effect'], 'deny')

    def test_what_is_not_said_is_not_known(self):
        policy = self.policy(rule('deny', who={'unit': 'a.service'}, name='not-a'), rule(name='all'))
        self.assertEqual(self.explain('--user', 'alice', GPU, policy=policy)['devices'][0]['rule'], 'not-a')
        found = self.explain('--user', 'alice', '--unit', 'b.service', GPU, policy=policy)
        self.assertEqual(found['devices'][0]['rule'], 'all')

    def test_request_as_a_whole(self):
        policy = self.policy(rule())
        self.assertEqual(self.explain('--user', 'alice', SPARE, policy=policy)['error'], 'ResetUnsupported')
        self.assertEqual(self.explain('--user', 'alice', UPLINK, policy=policy)['error'], 'HostCritical')
        found = self.explain('--user', 'alice', '01:00.0', policy=policy)
        self.assertEqual((found['effect'], found['error']), ('allow', 'GroupNotViable'))
        self.assertIn('snd_hda_intel', found['message'])
        self.assertEqual(self.explain('--user', 'alice', '06:00.0', '--backend', 'noiommu', policy=policy)['effect'], 'allow')
        self.assertEqual(self.explain('--user', 'bob', SPARE)['error'], 'ReasonRequired')
        self.assertIsNone(self.explain('--user', 'bob', SPARE, '--reason', 'work')['error'])

    def test_changed_card(self):
        found = self.explain('--user', 'alice', SWAPPED)
        self.assertEqual((found['effect'], found['error']), ('deny', 'DeviceChanged'))
        self.assertIn('48-b0-2d-ff-ff-99-99-99', found['devices'][0]['change'])

    def test_unknown_names(self):
        explain = ['policy', 'explain', '--policy', WORKSHOP]
        self.assertIn('no user "alcie", did you mean "alice"?', self.fails(2, *explain, '--user', 'alcie', GPU))
        self.assertIn('did you mean "artists"?', self.fails(2, *explain, '--user', 'bob', '--group', 'artist', GPU))
        self.assertIn('did you mean pci:0000:', self.fails(2, *explain, '--user', 'bob', '01:00.2'))
        self.assertIn('not the name of a device', self.fails(2, *explain, '--user', 'bob', 'gpu'))
        self.assertIn('CAP_SYS_RAWIO', self.fails(2, *explain, '--user', 'bob', '--capability', 'SYS_RAWIO', GPU))
        self.assertIn('give --user', self.fails(2, *explain, GPU))
        self.assertIn('host or other', self.fails(2, *explain, '--user', 'bob', '--namespace', 'x', GPU))
        error = json.loads(self.fails(2, *explain, '--user', 'alcie', GPU, '--json'))
        self.assertEqual(error['error'], 'RehearsalFailed')

    def test_host_from_standard_input(self):
        found = self.explain('--user', 'alice', GPU, host='-', stdin=HOST.read_bytes())
        self.assertEqual(found['effect'], 'allow')


class TestTest(FilesTest):
    def run_cases(self, cases, policy=WORKSHOP, status=0, **keys):
        path = self.file('cases.json', {'cases': cases, **keys})
        return self.json('policy', 'test', '--policy', policy, path, status=status)['files'][0]

    def one(self, expect, status=0, policy=WORKSHOP, **keys):
        return self.run_cases([{'subject': {'user': 'alice'}, 'devices': GPU, 'expect': expect, **keys}], policy,
                              status)['cases'][0]

    def test_workshop(self):
        self.assertEqual(self.text('policy', 'test', '--policy', WORKSHOP, CASES), '16 passed, 0 failed\n')
        found = self.json('policy', 'test', '--policy', WORKSHOP, CASES)
        self.assertEqual((found['passed'], found['failed'], len(found['files'][0]['cases'])), (16, 0, 16))

    def test_every_case_fails_where_the_policy_says_the_opposite(self):
        for effect, expected in (('deny', 'allow'), ('allow', 'deny')):
            found = self.one(expected, status=1, policy=self.policy(rule(effect)))
            self.assertFalse(found['passed'])
            self.assertEqual((found['expected'], found['got']['effect']), ({'effect': expected}, effect))

    def test_line_of_a_failure(self):
        path = self.file('c.json', '{"cases": [\n\n  {"name": "x", "subject": {"user": "alice"}, "devices": "01:00.0",'
                         ' "expect": "deny", "rule": null}\n]}')
        lines = self.text('policy', 'test', '--policy', WORKSHOP, path, status=1).splitlines()
        self.assertEqual(lines, [f'{path}:3: x: expected deny by the default, got allow by workshop-render '
                                 f'({WORKSHOP}:34)', '0 passed, 1 failed'])

    def test_rule(self):
        self.assertTrue(self.one('allow', rule='workshop-render')['passed'])
        found = self.one('allow', status=1, rule='workshop-rendr')
        self.assertIn('no rule is called "workshop-rendr", did you mean "workshop-render"?', found['message'])
        self.one('allow', status=1, rule=None)
        self.one('allow', status=1, rule='workshop-spare')

    def test_slice(self):
        policy = self.policy(rule(who={'slice': 'user-1000.slice', 'user': 0}, name='all'))
        for arguments, effect in ((['--slice', 'user-1000.slice'], 'allow'), (['--slice', 'machine.slice'], 'deny'),
                                  (['--slice', 'user-1000-x.slice', '--unit', 'a.service'], 'allow'), ([], 'deny')):
            found = self.explain('--user', '0', *arguments, GPU, policy=policy)
            self.assertEqual(found['devices'][0]['effect'], effect, arguments)
            considered = found['devices'][0]['considered'][0]
            self.assertEqual(considered['matches'], effect == 'allow')
            self.assertEqual(considered['holds'], considered['matches'])
            self.assertTrue(considered['origin'].startswith('all ('))
        self.fails(2, 'policy', 'explain', '--user', '0', '--policy', policy, '--slice', 'x', GPU)
        self.fails(2, 'policy', 'explain', '--user', '0', '--policy', policy, '--slice', 'x.slice', '--cgroup', '/', GPU)

    def test_error_of_the_request(self):
        self.one('allow', error=None)
        self.one('allow', status=1, error='AccessDenied')
        self.one('allow', error='GroupNotViable', policy=self.policy(rule()))
        self.one('allow', status=1, error=None, policy=self.policy(rule()))

    def test_what_the_policy_allows_and_the_planner_refuses(self):
        """Such a case passes, since the policy is what is tested, and not without a word."""
        policy = self.policy(rule(name='all'))
        found = self.one('allow', policy=policy)
        self.assertIn('its IOMMU group 10 also has devices that are bound to drivers of the host', found['refused'])
        self.assertIsNone(self.one('deny', policy=self.policy(rule('deny'), name='deny.json'))['refused'])
        cases = self.file('c.json', {'cases': [{'subject': {'user': 'alice'}, 'devices': GPU, 'expect': 'allow'}]})
        lines = self.text('policy', 'test', '--policy', policy, cases).splitlines()
        self.assertIn('note: the policy allows it, but the request would be refused: ', lines[0])
        self.assertEqual(lines[1], '1 passed, 0 failed')
        said = self.text('policy', 'explain', '--policy', policy, '--user', 'alice', GPU)
        self.assertIn(f'{GPU}: refused (GroupNotViable), although rule all would allow it', said)

    def test_what_cannot_be_decided_fails_alone(self):
        found = self.run_cases([
            {'subject': {'user': 'nobody-here'}, 'devices': GPU, 'expect': 'deny'},
            {'subject': {'user': 'alice'}, 'devices': '77:00.0', 'expect': 'deny'},
            {'subject': {'user': 'alice'}, 'devices': GPU, 'expect': 'allow'}], status=1)
        self.assertEqual([c['passed'] for c in found['cases']], [False, False, True])
        self.assertEqual([c['got'] for c in found['cases']][:2], [None, None])
        self.assertIn('no user "nobody-here"', found['cases'][0]['message'])
        self.assertIn('no device pci:0000:77:00.0', found['cases'][1]['message'])

    def test_of_several_devices_the_one_that_decided_is_named(self):
        found = self.one('allow', status=1, devices=[GPU, '06:00.0'])
        self.assertEqual(found['message'], 'expected allow, got deny for pci:0000:06:00.0 by the default')

    def test_accounts_of_the_file(self):
        """They count in the policy, too, so that a test runs where nobody of these exists."""
        policy = self.policy(rule(who={'user': 'zoe'}, name='z'), rule(who={'group': 'crew'}, name='c'))
        accounts = {'users': {'zoe': 4711}, 'groups': {'crew': 4712}}
        cases = [{'subject': {'user': 'zoe'}, 'devices': GPU, 'expect': 'allow', 'rule': 'z'},
                 {'subject': {'user': 4711}, 'devices': GPU, 'expect': 'allow', 'rule': 'z'},
                 {'subject': {'user': 1, 'groups': 'crew'}, 'devices': GPU, 'expect': 'allow', 'rule': 'c'},
                 {'subject': {'user': 1, 'groups': [1]}, 'devices': GPU, 'expect': 'deny', 'rule': None}]
        self.assertEqual(self.run_cases(cases, policy, accounts=accounts)['passed'], 4)
        found = self.run_cases(cases, policy, status=1)
        self.assertEqual(found['passed'], 1)
        self.assertIn('no user "zoe"', found['cases'][0]['message'])
        self.assertIn('no group "crew"', found['cases'][2]['message'])

    def test_a_name_of_digits_is_a_name(self):
        record = json.loads(pathlib.Path(HOST).read_text())
        record['accounts']['users']['20231234'] = {'uid': 50123, 'groups': [50123]}
        host = self.file('digits.json', record)
        path = self.policy(rule(who={'user': '20231234'}, name='student'))
        found = self.json('policy', 'check', path, host=host)['warnings']
        self.assertIn('"20231234" is taken for the name of the user with uid 50123', found[0])
        for user, effect in (('20231234', 'allow'), ('50123', 'allow'), ('7', 'deny')):
            found = self.explain('--user', user, GPU, policy=path, host=host)
            self.assertEqual(found['devices'][0]['effect'], effect, user)

    def test_an_unreadable_file_of_the_policy_is_not_left_out(self):
        policy = self.policy(rule(), name='d/10.json')
        os.symlink('/nonexistent', f'{self.directory}/d/20.json')
        found = self.run_cases([{'subject': {'user': 1, 'groups': 1}, 'devices': GPU, 'expect': 'allow'}],
                               os.path.dirname(policy), status=2, accounts={'users': {'zoe': 1}})
        self.assertIn('20.json: error: cannot open', found['errors'][0])

    def test_now(self):
        policy = self.policy(rule(until='2026-06-01T00:00:00Z'))
        self.one('allow', now='2026-05-31T23:59:59Z', policy=policy)
        self.one('deny', now='2026-06-01T02:00:01+02:00', policy=policy)

    def test_no_case_is_no_pass(self):
        path = self.file('c.json', '{"cases": []}')
        self.assertEqual(self.text('policy', 'test', '--policy', WORKSHOP, path, status=1),
                         '0 passed, 0 failed; there was no case\n')

    def test_errors_in_the_file(self):
        path = self.file('c.json', '{"cases": [{"subject": "x", "devices": [], "expct": "allow"}]}')
        lines = self.text('policy', 'test', '--policy', WORKSHOP, path, status=2).splitlines()
        self.assertEqual(lines[0], f'{path}:1:24: error: unknown subject "x"; "subjects" describes them, or an object '
                         'in this place')
        self.assertNotIn('requires the key', ' '.join(lines))
        self.assertIn(f'{path}:1:44: error: unknown key "expct" in a case, did you mean "expect"?', lines)
        self.assertTrue(lines[-1].startswith('0 passed, 0 failed; a file is not run while'), lines)

    def test_several_files(self):
        bad = self.file('bad.json', {'cases': [{'subject': {'user': 'alice'}, 'devices': GPU, 'expect': 'deny'}]})
        out = self.text('policy', 'test', '--policy', WORKSHOP, CASES, bad, status=1)
        self.assertIn('16 passed, 1 failed\n', out)
        self.assertIn('cannot read', self.fails(2, 'policy', 'test', '--policy', WORKSHOP, CASES, '/nonexistent'))


def case(**keys):
    return {'cases': [{'subject': {'user': 1}, 'devices': '06:0d.0', 'expect': 'deny', **keys}]}


def subject(**keys):
    return {'subjects': {'s': {'user': 1, **keys}}, 'cases': []}


class SchemaTest(FilesTest):
    """The installed schema of test files and our parser agree: exit status 2 is what the parser does not take."""

    GOOD = [
        {'cases': []}, {'$schema': 'x', 'description': 'd', 'cases': []}, case(), case(name='n', rule=None, error=None),
        case(rule='r', error='AccessDenied'), case(devices=['06:0d.0', 'pci_0000_06_0e_0']), case(expect='ask'),
        case(request={}), case(request={'grant': 'node', 'tether': 'unit'}), case(request={'backend': 'group', 'reason': 'r', 'memlock': '16G', 'untainted': True}),
        case(request={'memlock': 4096}), case(now='2026-12-31T18:00:00Z'), subject(), subject(groups=1),
        subject(groups=['a', 2]), subject(unit='u', cgroup='/c', label='l', namespace='other'), subject(scope='ci'),
        subject(capabilities='CAP_SYS_RAWIO'), subject(capabilities=['CAP_CHOWN', 'CAP_SYS_RAWIO'], namespace='host'),
        {'accounts': {}, 'cases': []}, {'accounts': {'users': {'a': 0}, 'groups': {'b': 4294967294}}, 'cases': []},
    ]
    BAD = [
        {}, [], {'cases': {}}, {'cases': [1]}, {'cases': [], 'case': []}, {'cases': [{}]}, case(name=''), case(name='n' * 121),
        case(name='\x1b'), case(rule=1), case(rule=''), case(error='Denied'), case(error=1), case(devices=[]),
        case(devices=['06:0d.0', '06:0d.0']), case(devices='gpu'), case(devices=[f'06:{n:02x}.0' for n in range(15)]),
        case(expect='no'), case(request=[]), case(request={'bakend': 'group'}), case(request={'backend': 'x'}), case(request={'grant': 'x'}),
        case(request={'reason': 'r' * 256}), case(request={'memlock': -1}), case(request={'memlock': '1X'}),
        case(request={'untainted': 'yes'}), case(now='2026-12-31'), case(now=5), case(subject={}), case(subject=1),
        case(extra=1), subject(user=-1), subject(user=4294967295), subject(user=''), subject(groups=[]),
        subject(groups=[1, 1]), subject(groups={}), subject(unit=''), subject(unit=1), subject(namespace='x'), subject(scope='-'), subject(scope=['ci']),
        subject(capabilities='SYS_RAWIO'), subject(capabilities=[]), subject(pid=1), {'subjects': [], 'cases': []},
        {'subjects': {'s': 1}, 'cases': []}, {'accounts': {'users': {'a': -1}}, 'cases': []},
        {'accounts': {'users': {'a': 'x'}}, 'cases': []}, {'accounts': {'people': {}}, 'cases': []},
    ]

    def setUp(self):
        super().setUp()
        self.schema = json.loads((SOURCE / 'policy/vfiod-policy-test.schema.json').read_text())
        jsonschema.Draft202012Validator.check_schema(self.schema)
        self.validator = jsonschema.Draft202012Validator(self.schema)

    def parser_takes(self, document):
        status, out, err = self.vfioctl('policy', 'test', '--policy', WORKSHOP, self.file('t.json', document))
        self.assertEqual(err, '')
        self.assertIn(status, (0, 1, 2))
        return status != 2, out

    def test_agreement(self):
        for expected, documents in ((True, self.GOOD), (False, self.BAD)):
            for document in documents:
                with self.subTest(document=document):
                    self.assertEqual(self.validator.is_valid(document), expected)
                    takes, out = self.parser_takes(document)
                    self.assertEqual(takes, expected, out)

    def test_what_is_written_elsewhere(self):
        for text in (CASES.read_text(), *re.findall(r'```\n(\{.*?\n\})\n```', (SOURCE / 'man/vfiod-policy-test.5.scd').read_text(), re.S)):
            document = json.loads(strip_comments(text))
            self.validator.validate(document)
            self.assertTrue(self.parser_takes(text)[0])

    def test_words_are_those_of_the_parser(self):
        errors = set(re.findall(r'^    X\(\w+, "(\w+)"', (SOURCE / 'src/core/error-table.h').read_text(), re.M))
        self.assertEqual(set(self.schema['$defs']['case']['properties']['error']['enum']), errors | {None})
        manual = (SOURCE / 'man/vfiod-policy-test.5.scd').read_text()
        for keys in (self.schema, *(self.schema['$defs'][name] for name in ('case', 'subject', 'request'))):
            for key in keys['properties']:
                self.assertIn(f'*{key}*', manual)


class DiffTest(FilesTest):
    def diff(self, old, new, *arguments, status=1):
        return self.json('policy', 'diff', self.policy(*old, name='old.json'), self.policy(*new, name='new.json'),
                         *arguments, status=status)

    def test_no_change(self):
        out = self.text('policy', 'diff', WORKSHOP, WORKSHOP)
        self.assertRegex(out, r'^0 of \d+ decisions change, for \d+ subjects\n$')

    def test_only_what_changes(self):
        old = [rule(who={'user': 'alice'}, what={'device': GPU}, name='a')]
        new = [rule(who={'user': 'alice'}, what={'device': [GPU, SPARE]}, name='b')]
        found = self.diff(old, new)
        self.assertEqual([(c['subject'], c['device'], c['old']['effect'], c['new']['effect']) for c in found['changed']],
                         [('alice', SPARE, 'deny', 'allow')])
        self.assertEqual(found['changed'][0]['old']['rule'], None)
        self.assertTrue(found['changed'][0]['new']['rule'].startswith('b ('))
        self.assertEqual(found['decisions'], found['subjects'] * 15)
        back = self.diff(new, old)
        self.assertEqual([c['new']['effect'] for c in back['changed']], ['deny'])

    def test_terms(self):
        found = self.diff([rule(who={'user': 'alice'}, what={'device': SPARE})],
                          [rule(who={'user': 'alice'}, what={'device': SPARE}, reset='optional', limits={'claims': 1})])
        self.assertEqual(found['changed'][0]['terms'], ['reset: required -> optional', 'limits: none -> claims 1'])

    def test_subjects_that_only_a_rule_knows(self):
        found = self.diff([], [rule(who={'user': 0, 'unit': 'vm-*.service', 'slice': 'system.slice'}, what={'device': GPU}),
                               rule(who={'group': 'drivers', 'namespace': 'other'}, what={'device': SPARE}),
                               rule(who={'scope': ['ci', 'lab']}, what={'device': SPARE})])
        self.assertEqual({(c['subject'], c['device']) for c in found['changed']},
                         {('uid 0, unit vm-x.service', GPU), ('another user, group drivers, other namespace', SPARE),
                          ('another user, scope ci', SPARE)})

    def test_strangers_and_accounts(self):
        found = self.diff([], [rule(what={'device': GPU})])
        self.assertEqual({c['subject'] for c in found['changed']}, {'another user', 'root', 'alice', 'bob', 'mallory'})

    def test_subjects_of_tests(self):
        old, new = [], [rule(who={'user': 'zoe', 'label': 'a?b'}, what={'device': GPU})]
        tests = self.file('t.json', {'accounts': {'users': {'zoe': 99}}, 'cases': [],
                                     'subjects': {'z': {'user': 'zoe', 'groups': 99, 'label': 'a:b'}}})
        found = self.diff(old, new, '--test', tests)
        self.assertEqual({c['subject'] for c in found['changed']}, {'zoe, group 99, label a:b', 'zoe, label axb'})

    def test_trouble(self):
        good, bad = self.policy(rule()), self.policy(rule('alow'), name='bad.json')
        self.assertIn('bad.json:1:', self.fails(2, 'policy', 'diff', good, bad))
        self.assertIn('bad.json:1:', self.fails(2, 'policy', 'diff', bad, good))
        self.assertIn('Too few', self.fails(2, 'policy', 'diff', good))
        self.assertIn('reads the host twice', self.fails(2, 'policy', 'diff', good, good, host='-'))

    @unittest.skipIf(os.path.exists('/etc/vfiod/policy.d'), 'this machine has a policy')
    def test_policy_in_force(self):
        found = self.json('policy', 'diff', '-', self.policy(rule(who={'user': 'bob'}, what={'device': GPU})), status=1)
        self.assertEqual([(c['subject'], c['old']['rule']) for c in found['changed']], [('bob', None)])

    def test_table(self):
        old, new = self.policy(name='o.json'), self.policy(rule('ask', who={'user': 'bob'}, what={'device': GPU}, name='x'))
        out = self.text('policy', 'diff', old, new, status=1)
        self.assertRegex(out, rf'{GPU} +bob \(1001\) +deny by the default +ask by x \(')
        self.assertRegex(out, r'\n1 of \d+ decisions change')

    def test_people_see_names_and_numbers(self):
        old = self.policy(name='o.json')
        new = self.policy(rule(who={'user': [1000, 4711, 99, 'bob@corp'], 'group': ['drivers', 98, 97]}, what={'device': GPU}))
        tests = self.file('t.json', {'accounts': {'users': {'zoe': 99, 'bob@corp': 96}, 'groups': {'crew': 98}}, 'cases': [], 'subjects': {}})
        out = self.text('policy', 'diff', '--test', tests, old, new, status=1)
        for who in ('alice (1000), group drivers (2001)', 'uid 4711, group crew (98)', 'zoe (99), group 97', 'bob@corp, group 97'):
            self.assertIn(f'{GPU}  {who}  ', re.sub('  +', '  ', out))


MDEV = 'mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'


def host_with_kinds():
    """Of a device of each kind, two of them made by PCI devices."""
    host = json.loads(HOST.read_text())
    without_ids = {k: 0 for k in ('vendor', 'product', 'subsystemVendor', 'subsystemProduct', 'class', 'revision')}
    common = {k: v for k, v in host['devices'][8].items() if k not in ('group', 'slotPath', 'serial')}
    common.update(without_ids, resetMethods=[])
    host['devices'] += [
        {**common, 'name': 'vdpa:vdpa0', 'driver': 'vhost_vdpa', 'vfioIndex': 0, 'parent': 'pci:0000:06:00.0'},
        {**common, 'name': MDEV, 'driver': 'vfio_mdev', 'group': 90, 'vfioIndex': 1, 'parent': 'pci:0000:07:00.0'},
        {**common, 'name': 'platform:fff51000.ethernet', 'driver': 'vfio-platform', 'group': 91, 'vfioIndex': 2}]
    host['groups'] += [{**host['groups'][0], 'id': 90}, {**host['groups'][0], 'id': 91}]
    return host


class GenerateTest(FilesTest):
    def test_recorded_host(self):
        text = self.text('policy', 'generate')
        path = self.file('new.json', text)
        self.assertEqual(self.text('policy', 'check', path), '1 file, 1 rule, no errors, no warnings\n')
        self.assertIn('// Left out: the host uses it: /dev/nvme0n1p2 is mounted on /.', text)
        self.assertIn('// 2 bridges are left out', text)
        # Its sound card is on a driver of the host: without leave to park it, nobody gets the card.
        self.assertRegex(text, r'"device": "0000:01:00.0", "id": "10de:2230" }, "siblings": "park" }')
        for name in ('0000:05:00.0', '0000:04:00.0'):
            self.assertNotIn(f'"device": "{name}"', text)
        self.assertEqual(self.json('policy', 'generate'), {'policy': text})

    def test_offers_become_rules(self):
        """Without the slashes in front of it, an offer is a rule that loads."""
        text = self.text('policy', 'generate').replace('"NAME"', '"alice"')
        text = re.sub(r'^    // (\{ "name"|  "what")', r'    \1', text, flags=re.M)
        found = self.json('policy', 'check', self.file('new.json', text))
        self.assertEqual((found['rules'], found['errors']), (11, []))

    def test_what_no_rule_makes_claimable_is_no_offer(self):
        text = self.text('policy', 'generate')
        # Its sibling is in use by the host.
        self.assertRegex(text, r'// 0000:04:00\.1: .*\n    // Left out: the host uses this sibling in IOMMU group 12')
        text = self.text('policy', 'generate', host=self.file('host.json', host_with_kinds()))
        self.assertRegex(text, r'// 0000:07:00\.0: .*\n    // Left out: it has devices that would disappear with its driver: mdev:')

    def test_other_kinds(self):
        text = self.text('policy', 'generate', host=self.file('host.json', host_with_kinds()))
        self.assertIn(f'"what": {{ "device": "{MDEV}" }} }},', text)
        self.assertIn('"what": { "device": "platform:fff51000.ethernet" }, "reset": "optional" },', text)
        self.assertRegex(text, r'// vdpa:vdpa0: driver vhost_vdpa\n    // Left out: .*vhost_vdpa, which is not loaded')
        text = re.sub(r'^    // (\{ "name"|  "what")', r'    \1', text.replace('"NAME"', '"alice"'), flags=re.M)
        self.assertEqual(self.json('policy', 'check', self.file('new.json', text))['errors'], [])

    def test_without_an_iommu(self):
        host = json.loads(HOST.read_text())
        group = host['devices'][8].pop('group')
        host['groups'] = [g for g in host['groups'] if g['id'] != group]
        text = self.text('policy', 'generate', host=self.file('host.json', host))
        self.assertIn('without an IOMMU\n    // Left out: nothing isolates the host from it', text)
        self.assertNotIn('"0000:06:00.0"', text)

    def test_hostile_names_stay_in_their_comments(self):
        host = json.loads(HOST.read_text())
        host['devices'][2]['hostCritical'] = 'x\n{ "rules": /* "'
        host['devices'][3]['driver'] = 'a*/'
        text = self.text('policy', 'generate', host=self.file('host.json', host))
        self.assertEqual(self.json('policy', 'check', self.file('new.json', text))['rules'], 1)


class BoundsTest(FilesTest):
    def test_large_files(self):
        path = self.file('t.json', '{"cases": [' + ' ' * (4 << 20) + ']}')
        self.assertIn('cannot read', self.fails(2, 'policy', 'test', '--policy', WORKSHOP, path))
        path = self.file('t.json', {'cases': [{'subject': {'user': 1}, 'devices': '01:00.0', 'expect': 'deny'}] * 16385})
        self.assertIn('more than 16384 cases', self.text('policy', 'test', '--policy', WORKSHOP, path, status=2))

    def test_host_without_end(self):
        self.assertIn('/dev/zero: cannot read the recorded host: Argument list too long',
                      self.fails(2, 'policy', 'check', WORKSHOP, host='/dev/zero'))


class SetupTest(FilesTest):
    PLAIN = {'rules', 'name', 'effect', 'who', 'what'}  # every policy has them, so they need no reason

    def assert_reasons(self, text):
        """Above each other key, and above who.unit, a comment says why it is there."""
        lines = text.splitlines()
        found = set()
        for above, line in zip(lines, lines[1:]):
            key = re.match(r'(?:  | {6})"([a-z0-9-]+)": ', line)  # of the policy, or of its rule
            if key and (key[1] not in self.PLAIN or '"unit"' in line):
                self.assertRegex(above, '^ *// ', text)
                found.add(key[1])
        return found

    def setup(self, *arguments, status=0):
        """What vfioctl setup proposes; its policy must be one, and grant what it says."""
        found = self.json('setup', *arguments, '--policy', self.policy(), status=status)
        policy = self.file('setup.json', found['policy'])
        self.text('policy', 'check', policy)
        self.assertEqual(bool(status), bool(found['explanation']['error']))
        self.assert_reasons(found['policy'])
        return found, json.loads(re.sub(r'(?m)^ *//.*$', '', found['policy']))

    def test_a_card_with_two_functions(self):
        found, policy = self.setup('01:00.0', '--user', 'alice', '--qemu', '--ram=16G')
        self.assertEqual(found['devices'], ['pci:0000:01:00.0', 'pci:0000:01:00.1'])
        self.assertEqual((found['added'], found['dangers']), (['pci:0000:01:00.1'], []))
        self.assertEqual(found['file'], '60-alice-0000-01-00.0.json')
        rule, = policy['rules']
        self.assertEqual((rule['who'], rule['memlock']), ({'user': 'alice'}, '17G'))
        self.assertEqual(policy['tags']['alice-0000-01-00.0'],
                         {'path': '0000:00:1c.0/00.0', 'id': '10de:2230', 'serial': '48-b0-2d-ff-ff-12-34-56'})
        self.assertEqual(found['commands'], 'vfioctl exec --memlock 17G --device 0000:01:00.0 --device 0000:01:00.1 '
                         '--qemu -- qemu-system-x86_64 -machine q35 -accel kvm -cpu host -m 16G\n')
        text = self.text('setup', '01:00.0', '--user', 'alice', '--qemu', '--policy', self.policy())
        self.assertIn('Other functions of the same card are claimed with it: pci:0000:01:00.1', text)
        self.assertIn('A claim would be granted.', text)

    def test_clients(self):
        for user, client, keys, command in (
                ('alice', [], {}, 'vfioctl exec --device 0000:06:00.0 -- COMMAND'),
                ('alice', ['--podman'], {}, '-- podman run --env VFIOD_DEVICES'),
                ('alice', ['--libvirt'], {'grant': ['node'], 'memlock': '5G'}, 'vfioctl virt start DOMAIN'),
                ('root', ['--libvirt'], {'grant': ['none']}, 'try-restart libvirtd.service virtqemud.service'),
                ('root', ['--qemu'], {}, '--qemu -- qemu-system-x86_64')):
            with self.subTest(user=user, client=client):
                found, policy = self.setup('06:00.0', '--user', user, *client)
                rule, = policy['rules']
                self.assertEqual({k: rule[k] for k in ('grant', 'memlock', 'siblings', 'reset') if k in rule}, keys)
                self.assertIn(command, found['commands'])
                self.assertLessEqual(set(keys), self.assert_reasons(found['policy']))
                self.assertEqual(bool(found['dangers']), 'node' in keys.get('grant', []))
        self.assertIn("<address domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>", self.setup(
            '06:00.0', '--user', 'root', '--libvirt')[0]['commands'])

    def test_no_policy_where_none_helps(self):
        self.assertFalse(self.setup('00:1c.0', '--user', 'alice', status=11)[0]['claimable'])
        self.assertTrue(self.setup('06:00.0', '--user', 'alice')[0]['claimable'])
        text = self.text('setup', '00:1c.0', '--user', 'alice', '--policy', self.policy(), status=11)
        self.assertRegex(text, r'^No rule helps:\n  pci:0000:00:1c.0: it is a bridge, and bridges cannot be claimed.*\n$')

    def test_what_it_costs_is_said(self):
        with open(HOST) as f:
            host = json.load(f)
        nic, = (d for d in host['devices'] if d['name'] == 'pci:0000:06:00.0')
        nic['resetMethods'] = []
        host['devices'].append({**nic, 'name': 'pci:0000:07:1f.0', 'driver': 'ahci', 'resetMethods': ['bus']})
        recorded = self.file('host.json', host)
        status, out, err = self.vfioctl('setup', '--json', '06:00.0', '--user', 'alice', '--policy', self.policy(),
                                        host=recorded)
        self.assertEqual((status, err), (0, ''), out)
        found = json.loads(out)
        rule, = json.loads(re.sub(r'(?m)^ *//.*$', '', found['policy']))['rules']
        self.assertEqual((rule['siblings'], rule['reset']), ('park', 'optional'))
        self.assertEqual(self.assert_reasons(found['policy']), {'tags', 'siblings', 'reset'})
        self.assertEqual(len(found['dangers']), 2)
        self.assertIn('pci:0000:07:1f.0 (ahci)', found['dangers'][0])
        self.assertIn('cannot be reset', found['dangers'][1])

    def test_other_kinds(self):
        recorded = self.file('host.json', host_with_kinds())
        for device, terms, word in ((MDEV, {}, "up to the parent's driver"),
                                    ('platform:fff51000.ethernet', {'reset': 'optional'}, 'unknown whether')):
            with self.subTest(device):
                _, out, _ = self.vfioctl('setup', '--json', device, '--user', 'alice', '--policy', self.policy(),
                                         host=recorded)
                found = json.loads(out)
                policy = json.loads(re.sub(r'(?m)^ *//.*$', '', found['policy']))
                self.assertEqual(policy, {'rules': [{
                    'name': 'alice-' + device.partition(':')[2], 'effect': 'allow', 'who': {'user': 'alice'},
                    'what': {'device': [device]}, **terms}]})
                self.assertIn(word, found['dangers'][0])
                self.assertEqual((found['explanation']['error'], found['commands']),
                                 (None, f'vfioctl exec --device {device} -- COMMAND\n'))
        _, out, _ = self.vfioctl('setup', '--json', 'vdpa:vdpa0', '--user', 'alice', '--policy', self.policy(), host=recorded)
        found = json.loads(out)
        self.assertEqual(found['commands'], 'vfioctl exec --device vdpa:vdpa0 -- COMMAND {device}\n')
        self.assertIn('not loaded', found['explanation']['message'])
        self.assertIn('devices of one kind', self.fails(2, 'setup', MDEV, '06:00.0', '--user', 'alice', host=recorded))
        self.assertIn('PCI devices only', self.fails(2, 'setup', MDEV, '--user', 'root', '--libvirt', '--policy',
                                                     self.policy(), host=recorded))
        self.assertIn('cannot hand out devices of the kind ccw', self.fails(2, 'setup', 'ccw:0.0.1234', '--user', 'alice',
                                                                            host=recorded))

    def test_never_what_the_host_needs(self):
        found, policy = self.setup('04:00.0', '--user', 'alice', status=25)
        self.assertNotIn('host-critical', found['policy'])
        self.assertIn('eth0 has an address', found['explanation']['message'])
        text = self.text('setup', '04:00.0', '--user', 'alice', '--policy', self.policy(), status=25)
        self.assertIn('A claim would still be refused', text)
        self.assertNotIn('allow', text)
        explained = self.json('policy', 'explain', '--user', 'mallory', '04:00.0', '--policy', self.file(
            'class.json', {'rules': [rule('allow', who={'user': 'mallory'}, what={'class': 'display'})]}))
        self.assertEqual({o['error'] for o in explained['obstacles']}, {'AccessDenied', 'GroupNotViable', 'HostCritical'})
        self.assertEqual(explained['devices'][0]['change'], 'No rule helps while the host uses the device, or a sibling of it.')
        for obstacle in explained['obstacles']:
            self.assertNotIn('loosen', obstacle['message'])
            self.assertNotIn('"allow"', obstacle['message'])

    def test_a_rule_before_it_counts(self):
        denied = self.file('10-no.json', {'rules': [rule('deny', name='no', who={'user': 'alice'})]})
        found = self.json('setup', '06:00.0', '--user', 'alice', '--policy', denied, status=17)
        self.assertIn('rule no', found['explanation']['message'])
        text = self.text('setup', '06:00.0', '--user', 'alice', '--policy', denied, status=17)
        self.assertNotIn('"effect": "allow"', text)
        self.assertIn('rule no', text)
        found = self.json('setup', '06:00.0', '--user', 'bob', '--policy', denied)
        self.assertEqual(found['explanation']['error'], None)
        broken = self.file('20-broken.json', '{')
        self.assertIn('20-broken.json', self.fails(2, 'setup', '06:00.0', '--user', 'bob', '--policy', broken))

    def test_a_kernel_without_iommufd(self):
        with open(HOST) as f:
            host = json.load(f)
        host['kernel'].update(iommufd=False, deviceCdev=False)
        recorded = self.file('host.json', host)
        for client, command in (('--qemu', '--backend group --grant node'), ('--libvirt', 'vfioctl virt start')):
            _, out, _ = self.vfioctl('setup', '--json', '06:00.0', '--user', 'alice', client, '--policy', self.policy(),
                                     host=recorded)
            found = json.loads(out)
            self.assertEqual((found['grant'], found['iommufd']), ('node', False))
            self.assertIn(command, found['commands'])
            self.assertNotIn('<iommufd', found['commands'])
        host['kernel'].update(container=False)
        recorded = self.file('host.json', host)
        status, out, _ = self.vfioctl('setup', '06:00.0', '--user', 'alice', '--policy', self.policy(), host=recorded)
        self.assertEqual(status, 26)
        self.assertIn('neither iommufd nor a container', out)

    def test_other_rules_about_the_device_are_named(self):
        for name, effect, said in (('90-no.json', 'deny', 'Rule theirs .* denies pci:0000:06:00.0 today'),
                                   ('50-yes.json', 'allow', 'Rule theirs .* already applies to pci:0000:06:00.0')):
            policy = self.file(name, {'rules': [rule(effect, name='theirs', who={'user': 'alice'})]})
            danger, = self.json('setup', '06:00.0', '--user', 'alice', '--policy', policy)['dangers']
            self.assertRegex(danger, said)
        mine = self.json('setup', '06:00.0', '--user', 'alice', '--policy', self.policy())
        again = self.json('setup', '06:00.0', '--user', 'alice', '--policy', self.file(mine['file'], mine['policy']))
        self.assertEqual((again['dangers'], again['explanation']['error']), ([], None))
        danger, = self.setup('07:00.0', '--user', 'alice')[0]['dangers']
        self.assertIn('is not isolated on its way', danger)

    def test_locked_memory(self):
        for client in ([], ['--podman']):
            text = self.text('setup', '06:00.0', '--user', 'alice', '--policy', self.policy(), *client)
            self.assertIn('Locked memory:', text)
            self.assertIn("'vfioctl memlock-for --ram SIZE'", text)
        self.assertNotIn('Locked memory:', self.text('setup', '06:00.0', '--user', 'alice', '--policy', self.policy(), '--qemu'))

    def test_names_of_users(self):
        found, policy = self.setup('06:00.0', '--user', '4711')
        self.assertEqual((found['file'], policy['rules'][0]['who']), ('60-uid4711-0000-06-00.0.json', {'user': 4711}))
        with open(HOST) as f:
            host = json.load(f)
        host['accounts']['users']['CORP\\Jane'] = {'uid': 4712, 'groups': [4712]}
        status, out, err = self.vfioctl('setup', '--json', '06:00.0', '--user', 'CORP\\Jane', '--policy', self.policy(),
                                        host=self.file('host.json', host))
        self.assertEqual(status, 0, err)
        self.assertEqual(json.loads(out)['file'], '60-uid4712-0000-06-00.0.json')

    def test_bad_input(self):
        self.assertIn('is empty', self.fails(2, 'setup', '06:00.0', '--user', ''))
        self.assertIn('none.json', self.fails(2, 'setup', '06:00.0', '--user', 'alice', '--policy', 'none.json'))
        self.assertIn('--ram', self.fails(2, 'setup', '06:00.0', '--user', 'alice', '--ram=4G'))
        self.assertIn('--user', self.fails(2, 'setup', '06:00.0'))
        self.assertIn('no-such-user', self.fails(2, 'setup', '06:00.0', '--user', 'no-such-user'))
        self.assertIn('there is no device', self.fails(2, 'setup', '06:00.5', '--user', 'alice'))
        self.assertIn('one of them', self.fails(2, 'setup', '06:00.0', '--user', 'alice', '--qemu', '--podman'))
        self.assertIn('--write', self.fails(2, 'setup', '06:00.0', '--user', 'alice', '--write'))


class LiveTest(VfiodTestCase):
    """This host, which is a pretended one, beside its daemon."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.gpu = self.host.add_device('0000:07:00.0', group=9, driver='nouveau', class_code=0x030000)
        self.before = self.host.binding()

    def vfioctl(self, *arguments, status=0, cgroup=None):
        def enter():
            with open(f'{cgroup}/cgroup.procs', 'w') as file:
                file.write('0')

        return self.run_on_host(os.environ['VFIOCTL'], *arguments, status=status,
                                environment={'VFIOD_STATE_DIRECTORY': f'{self.directory}/state'},
                                preexec_fn=enter if cgroup else None)

    def file(self, name, content):
        path = f'{self.directory}/{name}'
        with open(path, 'w') as f:
            f.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def test_a_recorded_host_knows_templates(self):
        self.host.add_mdev_parent()
        policy = self.file('policy.json', {
            'host': {'templates': [{'name': 'serial', 'parent': 'mtty', 'type': 'mtty-2'}]},
            'rules': [rule(who={'user': 0}, what={'device': 'template:serial'}, name='root')]})
        document = json.loads(self.vfioctl('snapshot'))
        self.assertEqual([t['available'] for t in document['mediatedTypes']], [4, 2])

        def explain():
            return self.vfioctl('policy', 'explain', '--host', self.file('host.json', document), '--policy', policy,
                                '--user=root', 'template:serial')
        self.assertIn('mtty-2', explain())
        document['mediatedTypes'][1]['available'] = 0
        self.assertIn('NoInstance', explain())
        del document['mediatedTypes']
        self.assertIn('not recorded', explain())

    def test_devices_of_every_kind_are_recorded(self):
        gpu = self.host.add_device('0000:0b:00.0', group=78, driver='i915', class_code=0x030000)
        devices = [self.host.add_mdev(MDEV.removeprefix('mdev:'), parent=gpu), self.host.add_vdpa('vdpa0', driver='vhost_vdpa'),
                   self.host.add_other('platform', 'a0000000.timer', group=79),
                   self.host.add_other('cdx', 'cdx-00:00')]
        policy = self.file('policy.json', {'rules': [rule(who={'user': 0}, what={'device': ['mdev:*', 'vdpa:*', 'platform:*', 'cdx:*']},
                                                          name='root', reset='optional')]})
        recorded = self.file('host.json', self.vfioctl('snapshot'))
        with open(recorded) as f:
            names = [d['name'] for d in json.load(f)['devices']]
        for d in devices:
            with self.subTest(d.name):
                self.assertIn(d.name, names)
                explain = ['policy', 'explain', '--policy', policy, '--user=root', d.name]
                self.assertEqual(self.vfioctl(*explain, '--host', recorded), self.vfioctl(*explain))

    def test_what_devices_can_do(self):
        """As far as the daemon has seen it: on this host, and where it was recorded."""
        card = self.host.add_device('0000:17:00.0', group=19, driver=VFIO)
        card.caps.pasid_bits, card.caps.hw_capabilities = 20, 1 | 2
        policy = self.file('policy.json', {'rules': [rule(who={'user': 0}, what={'capabilities': 'pasid=20'}, name='capable')]})
        self.set_policy([])
        self.start()
        self.client().manager('ProbeCapabilities', 'sa{sv}', card.name, {})
        document = json.loads(self.vfioctl('snapshot'))
        found = {d['name']: d.get('capabilities') for d in document['devices']}
        self.assertEqual((found[card.name]['driver'], found[card.name]['pasidBits']), (VFIO, 20))
        self.assertIsNone(found[self.nic.name])
        for host in ([], ['--host', self.file('host.json', document)]):
            for device, expected in ((card, 'allow'), (self.nic, 'deny')):
                text = self.vfioctl('policy', 'explain', *host, '--policy', policy, '--user=root', '--json', device.name)
                self.assertEqual(json.loads(text)['effect'], expected, text)
            for wanted, error in (('pasid=20', None), ('pasid=20,dma-buf', 'RequirementNotMet')):
                text = self.vfioctl('policy', 'explain', *host, '--policy', policy, '--user=root', '--json', '--require',
                                    wanted, card.name)
                self.assertEqual(json.loads(text)['error'], error, text)

    def test_settings_of_a_network_card(self):
        card = self.host.add_sriov(self.host.add_device('0000:17:00.0', group=19, driver='ixgbe'), group=100)
        self.kernel.put(card.path + '/sriov_drivers_autoprobe', '0\n')
        self.kernel.set_functions(card, 1)
        function, = card.functions
        bounds = {'mac': ['52:54:00:*:*:*'], 'vlan': [12], 'trust': ['off']}
        policy = self.file('policy.json', {'rules': [rule(who={'user': 0}, name='function', network=bounds)]})
        document = json.loads(self.vfioctl('snapshot'))
        cases = [('mac=52:54:00:12:34:56,vlan=12', 'allow', None), ('mac=52:55:00:12:34:56', 'allow', 'AccessDenied'),
                 ('vlan=13', 'allow', 'AccessDenied'), ('trust=on', 'allow', 'AccessDenied'),
                 ('spoofchk=off', 'allow', 'AccessDenied')]
        for host in ([], ['--host', self.file('host.json', document)]):
            for wanted, effect, error in cases:
                found = json.loads(self.vfioctl('policy', 'explain', *host, '--policy', policy, '--user=root', '--json',
                                                '--network', wanted, function.name))
                self.assertEqual((found['effect'], found['error']), (effect, error), wanted)
        found = json.loads(self.vfioctl('policy', 'explain', '--policy', policy, '--user=root', '--json',
                                        '--network=vlan=12', self.nic.name))
        self.assertEqual(found['error'], 'NetworkFailed')
        test = self.file('test.json', {'cases': [
            {'subject': {'user': 0}, 'devices': [function.name], 'request': {'network': wanted}, 'expect': 'allow',
             'error': error} for wanted, _, error in cases]})
        self.assertIn(f'{len(cases)} passed', self.vfioctl('policy', 'test', '--policy', policy, test))
        for wanted in ('mac=01:00:5e:00:00:01', 'vlan=5000', 'colour=red', ''):
            self.vfioctl('policy', 'explain', '--policy', policy, '--user=root', '--network', wanted, function.name, status=2)
            test = self.file('bad.json', {'cases': [
                {'subject': {'user': 0}, 'devices': [function.name], 'request': {'network': wanted}, 'expect': 'allow'}]})
            self.vfioctl('policy', 'test', '--policy', policy, test, status=2)

    def test_rehearsal_and_daemon_say_the_same(self):
        """... and the record of the host says it a third time."""
        rules = [rule('deny', what={'class': 'display'}, name='no-gpu'), rule(who={'user': 0}, name='root-all')]
        self.set_policy(rules)
        policy = self.file('policy.json', {'rules': rules})
        self.start()
        recorded = self.file('host.json', self.vfioctl('snapshot'))
        # Of no account but this one: there is no policy that names others.
        with open(recorded) as f:
            self.assertEqual({n: u['uid'] for n, u in json.load(f)['accounts']['users'].items()}, {'root': 0})
        for device in (self.nic, self.gpu):
            for host in ([], ['--host', recorded]):
                found = json.loads(self.vfioctl('policy', 'explain', '--json', '--user', '0', '--policy', policy, *host,
                                                device.name))
                if device is self.nic:
                    plan = json.loads(self.vfioctl('plan', '--json', device.name))
                    self.assertEqual(found['error'], None)
                    self.assertEqual(found['plan']['members'], plan['members'])
                else:
                    with self.refused('AccessDenied', 'no-gpu'):
                        self.client().acquire(device)
                    self.assertEqual((found['error'], found['devices'][0]['rule']), ('AccessDenied', 'no-gpu'))
        self.assert_untouched(self.before)

    def doctor(self, status):
        """Findings by level and subject."""
        found = {}
        for finding in json.loads(self.vfioctl('doctor', '--json', status=status)):
            found.setdefault((finding['level'], finding['subject']), []).append(finding)
        return found

    def test_doctor(self):
        """What it says of the host is what there is, whether or not the daemon answers."""
        k = self.host.kernel
        k.put('/proc/cmdline', 'quiet pcie_acs_override=downstream\n')
        k.put('/proc/interrupts', '  24:  0  IO-APIC  2-edge  timer\n')
        found = self.doctor(4)
        self.assertIn('does not answer', found['problem', 'vfiod'][0]['fact'])
        self.assertRegex(self.vfioctl('status', '--check', status=4), r'^problem +vfiod: vfiod does not answer')
        self.assertRegex(found['ok', 'iommu'][0]['fact'], r'^\d+ groups')
        self.assertIn('not remapped', found['warning', 'interrupts'][0]['fact'])
        self.assertIn('pcie_acs_override=downstream', found['warning', 'taint'][0]['fact'])
        self.assertNotIn(('problem', 'iommu'), found)

        k.put('/proc/interrupts', '  24:  0  IR-IO-APIC  2-edge  timer\n')
        self.set_policy([rule(who={'user': 0}), rule(who={'user': 'nobody-of-that-name'})])
        self.start()
        found = self.doctor(0)
        self.assertNotIn(('warning', 'interrupts'), found)
        self.assertEqual(found['ok', 'policy'][0]['fact'], '2 rules.')
        self.assertIn('nobody-of-that-name', found['warning', 'policy'][0]['fact'])
        self.assertIn('pcie_acs_override=downstream', found['warning', 'taint'][0]['fact'])
        text = self.vfioctl('doctor')
        self.assertRegex(text, r'(?m)^ok +iommu: \d+ groups')
        self.assertRegex(text, r'(?m)^warning +taint: .*\n +Why: .*isolation.*\n +Fix: Remove it from the kernel')

        # Of the daemon alone, and only what is wrong.
        text = self.vfioctl('status', '--check')
        self.assertIn('nobody-of-that-name', text)
        self.assertNotRegex(text, '(?m)^(ok|note)|iommu:')

        k.put(self.nic.path + '/power/runtime_status', 'error\n')
        self.assertNotIn(('warning', 'power'), self.doctor(0))
        claim = self.client().acquire(self.nic)
        self.assertIn(self.nic.name, self.doctor(0)['warning', 'power'][0]['fact'])
        claim.close()
        self.wait_gone(claim)

        k.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.client().acquire(self.nic)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertIn(self.nic.name, self.doctor(4)['problem', 'quarantine'][0]['fact'])
        self.assertIn(('problem', 'quarantine'), [
            (f['level'], f['subject']) for f in json.loads(self.vfioctl('status', '--check', '--json', status=4))])

        self.set_policy([], text='{ "rules": [ { "effekt": "allow" } ] }')
        self.vfioctl('reload', status=18)
        finding, = self.doctor(4)['problem', 'policy']
        self.assertIn('in force', finding['fact'])
        self.assertRegex(finding['why'], r':1:\d+: error: ')

    def test_doctor_closes_open_nodes(self):
        """The commands of its fix, in place of NODE the nodes of what it has found."""
        nodes = []
        for group, mode in ((31, 0o666), (32, 0o604)):
            device = self.host.add_device(f'0000:{group}:00.0', group=group, driver=VFIO)
            nodes.append(f'{self.host.root}/dev/vfio/{group}')
            os.chmod(nodes[-1], mode)
        self.set_policy([rule(who={'user': 0})])
        self.start()

        def open_nodes():
            return [f for f in self.doctor(0).get(('warning', 'taint'), []) if '(open-node)' in f['fact']]
        self.assertEqual({re.search('mode ([0-7]+)', f['fact'])[1] for f in open_nodes()}, {'0666', '0604'})
        commands = re.findall("'(\\S+ \\S+) NODE'", open_nodes()[0]['fix'])
        self.assertEqual([c.split()[0] for c in commands], ['chown', 'chmod'])
        for command in commands[os.getuid() != 0:]:
            for node in nodes:
                subprocess.check_call([*command.split(), node])
        self.kernel.announce('change', device)
        wait(lambda: not open_nodes(), 'they are closed')

    def test_versions_of_programs(self):
        """Of those that are installed, in what form they print it."""
        programs = pathlib.Path(self.directory, 'bin')
        programs.mkdir()
        environment = {'PATH': str(programs)}

        def found():
            return {f['subject']: f['fact'] for f in json.loads(self.run_on_host(
                os.environ['VFIOCTL'], 'doctor', '--json', status=4, environment=environment))}

        self.assertFalse({'libvirt', 'podman'} & set(found()))
        for name, line in (('virsh', '9.0.0'), ('podman', 'podman version 4.3.1')):
            (programs / name).write_text(f'#!/bin/sh\n[ "$*" = --version ] && echo "{line}"\n')
            (programs / name).chmod(0o755)
        self.assertEqual([found()[s] for s in ('libvirt', 'podman')], ['libvirt 9.0.0.', 'podman 4.3.1.'])

    def test_snapshot_of_the_accounts_of_another_policy(self):
        """... so that it can be rehearsed on the record."""
        policy = self.file('new.json', {'rules': [rule(who={'user': 'daemon', 'group': 'adm'})]})
        recorded = self.file('host.json', self.vfioctl('snapshot', '--policy', policy))
        self.vfioctl('policy', 'check', '--host', recorded, policy)
        for who in ('daemon', 'root'):
            self.vfioctl('policy', 'explain', '--host', recorded, '--policy', policy, '--user', who, self.nic.name)
        self.vfioctl('snapshot', '--policy', f'{self.directory}/none.json', status=2)

    def test_generate_keeps_what_is_held(self):
        self.start()
        claim = self.client().acquire(self.nic)
        text = self.vfioctl('policy', 'generate')
        found = json.loads(self.vfioctl('policy', 'show', '--json', self.file('new.json', text)))
        kept, rest = found['rules']
        self.assertEqual((kept['rule'], kept['who'], kept['what']),
                         ('keep-0000-06-00.0', {'user': 'root'}, {'tag': '0000-06-00.0'}))
        self.assertEqual(rest['effect'], 'deny')
        self.assertIn('// User root holds it by a claim.', text)
        del claim

    def test_generate_knows_what_is_parked(self):
        self.host.add_device('0000:06:00.1', group=8, driver='snd_hda_intel')
        self.set_policy([rule(siblings='park')])
        self.start()
        self.client().acquire(self.nic)
        shown = json.loads(self.vfioctl('policy', 'show', '--json', self.file('new.json', self.vfioctl('policy', 'generate'))))
        self.assertEqual([(r['rule'], r.get('siblings')) for r in shown['rules']],
                         [('keep-0000-06-00.0', 'park'), ('nothing-else', None)])

    @needs_root
    def test_generate_keeps_who_owns_a_node(self):
        """The way before vfiod: somebody gave the node to a user or to a group."""
        users = {'0000:08:00.0': (4711, 0, 0o600), '0000:09:00.0': (0, 4712, 0o660), '0000:0a:00.0': (0, 4712, 0o640)}
        for n, (name, (uid, gid, mode)) in enumerate(users.items()):
            device = self.host.add_device(name, group=20 + n, driver=VFIO)
            os.chown(self.host.root + self.host.cdev(device), uid, gid)
            os.chmod(self.host.root + self.host.cdev(device), mode)
        text = self.vfioctl('policy', 'generate')
        found = json.loads(self.vfioctl('policy', 'show', '--json', self.file('new.json', text)))
        self.assertEqual([(r['rule'], r['who']) for r in found['rules'][:-1]],
                         [('keep-0000-08-00.0', {'user': 4711}), ('keep-0000-09-00.0', {'group': 4712})])

    def test_claim_and_last_refusal(self):
        """What only the daemon knows."""
        rules = [rule('deny', what={'class': 'display'}, name='no-gpu'), rule(name='all')]
        self.set_policy(rules)
        self.start()
        self.client().acquire(self.nic)
        claim, = json.loads(self.vfioctl('status', '--json'))['claims']
        found = json.loads(self.vfioctl('policy', 'explain', '--json', '--claim', claim['id']))
        self.assertEqual((found['claim']['id'], found['devices'][0]['rule']), (claim['id'], 'all'))
        text = self.vfioctl('policy', 'explain', '--claim', claim['id'])
        self.assertIn(f'Claim: {claim["id"]}\n', text)
        self.assertIn(f'{self.nic.name}: allow by rule all\n', text)
        with self.refused('AccessDenied'):
            self.client().acquire(self.gpu)
        self.set_policy(rules[1:])
        self.vfioctl('policy', 'reload')
        text = self.vfioctl('policy', 'explain', '--last-refusal')
        self.assertIn('Error: AccessDenied\n', text)
        self.assertIn('Since then: the policy was reloaded\n', text)
        self.assertIn(f'{self.gpu.name}: allow by rule all\n', text)
        self.vfioctl('policy', 'explain', '--last-refusal', '--user', 'root', status=2)
        self.vfioctl('policy', 'explain', '--claim', '0' * 16, status=16)

    @unittest.skipUnless(os.getuid() == 0 and os.access(OLD_HIERARCHY, os.W_OK), 'no control groups here')
    def test_your_unit_where_systemd_manages_the_older_hierarchy(self):
        os.makedirs(f'{self.host.root}/sys/fs/cgroup')
        os.symlink(OLD_HIERARCHY, f'{self.host.root}/sys/fs/cgroup/systemd')
        group = f'{OLD_HIERARCHY}/vfiod-rehearsal.service'
        os.mkdir(group)
        self.addCleanup(os.rmdir, group)
        policy = self.file('policy.json', {'rules': [rule(who={'unit': 'vfiod-rehearsal.service'})]})
        found = json.loads(self.vfioctl('policy', 'explain', '--json', '--policy', policy, self.nic.name, cgroup=group))
        self.assertEqual(found['effect'], 'allow')

    def test_yourself(self):
        policy = self.file('policy.json', {'rules': [rule(who={'user': os.getuid()}, name='me')]})
        found = json.loads(self.vfioctl('policy', 'explain', '--json', '--policy', policy, self.nic.name))
        self.assertEqual((found['subject']['uid'], found['devices'][0]['rule']), (os.getuid(), 'me'))
        policy = self.file('policy.json', {'rules': [rule(who={'capability': 'CAP_SYS_RAWIO'})]})
        found = json.loads(self.vfioctl('policy', 'explain', '--json', '--policy', policy, self.nic.name))
        effective, = re.findall(r'^CapEff:\t(\w+)$', open('/proc/self/status').read(), re.M)
        # In another user namespace than the host's a capability says nothing.
        unknown = os.readlink('/proc/self/ns/user') != 'user:[4026531837]' or \
            os.readlink('/proc/self/ns/pid') != 'pid:[4026531836]'
        self.assertEqual(found['effect'], 'allow' if int(effective, 16) >> 17 & 1 and not unknown else 'deny')


if __name__ == '__main__':
    harness.main()
