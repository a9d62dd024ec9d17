#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""varlink/*.varlink are the contract: the daemon serves them, has every method with these parameters, and no others."""

import re
import xml.etree.ElementTree as ElementTree

import harness
from harness import SOURCE
from varlink_client import INTERFACE, SERVICE, VarlinkError, VarlinkTestCase
from varlink_description import Description

# Of D-Bus properties. References are names (devices, claims) or numbers (groups), null for none.
TYPES = {'s': {'string'}, 'b': {'bool'}, 'y': {'int'}, 'q': {'int'}, 'i': {'int'}, 'u': {'int'}, 't': {'int'},
         'as': {'[]string'}, 'a{sv}': {'[string]object'}, 'o': {'?string', '?int'}, 'ao': {'[]string', '[]int'}, 'a{sb}': {'[string]bool'},
         'aa{sv}': {'[]Taint'}, 'a(us)': {'[]Holder'}, 'a(usas)': {'[]OpenFiles'}, '(ss)': {'AcsPath'}, 'a(tts)': {'[]ReservedRegion'},
         'a(ssssiao)': {'[]MediatedType'}, 'a(sa{ss}t)': {'[]Figure'}, 'a(sssua{ss})': {'[]Rule'}, 'a(ussstas)': {'[]StuckWorker'}}
EMITS = 'org.freedesktop.DBus.Property.EmitsChangedSignal'


def camel(name):
    return name[0].lower() + name[1:]


class VarlinkContractTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.files = {path.stem: Description(path) for path in (SOURCE / 'varlink').glob('*.varlink')}
        self.broker = self.files[INTERFACE]

    def test_the_daemon_serves_the_files(self):
        self.start()
        peer = self.peer()
        self.assertEqual(peer.call(f'{SERVICE}.GetInfo')['interfaces'], sorted(self.files))
        for name, file in self.files.items():
            self.assertEqual(file.name, name)
            served = peer.call(f'{SERVICE}.GetInterfaceDescription', {'interface': name})['description']
            self.assertEqual(served, (SOURCE / f'varlink/{name}.varlink').read_text())

    def test_types_and_errors_are_declared_before_they_are_used_or_after(self):
        for file in self.files.values():
            structs = [*file.types.values(), *file.errors.values()]
            structs += [s for pair in file.methods.values() for s in pair]
            for _, kind in [field for s in structs for field in s]:
                kind = re.sub(r'^\??((\[\]|\[string\])\??)*', '', kind)
                self.assertIn(kind, {'string', 'int', 'bool', 'float', 'object', 'any', *file.types})

    def test_the_daemon_has_these_methods_and_no_others(self):
        text = ''.join(p.read_text() for p in (SOURCE / 'src/daemon/varlink').glob('*.c'))
        rows = re.findall(r'^\s+\{"([A-Z]\w+)", (?:varlink_)?run_\w+,', text, re.M)
        declared = [name for file in self.files.values() for name in file.methods]
        self.assertEqual(sorted(rows), sorted(declared))

    def invalid(self, peer, method, parameters):
        """The parameter that is invalid; None when the answer is another."""
        try:
            peer.call(method, parameters, more=method.endswith('.Monitor'))
        except VarlinkError as e:
            self.assertNotIn(e.name, (f'{SERVICE}.MethodNotFound', f'{SERVICE}.MethodNotImplemented'))
            return e.parameters['parameter'] if e.name == f'{SERVICE}.InvalidParameter' else None
        return None

    def test_methods_have_the_declared_parameters(self):
        good = {'string': 'x', 'int': 1, 'bool': False, '[]string': [], '[]int': [1]}
        bad = {'string': 1, 'int': 'x', 'bool': 'x', '[]string': 'x', '[]int': ['x']}
        self.start()
        for file in self.files.values():
            for name, (parameters, _) in file.methods.items():
                method = f'{file.name}.{name}'
                self.assertEqual(self.invalid(self.peer(), method, {'nonsense': 1}), 'nonsense')
                for parameter, kind in parameters:
                    plain = kind.removeprefix('?')
                    with self.subTest(method, parameter=parameter):
                        self.assertEqual(self.invalid(self.peer(), method, {parameter: bad[plain]}), parameter)
                        if (name, parameter) != ('SetLogLevel', 'level') and parameter not in ('kinds', 'fields'):
                            self.assertNotEqual(self.invalid(self.peer(), method, {parameter: good[plain]}), parameter)
                        required = self.invalid(self.peer(), method, {p: None for p, _ in parameters})
                        self.assertEqual(required is None, all(k[0] == '?' for _, k in parameters))

    def test_requests_have_the_options_of_the_core(self):
        rows = re.search(r'\} options\[\] = \{(.*?)\n\};', (SOURCE / 'src/core/request.c').read_text(), re.S).group(1)
        options = {name: {'s': '?string', 't': '?int', 'b': '?bool'}[kind]
                   for name, kind in re.findall(r'\{"(\w+)", "(\w)", ', rows)}
        self.assertGreater(len(options), 4)
        for name in ('Acquire', 'Plan', 'Explain'):
            self.assertLessEqual(options.items(), dict(self.broker.methods[name][0]).items(), name)

    def test_objects_have_the_properties_of_the_bus(self):
        interfaces = {i.get('name').rsplit('.', 1)[1]: i for i in
                      ElementTree.parse(SOURCE / 'dbus/org.vfiod1.xml').iter('interface')}
        for kind, name in (('Manager', 'Host'), ('Device',) * 2, ('Group',) * 2, ('Claim',) * 2):
            properties = interfaces[kind].findall('property')
            self.assertEqual([field for field, _ in self.broker.types[name]],
                             [camel(p.get('name')) for p in properties], name)
            for (field, kind), p in zip(self.broker.types[name], properties):
                expected = TYPES[p.get('type')]
                listed = not any(a.get('name') == EMITS and a.get('value') == 'false' for a in p.findall('annotation'))
                with self.subTest(f'{name}.{field}'):
                    self.assertIn(kind, expected if listed else {'?' + t.removeprefix('?') for t in expected})

    def test_the_manual_names_every_method(self):
        manual = (SOURCE / 'man/org.vfiod.Broker.5.scd').read_text()
        for file in self.files.values():
            for method in file.methods if file.name != SERVICE else ():
                self.assertIn(f'*{method}*', manual)


if __name__ == '__main__':
    harness.main()
