#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each caller may have: the property Access, in one call for all devices, over D-Bus and over the socket."""

import json
import os

import harness
from harness import NOBODY, device_path, needs_root
from host import ACS_ISOLATES, ROOT_PORT, VFIO
from varlink_client import SERVICE, VarlinkTestCase


class AccessTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.port = self.host.add_device('0000:00:1c.0', group=3, driver='pcieport', class_code=0x060400, reset='',
                                         acs=ACS_ISOLATES, port_type=ROOT_PORT)
        self.mine = self.host.add_device('0000:06:00.0', group=8, driver='e1000e', parent=self.port)
        self.asked = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.denied = self.host.add_device('0000:08:00.0', group=10, driver='e1000e')
        self.theirs = self.host.add_device('0000:09:00.0', group=11, driver='e1000e', numa_node=1)
        self.isolated = self.host.add_device('0000:0a:00.0', group=12, driver='e1000e', parent=self.port)
        self.rules = [self.rule('denied', 'deny', device='pci:0000:08:00.0'), self.rule('mine', device='pci:0000:06:00.0'),
                      self.rule('asked', 'ask', device='pci:0000:07:00.0'), self.rule('any', device='pci:0000:08:00.0'),
                      {**self.rule('theirs', user=NOBODY), 'what': {'numa': 1}}]

    def isolated_rule(self):
        return {**self.rule('isolated'), 'what': {'device': 'pci:0000:0a:00.0', 'isolation': {'acs': True}}}

    def by_bus(self, *properties):
        devices = self.c.manager('ListDevices', 'as', list(properties or ['Access']))
        return {str(path): dict(values) for path, values in devices.items()}

    def access(self):
        """As both faces say it, one device after the other and all at once: name -> access"""
        together = {path: values['Access'] for path, values in self.by_bus().items()}
        listed = [r['device'] for r in self.peer().stream('List', {'kinds': ['device'], 'fields': ['name', 'access']})]
        found = {d['name']: d['access'] for d in listed}
        self.assertEqual({device_path(n): a for n, a in found.items()}, together)
        for name, access in found.items():
            self.assertEqual(self.peer().call('List', {'device': name})['device']['access'], access)
            self.assertEqual(self.c.get(device_path(name), 'Device', 'Access'), access)
        return found

    def expected(self, **more):
        return {self.port.name: 'deny', self.mine.name: 'allow', self.asked.name: 'ask', self.denied.name: 'deny',
                self.theirs.name: 'deny', self.isolated.name: 'deny', **more}

    def begin(self, *rules):
        self.set_policy([*self.rules, *rules])
        self.start()
        self.c = self.client()

    def test_of_the_caller(self):
        self.begin()
        self.assertEqual(self.access(), self.expected())

    def test_what_sleeps_is_not_looked_at(self):
        """Only the devices that it can matter for are unknown."""
        self.begin(self.isolated_rule())
        self.assertEqual(self.access(), self.expected(**{self.isolated.name: 'unknown'}))
        self.assertIn('isolated (', self.c.plan(self.isolated)['rule'])

    def test_deny_that_depends_on_what_sleeps(self):
        """Not known to be allowed."""
        self.rules.insert(0, {**self.isolated_rule(), 'effect': 'deny', 'name': 'not isolated'})
        self.rules[0]['what']['device'] = self.mine.name
        self.begin()
        self.assertEqual(self.access(), self.expected(**{self.mine.name: 'unknown'}))

    def test_long_policy(self):
        """Most rules of which are about others."""
        self.rules = [self.rule(f'other-{i}', user=20000 + i) for i in range(200)] + self.rules
        self.begin(self.isolated_rule())
        self.assertEqual(self.access(), self.expected(**{self.isolated.name: 'unknown'}))

    def test_broken_policy(self):
        self.set_policy([], text='{')
        self.start()
        self.c = self.client()
        self.assertEqual(set(self.access().values()), {'deny'})

    def test_after_a_reload_and_while_claimed(self):
        self.begin()
        reply, fds = self.peer().acquire(self.mine)
        self.assertEqual(self.access(), self.expected())
        self.set_policy([self.rule('all')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        access = self.access()
        self.assertEqual(access.pop(self.port.name), 'deny')  # no rule can hand out a bridge
        self.assertEqual(set(access.values()), {'allow'})
        for fd in fds.values():
            os.close(fd)

    @needs_root
    def test_another_user(self):
        self.begin()
        found = json.loads(self.run_as_nobody('''
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[2])
s.sendall(json.dumps({"method": "org.vfiod.Broker.List", "more": True,
                      "parameters": {"kinds": ["device"], "fields": ["name", "access"]}}).encode() + b"\\0")
data = b""
while not data.endswith(b"\\0") or json.loads(data[:-1].split(b"\\0")[-1]).get("continues"):
    data += s.recv(65536)
print(json.dumps({d["name"]: d["access"] for d in
                  (json.loads(m)["parameters"]["device"] for m in data[:-1].split(b"\\0"))}))
'''))
        self.assertEqual(found, {**{d: 'deny' for d in self.expected()}, self.theirs.name: 'allow'})

    def test_other_properties(self):
        self.begin()
        found = self.by_bus('NumaNode', 'Driver', 'NumaNode')
        self.assertEqual(found[device_path(self.theirs.name)], {'NumaNode': 1, 'Driver': 'e1000e'})
        self.assertEqual(len(found), 6)
        self.assertEqual(set(map(str, self.c.manager('ListDevices', 'as', []).values())), {str(self.c.manager('ListDevices', 'as', [])[device_path(self.mine.name)])})
        groups = [r['group'] for r in self.peer().stream('List', {'kinds': ['group'], 'fields': ['id', 'type']})]
        self.assertEqual(sorted(g['id'] for g in groups), [3, 8, 9, 10, 11, 12])
        self.assertEqual({g['type'] for g in groups}, {'DMA-FQ'})

    def test_wrong_properties(self):
        self.begin()
        for name, word in (('AcsPath', 'costly'), ('HostCritical', 'costly'), ('Nonsense', 'no property'), ('access', 'no property'),
                           ('', 'no property'), ('x' * 5000, 'no property'), ('a\x1b[2J', 'no property')):
            with self.assertRaises(Exception) as caught:
                self.by_bus('Driver', name)
            self.assertIn('InvalidArgument', caught.exception.get_dbus_name())
            self.assertIn(word, str(caught.exception))
            self.assertNotIn('\x1b', str(caught.exception))
        for parameters in ({'kinds': ['device'], 'fields': ['hostCritical']}, {'kinds': ['device'], 'fields': ['nonsense']},
                           {'kinds': ['device', 'group'], 'fields': ['id']}, {'fields': ['name']},
                           {'kinds': ['claim'], 'fields': ['holders']}):
            with self.fails(f'{SERVICE}.InvalidParameter', parameter='fields'):
                list(self.peer().stream('List', parameters))
        with self.fails(f'{SERVICE}.ExpectedMore'):
            self.peer().call('List', {'kinds': ['device'], 'fields': ['name']})

    def test_many_devices(self):
        """The answer is made in slices."""
        for i in range(300):
            self.host.add_device(f'0000:{0x20 + i // 32:02x}:{i % 32:02x}.0', group=100 + i, driver='e1000e')
        self.begin()
        found = self.access()
        self.assertEqual(len(found), 306)
        self.assertEqual({n: a for n, a in found.items() if a != 'deny'}, {self.mine.name: 'allow', self.asked.name: 'ask'})


if __name__ == '__main__':
    harness.main()
