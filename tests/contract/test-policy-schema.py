#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed JSON Schema of policies and vfiod's own parser take and refuse the same documents.

The parser has the last word and sees more: what is in other files, which accounts the host has, which day a month does
not have. All of that is in ONLY_THE_PARSER. There is nothing that only the schema refuses: an editor that marks what
vfiod takes would teach people to ignore it."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import jsonschema

import harness
from harness import SOURCE

SCHEMA = json.loads((SOURCE / 'policy/vfiod-policy.schema.json').read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.S)


def strip_comments(text):
    """A comment is a space, unless it only looks like one in a string."""
    return TOKEN.sub(lambda m: m[0] if m[0].startswith('"') else ' ', text)


def policy(text):
    return json.loads(strip_comments(text))


def rule(**keys):
    keys = {name.replace('_', '-'): value for name, value in keys.items()}
    return {'rules': [{'effect': 'allow', 'who': {}, 'what': {}, **keys}]}


def deny(**keys):
    return rule(effect='deny', **keys)


def who(**keys):
    return rule(who=keys)


def what(**keys):
    return rule(what=keys)


def tags(entries, name='gpu'):
    return {'tags': {name: entries}, 'rules': [{'effect': 'deny', 'who': {}, 'what': {'tag': name}}]}


def tag(**keys):
    return tags({'slot': '06:0d.0', 'id': '1234:11e8', **keys})


def network(**keys):
    return rule(network=keys)


def noiommu(what={'device': '06:0d.0'}, **keys):
    return rule(what=what, noiommu={'reason': 'lab', **keys})


SERIAL = '00-1b-21-ff-ff-a1-b2-c3'
PATH = '0000:00:1c.0/00.0'

GOOD = [
    {'rules': []},
    {'host': {'noiommu': 'off'}},
    {'host': {'noiommu': 'on'}},
    {'host': {'noiommu': 'managed'}, 'rules': []},
    {'host': {'reservation-ttl': 0}},
    {'host': {'reservation-ttl': 86400}},
    {'host': {}},
    {'host': {'virtual-functions': []}},
    {'host': {'templates': []}},
    {'host': {'templates': [{'name': 'vgpu', 'parent': '0000:06:*', 'type': 'GRID P40-2Q'}, {'name': '2', 'parent': 'pci:0000:06:00.0', 'type': 'mtty-2'}]}},
    what(device='template:vgpu'), what(device='template:*'), what(bus='template'),
    {'host': {'virtual-functions': [{'device': '3b:00.0', 'count': 8}, {'device': '0000:3b:*', 'count': 1, 'autoprobe': False}]}},
    {'tags': {}},
    {'$schema': 'file:///x', 'description': 'd', 'rules': []},
    {'rules': [], 'tags': {'a.b-c_9': {'slot': '06:0d.0', 'id': '1234:11e8'}}},
    rule(),
    rule(effect='ask'),
    deny(),
    rule(name='n'),
    rule(name='n' * 64),
    rule(name='Grafik für alle'),
    rule(name='a b "c" \\'),
    rule(until='2026-12-31T18:00:00Z'),
    rule(until='2026-12-31t18:00:60.123456789z'),
    rule(until='2028-02-29T23:59:59+05:30'),
    rule(until='9998-12-31T18:00:00-00:00'),
    deny(until='2026-12-31T18:00:00Z'),
    rule(backend='iommufd'),
    rule(backend=['group', 'iommufd']),
    rule(grant='fd'),
    rule(grant=['fd', 'none', 'node']),
    rule(grant='node'),
    rule(priority=-100),
    rule(priority=100),
    rule(eviction_delay=0),
    rule(eviction_delay=86400),
    rule(sleep_delay=0),
    rule(sleep_delay=3600),
    rule(max_duration=1),
    rule(preemptible=True),
    rule(stop_after=1, drain_timeout=86400),
    rule(stop_after=86400, drain_timeout=1),
    rule(preemptible=False),
    rule(d3cold=True),
    rule(d3cold=False),
    rule(max_duration=31536000),
    rule(scrub='vfiod-scrub@.service'),
    rule(scrub='a@.service'),
    rule(driver='mlx5_vfio_pci'),
    rule(driver='igb-vfio-pci'),
    rule(scrub='Wipe_2.0:x@.service'),
    rule(scrub='x' * 54 + '@.service'),
    rule(tether='process'),
    rule(tether=['lifeline', 'process', 'connection', 'unit', 'explicit']),
    rule(reset='optional', siblings='park', host_critical='allow', reason='required', untainted=True),
    rule(reset='required', siblings='refuse', host_critical='refuse', reason='optional', untainted=False),
    rule(memlock=0),
    rule(memlock=9223372036854775807),
    rule(memlock='0'),
    rule(memlock='17'),
    rule(memlock='16G'),
    rule(memlock='7T'),
    rule(limits={'claims': 1}),
    rule(limits={'claims': 2147483647, 'devices': 2, 'claims-per-user': 3, 'devices-per-user': 4, 'pinned': '5M'}),
    who(user='alice'),
    who(user=0),
    who(user=4294967294),
    who(user='4294967294'),
    who(user=['alice', 7, '8']),
    # A warning: the directory may be late.
    who(user='nobody-here'),
    who(group=['vm-users', 'nobody-here']),
    who(group=['vm-users', 0]),
    who(unit='vm-*.service', slice='machine.slice', cgroup='/system.slice/*', label='*:svirt_t:*'),
    who(unit=['a.scope', '[!a-c]?'], slice=['*', 'a*.slice'], cgroup=['*x', '/'], label=['a', 'b']),
    who(unit='x' * 247 + '.service'),
    who(capability='CAP_SYS_RAWIO'),
    who(capability=['CAP_SYS_RAWIO', 'CAP_CHOWN']),
    who(namespace='host'),
    who(namespace=['other', 'host']),
    who(scope='ci'),
    who(scope=['ci', 'Pod_1.a-b', '_', '0' * 64]),
    what(**{'physical-function': '06:00.0'}),
    what(**{'physical-function': ['0000:06:00.0', '0000:3b:*']}),
    what(device='06:0d.0'),
    what(device='pci:0000:06:0D.0'),
    what(device='10000:06:0d.7'),
    what(device='pci_0000_06_0d_0'),
    what(device='/sys/bus/pci/devices/0000:06:0d.0'),
    what(device='/sys/bus/pci/devices/0000:06:0d.0/'),
    what(device=['0000:06:*', '*.0', '????:[0-9a-f][0-9A-F]:*', 'pci:*']),
    what(device='*:0[!a-c].[^1]'),
    what(device=['mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', '83B8F4F2-509f-382f-3c1e-e6bfe0fa1002']),
    what(device='/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'),
    what(device=['vdpa:vdpa0', 'platform:QEMU0002:00', 'ap:00.0001', 'ccw:0.0.1234', 'fsl-mc:dpni.3', 'cdx:cdx-00:00']),
    what(device='/sys/bus/vdpa/devices/vdpa0'),
    what(device=['mdev:*', 'vdpa:vdpa[0-3]', 'platform:QEMU*', 'mdev:83B8*', 'fsl-mc:dpni.?']),
    what(bus=['pci', 'mdev', 'platform', 'vdpa', 'ap', 'ccw', 'fsl-mc', 'cdx']),
    what(id='1234:11e8'),
    what(id=['1234:*', '*:11E8', '1234:11e8:1af4:*', '*:*:*:*']),
    rule(what={'class': '02'}),
    rule(what={'class': ['0200', '010802', 'ethernet', '3d', '0C']}),
    what(driver='e1000e'),
    what(driver=['vfio-pci', 'a' * 63]),
    what(bus='pci'),
    what(bus=['pci']),
    what(group='0123456789abcdef'),
    what(group=['0123456789abcdef', '0123456789ABCDE0']),
    what(property={'ID_PATH': 'pci-*'}),
    what(property={'ID_PATH': ['pci-*', 'x'], 'POOL': '?'}),
    what(numa=0),
    what(numa=[0, 1, 65535]),
    what(capabilities='pasid'),
    what(capabilities='pasid=20,migration=p2p,migration=stop-copy,page-size=2M,dma-buf'),
    what(isolation={'alone': True}),
    what(isolation={'alone': False, 'acs': True, 'reset': True, 'removable': False}),
    tag(),
    tag(path=PATH, serial=SERIAL),
    tag(id='1234:11E8:1af4:1100'),
    tag(slot='pci_0000_06_0d_0'),
    tags({'path': '0000:00:1c.0', 'id': '1234:11e8'}),
    tags({'path': '10000:00:1c.0/1f.7/00.0', 'id': '1234:11e8'}),
    tags([{'path': PATH, 'id': '1234:11e8'}, {'slot': '06:0d.0', 'id': '1234:11e8', 'serial': SERIAL}]),
    tags({'slot': '06:0d.0', 'id': '1234:11e8'}, name='x' * 64),
    {**noiommu(), 'host': {'noiommu': 'on'}},
    noiommu(**{'waive-cap-sys-rawio': True}),
    noiommu(reason='x' * 200),
    noiommu(what={'device': ['06:0d.0', 'pci:0000:06:0d.1']}),
    {'tags': {'lab': {'slot': '06:0d.0', 'id': '1234:11e8'}}, **noiommu(what={'tag': 'lab', 'class': '00'})},
    network(mac='52:54:00:*:*:*', vlan=0, spoofchk='on', trust=['on', 'off']),
    network(mac=['*:*:*:*:*:*', 'FE:54:00:12:34:56'], vlan=[4094, '1-4094', '7'], spoofchk=['off']),
]

BAD = [
    [], 'x', 0, None, True,
    {},
    {'description': 'd'},
    {'$schema': 0, 'rules': []},
    {'description': 0, 'rules': []},
    {'rules': {}},
    {'rules': None},
    {'rules': [[]]},
    {'rules': [], 'rule': []},
    {'host': []},
    {'host': {'noiommu': True}},
    {'host': {'reservation-ttl': 86401}},
    {'host': {'reservation-ttl': -1}},
    {'host': {'reservation-ttl': '10m'}},
    {'host': {'noiommu': 'of'}},
    {'host': {'iommu': 'off'}},
    {'host': {'virtual-functions': {}}},
    {'host': {'virtual-functions': [8]}},
    {'host': {'virtual-functions': [{'device': '3b:00.0'}]}},
    {'host': {'virtual-functions': [{'count': 8}]}},
    {'host': {'virtual-functions': [{'device': '3b:00.0', 'count': 0}]}},
    {'host': {'virtual-functions': [{'device': '3b:00.0', 'count': 65536}]}},
    {'host': {'virtual-functions': [{'device': '3b:00.0', 'count': '8'}]}},
    {'host': {'virtual-functions': [{'device': '', 'count': 8}]}},
    {'host': {'virtual-functions': [{'device': '3b:00.0', 'count': 8, 'autoprobe': 'no'}]}},
    {'host': {'virtual-functions': [{'device': '3b:00.0', 'count': 8, 'mac': 'x'}]}},
    {'host': {'templates': {}}},
    {'host': {'templates': ['vgpu']}},
    {'host': {'templates': [{'name': 'a', 'parent': 'b'}]}},
    {'host': {'templates': [{'name': 'a b', 'parent': 'b', 'type': 'c'}]}},
    {'host': {'templates': [{'name': 'template:a', 'parent': 'b', 'type': 'c', 'uuid': 'd'}]}},
    {'host': {'templates': [{'name': 'a', 'parent': '/sys/class/mdev_bus/b', 'type': 'c'}]}},
    {'host': {'templates': [{'name': 'a', 'parent': 'b', 'type': 'mtty/c'}]}},
    {'host': {'templates': [{'name': 'a', 'parent': 'b', 'type': ''}]}},
    what(device='template:'), what(device='template:a/b'),
    {'tags': []},
    {'rules': [{'who': {}, 'what': {}}]},
    {'rules': [{'effect': 'allow', 'what': {}}]},
    {'rules': [{'effect': 'allow', 'who': {}}]},
    rule(effect='allows'),
    rule(effect=['allow']),
    rule(who=[]),
    rule(what='x'),
    rule(name=''),
    rule(name='n' * 65),
    rule(name='a\tb'),
    rule(name='a\x7fb'),
    rule(name='a\x85b'),
    rule(name='a\u202eb'),
    rule(name=1),
    rule(wat={}),
    rule(until='2026-12-31'),
    rule(until='2026-12-31T18:00:00'),
    rule(until='2026-13-31T18:00:00Z'),
    rule(until='2026-12-32T18:00:00Z'),
    rule(until='2026-12-31T24:00:00Z'),
    rule(until='2026-12-31 18:00:00Z'),
    rule(until='2026-12-31T18:00Z'),
    rule(until='2026-12-31T18:00:00.Z'),
    rule(until='2026-12-31T18:00:00+1:00'),
    rule(until='1969-12-31T18:00:00Z'),
    rule(until=1798740000),
    rule(backend='noiommu'),
    rule(backend=[]),
    rule(backend=['group', 'group']),
    rule(backend='vfio'),
    rule(grant='nodes'),
    rule(grant=[]),
    rule(grant=['node', 'node']),
    rule(tether='lifelines'),
    rule(tether=[]),
    rule(tether=['unit', 'unit']),
    rule(tether=True),
    rule(reset='never'),
    rule(reset=True),
    rule(siblings='claim'),
    rule(host_critical='park'),
    rule(host_critical=True),
    rule(reason='needed'),
    rule(reason=True),
    rule(untainted='yes'),
    rule(memlock=-1),
    rule(priority=-101),
    rule(priority=101),
    rule(priority='high'),
    rule(priority=1.5),
    rule(eviction_delay=-1),
    rule(eviction_delay=86401),
    rule(eviction_delay='1m'),
    rule(sleep_delay=-1),
    rule(sleep_delay=3601),
    rule(sleep_delay='5s'),
    rule(max_duration=0),
    rule(max_duration=-1),
    rule(max_duration=31536001),
    rule(max_duration='8h'),
    rule(preemptible='yes'),
    rule(d3cold=1),
    rule(scrub=''),
    rule(scrub='@.service'),
    rule(driver=''),
    rule(driver='-x'),
    rule(driver='a/b'),
    rule(driver='vfio.pci'),
    rule(driver=['vfio-pci']),
    rule(driver='x' * 64),
    rule(scrub='.hidden@.service'),
    rule(scrub='vfiod-scrub.service'),
    rule(scrub='vfiod-scrub@x.service'),
    rule(scrub='vfiod-scrub@.target'),
    rule(scrub='../scrub@.service'),
    rule(scrub='a b@.service'),
    rule(scrub='x' * 55 + '@.service'),
    rule(scrub=['a@.service']),
    rule(scrub=None),
    rule(stop_after=0),
    rule(stop_after=86401),
    rule(drain_timeout=0),
    rule(drain_timeout=-1),
    rule(drain_timeout='1m'),
    rule(memlock=9223372036854775808),
    rule(memlock=1.5),
    rule(memlock=''),
    rule(memlock='G'),
    rule(memlock='16g'),
    rule(memlock='16GB'),
    rule(memlock='1.5G'),
    rule(memlock=' 1'),
    rule(limits={}),
    rule(limits=[]),
    rule(limits={'claims': 0}),
    rule(limits={'claims': 2147483648}),
    rule(limits={'devices': '1'}),
    rule(limits={'claims-per-users': 1}),
    rule(limits={'pinned': True}),
    *[deny(**{key: value}) for key, value in [
        ('backend', 'group'), ('grant', 'fd'), ('tether', 'unit'), ('reset', 'optional'), ('siblings', 'park'), ('host_critical', 'allow'),
        ('memlock', 1), ('untainted', True), ('reason', 'required'), ('limits', {'claims': 1}), ('priority', 1), ('eviction_delay', 1), ('max_duration', 1),
        ('preemptible', True), ('stop_after', 1), ('drain_timeout', 1), ('sleep_delay', 1), ('scrub', 'a@.service'), ('driver', 'vfio-pci'), ('d3cold', True)]],
    deny(what={'device': '06:0d.0'}, noiommu={'reason': 'lab'}),
    who(user=[]),
    who(user=['alice', 'alice']),
    who(user=-1),
    who(user=4294967295),
    who(user=1.5),
    who(user=True),
    who(user=[['alice']]),
    who(user=None),
    who(user=''),
    who(group={}),
    who(executable='/usr/bin/qemu-system-x86_64'),
    who(unit=''),
    who(unit=1),
    who(unit='x' * 256),
    who(unit='a\nb'),
    who(label=[]),
    who(cgroup='system.slice/*'),
    who(capability='SYS_RAWIO'),
    who(capability='CAP_SYS_RAWI0'),
    who(capability=17),
    who(namespace='unknown'),
    who(namespace=[]),
    who(scope=''),
    who(scope=[]),
    who(scope=1),
    who(scope=['ci', 'ci']),
    who(scope='-ci'),
    who(scope='.ci'),
    who(scope='ci/x'),
    who(scope='ci*'),
    who(scope='c i'),
    who(scope='0' * 65),
    what(**{'physical-function': ''}),
    what(**{'physical-function': True}),
    what(device=''),
    what(device=6),
    what(device='06'),
    what(device='06:0d.8'),
    what(device='06:2d.0'),
    what(device='000:06:0d.0'),
    what(device='pci_06_0d_0'),
    what(device='usb:*'),
    what(device='vdpa:'),
    what(device='vdpa:a/b'),
    what(device='vdpa:' + 'a' * 39),
    what(device='mdev:vdpa0'),
    what(device='vdpa:/*'),
    what(bus='usb'),
    tag(slot='vdpa:vdpa0'),
    what(device='*' * 64),
    what(device=['06:0d.0', '06:0d.0']),
    what(id='1234'),
    what(id='1234:11e'),
    what(id='1234:11e8:1af4'),
    what(id='1234:11e8:1af4:1100:0000'),
    what(id='1234:11?8'),
    rule(what={'class': '2'}),
    rule(what={'class': '02000'}),
    rule(what={'class': '0x02'}),
    rule(what={'class': 'ethernets'}),
    rule(what={'class': 2}),
    what(driver=''),
    what(driver='.'),
    what(driver='..'),
    what(driver='a/b'),
    what(driver='a b'),
    what(driver='a' * 64),
    what(bus='usb'),
    what(group=8),
    what(group='8'),
    what(group='0123456789abcdeg'),
    what(tag='GPU'),
    what(tag=[]),
    what(property={}),
    what(property='ID_PATH=x'),
    what(property={'ID_PATH': []}),
    what(property={'ID_PATH': ''}),
    what(property={'ID_PATH': 1}),
    what(property={'A=B': 'x'}),
    what(property={'': 'x'}),
    what(capabilities=''),
    what(capabilities='pasid,'),
    what(capabilities='pasid=21'),
    what(capabilities='teleport'),
    what(capabilities=['pasid']),
    what(numa=-1),
    what(numa=65536),
    what(numa='0'),
    what(numa=[0, 0]),
    what(isolation={}),
    what(isolation=True),
    what(isolation={'alone': 'yes'}),
    what(isolation={'acs-complete': True}),
    tags([]),
    tags('06:0d.0'),
    tags({'slot': '06:0d.0'}),
    tags({'id': '1234:11e8'}),
    tags({'slot': '06:0d.0', 'id': '1234:11e8'}, name='Gpu'),
    tags({'slot': '06:0d.0', 'id': '1234:11e8'}, name=''),
    tags({'slot': '06:0d.0', 'id': '1234:11e8'}, name='x' * 65),
    tag(slot='0000:06:*'),
    tag(id='1234:*'),
    tag(id=['1234:11e8']),
    tag(serial='001b21ffffa1b2c3'),
    tag(serial=SERIAL.upper()),
    tag(path=PATH.upper()),
    tag(path='1c.0'),
    tag(path=PATH + '/'),
    tag(driver='nvme'),
    rule(what={'device': '06:0d.0'}, noiommu=True),
    rule(what={'device': '06:0d.0'}, noiommu={}),
    noiommu(reason=''),
    noiommu(reason='x' * 201),
    noiommu(reason='a\nb'),
    noiommu(**{'waive-cap-sys-rawio': False}),
    noiommu(**{'waive': True}),
    noiommu(what={}),
    noiommu(what={'id': '1234:11e8'}),
    noiommu(what={'device': '0000:06:*'}),
    noiommu(what={'device': ['06:0d.0', '0000:06:0d.?']}),
    rule(network=True),
    network(),
    network(mtu=1500),
    network(mac=[]),
    network(mac='52:54:00:*'),
    network(mac='52:54:00:12:34:5'),
    network(mac='52:54:00:12:34:*6'),
    network(mac='52-54-00-12-34-56'),
    network(mac='01:00:5e:00:00:01'),
    network(mac='ff:*:*:*:*:*'),
    network(mac=5),
    network(vlan=4095),
    network(vlan=-1),
    network(vlan='a'),
    network(vlan='-5'),
    network(vlan='1-'),
    network(vlan=[1, 1]),
    network(spoofchk=False),
    network(trust='yes'),
    deny(network={'vlan': 1}),
]

ONLY_THE_PARSER = {
    # Other files, and the host.
    'tag that no file defines': what(tag='gpu'),
    'virtual functions of a device that are declared twice': {
        'host': {'virtual-functions': [{'device': '3b:00.0', 'count': 8}, {'device': '0000:3b:00.0', 'count': 4}]}},
    'two templates of one name': {'host': {'templates': 2 * [{'name': 'a', 'parent': 'b', 'type': 'c'}]}},
    'two rules of one name': {'rules': 2 * deny(name='n')['rules']},
    # JSON has no word for it: a second key hides the first before the schema sees it.
    'key that is there twice': '{"rules": [], "rules": []}',
    'comma behind the last element': '{"rules": [],}',
    # What a pattern cannot count.
    'day that the month does not have': rule(until='2026-02-29T18:00:00Z'),
    'uid beyond the last one in a string': who(user='4294967295'),
    'size of more than 64 bits': rule(memlock='9999999999T'),
    'name of more bytes than characters': rule(name='ü' * 33),
    'VLANs above the last one': network(vlan='1-4095'),
    'VLANs in the wrong order': network(vlan='20-10'),
    'MAC address that no interface has': network(mac='00:00:00:00:00:00'),
    'reason of more bytes than characters': noiommu(reason='ü' * 101),
    # JSON Schema calls these integers; for vfiod a number with a point is none.
    'integer with a point': '{"rules": [{"effect": "deny", "who": {"user": 1.0}, "what": {}}]}',
    # What can never match.
    'glob of devices that no name can match': what(device='06:*'),
    'glob of UUIDs without their kind': what(device='83b8f4f2-*'),
    'glob of UUIDs that no name can match': what(device='mdev:83b8f4f2_*'),
    'bracket that is never closed in a device': what(device='0000:[06:*'),
    'bracket that is never closed': who(unit='a['),
    'unit without its kind': who(unit='crio'),
    'path of a unit': who(unit='/system.slice/crio.service'),
    'alternatives in braces': who(unit='{a,b}.service'),
    'class of characters': who(label='[[:digit:]]*'),
    'regular expression': who(cgroup=r'/system\.slice/.*'),
    'slice with its parents': who(slice='user.slice/user-1000.slice'),
    'path in sysfs': who(cgroup='/sys/fs/cgroup/system.slice'),
    'cgroup that ends with a slash': who(cgroup='/system.slice/'),
    'glob of users': who(user='a*'),
    'glob of groups': who(group='[a-z]*'),
    'group as sudo writes it': who(user='%wheel'),
    'glob of drivers': what(driver='nvidia*'),
    'glob of properties': what(property={'ID_*': '1'}),
    'property that is never in lower case': what(property={'PCI_ID': '10de:*'}),
    'glob of slices that no slice can match': who(slice='*.service'),
}


class SchemaTest(unittest.TestCase):
    maxDiff = None

    def schema_takes(self, document):
        return VALIDATOR.is_valid(document)

    def parser_says(self, documents):
        """What the parser says of each: '' when it takes it."""
        with tempfile.TemporaryDirectory() as directory:
            names = []
            for i, document in enumerate(documents):
                name = os.path.join(directory, f'{i}.json')
                pathlib.Path(name).write_text(document if isinstance(document, str) else json.dumps(document))
                names.append(name)
            output = subprocess.run([os.environ['VFIOD_TEST_CHECK_POLICY'], *names], check=True, text=True,
                                    stdout=subprocess.PIPE).stdout.splitlines()
        said = [' '.join(line for line in output if line.startswith(name + ':')) for name in names]
        self.assertNotIn('', said)
        return ['' if text == f'{name}: ok' else text for name, text in zip(names, said)]

    def test_the_schema_is_one(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_good(self):
        documents = [json.dumps(d) for d in GOOD]
        for document, text, problem in zip(GOOD, documents, self.parser_says(documents)):
            with self.subTest(text):
                self.assertEqual(problem, '')
                self.assertEqual([e.message for e in VALIDATOR.iter_errors(document)], [])

    def test_bad(self):
        documents = [json.dumps(d) for d in BAD]
        for document, text, problem in zip(BAD, documents, self.parser_says(documents)):
            with self.subTest(text):
                self.assertFalse(self.schema_takes(document))
                self.assertIn('error:', problem)

    def test_only_the_parser(self):
        said = self.parser_says(ONLY_THE_PARSER.values())
        for (name, document), problem in zip(ONLY_THE_PARSER.items(), said):
            with self.subTest(name):
                self.assertIn('error:', problem)
                if isinstance(document, str):
                    document = json.loads(document.replace(',}', '}'))
                self.assertEqual([e.message for e in VALIDATOR.iter_errors(document)], [])

    def test_examples(self):
        texts = {f: f.read_text() for f in sorted((SOURCE / 'policy/examples').glob('*.json'))}
        self.assertGreaterEqual(len(texts), 5)
        for (file, text), problem in zip(texts.items(), self.parser_says(texts.values())):
            with self.subTest(str(file)):
                self.assertEqual([e.message for e in VALIDATOR.iter_errors(policy(text))], [])
                # A tag may stand in another file.
                self.assertEqual(problem, '')

    def test_manual(self):
        blocks = re.findall(r'^```\n(\{.*?)^```$', (SOURCE / 'man/vfiod-policy.5.scd').read_text(), re.M | re.S)
        self.assertGreaterEqual(len(blocks), 6)
        for block in blocks:
            with self.subTest(block):
                self.assertEqual([e.message for e in VALIDATOR.iter_errors(policy(block))], [])

    def test_comments_are_stripped(self):
        self.assertEqual(policy('{"a": "//x /* y */ \\"//", // "b"\n /* "c": 1, // */ "d": 2 }'),
                         {'a': '//x /* y */ "//', 'd': 2})


class KeysTest(unittest.TestCase):
    """What no table of documents would notice: a key or a word that only one of the two has."""

    def keys_of_parser(self, document):
        with tempfile.NamedTemporaryFile('w') as file:
            file.write(document)
            file.flush()
            said = subprocess.run([os.environ['VFIOD_TEST_CHECK_POLICY'], file.name], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout
        known = re.search(r'unknown key "zzzzzzzz".* known are (.*)', said)
        self.assertIsNotNone(known, said)
        return set(re.findall(r'"([^"]+)"', known[1]))

    def test_keys(self):
        defined = SCHEMA['$defs']
        a_rule = '{"rules":[{"effect":"allow","who":{},"what":{"device":"06:0d.0"},%s}]}'
        for text, schema in [
                ('{"zzzzzzzz":0}', SCHEMA),
                ('{"host":{"zzzzzzzz":0}}', SCHEMA['properties']['host']),
                ('{"host":{"virtual-functions":[{"zzzzzzzz":0}]}}', defined['virtualFunctions']),
                ('{"host":{"templates":[{"zzzzzzzz":0}]}}', defined['template']),
                ('{"tags":{"a":{"zzzzzzzz":0}}}', defined['tagEntry']),
                (a_rule % '"zzzzzzzz":0', defined['rule']),
                ('{"rules":[{"who":{"zzzzzzzz":0}}]}', defined['who']),
                ('{"rules":[{"what":{"zzzzzzzz":0}}]}', defined['what']),
                ('{"rules":[{"what":{"isolation":{"zzzzzzzz":0}}}]}', defined['what']['properties']['isolation']),
                (a_rule % '"limits":{"zzzzzzzz":0}', defined['limits']),
                (a_rule % '"noiommu":{"zzzzzzzz":0}', defined['rule']['properties']['noiommu'])]:
            with self.subTest(text):
                self.assertEqual(self.keys_of_parser(text), set(schema['properties']))
                self.assertIs(schema['additionalProperties'], False)

    def test_allow_only_keys(self):
        rule_keys = SCHEMA['$defs']['rule']
        forbidden = rule_keys['allOf'][0]['then']['properties']
        self.assertEqual(set(forbidden), set(rule_keys['properties']) - {'name', 'effect', 'who', 'what', 'until'})
        self.assertEqual(set(forbidden.values()), {False})

    def test_every_key_is_described(self):
        def walk(schema, path):
            for name, sub in schema.get('properties', {}).items():
                if sub is not False and 'then' not in path:
                    target = SCHEMA['$defs'][sub['$ref'].rpartition('/')[2]] if '$ref' in sub else {}
                    self.assertIn('description', {**target, **sub}, f'{path}.{name}')
                    walk(sub, f'{path}.{name}')

        walk(SCHEMA, '')
        for name in ('tagEntry', 'rule', 'who', 'what', 'limits'):
            walk(SCHEMA['$defs'][name], name)

    def test_capabilities(self):
        self.assertEqual(SCHEMA['$defs']['capability']['enum'],
                         re.findall(r'"(CAP_[A-Z_]+)"', (SOURCE / 'src/core/capability.c').read_text()))

    def test_classes(self):
        rows = re.findall(r'\{"([a-z0-9-]+)", 0x([0-9a-f]{6}), 0x([0-9a-f]{6})\}',
                          (SOURCE / 'src/core/pci-class.c').read_text())
        table = {}
        for name, value, mask in rows:
            table.setdefault(name, set()).add(value[:len(mask.rstrip('0'))])
        self.assertGreater(len(table), 20)
        self.assertEqual(set(SCHEMA['$defs']['class']['anyOf'][0]['enum']), set(table))

        manual = (SOURCE / 'man/vfiod-policy.5.scd').read_text()
        listed = re.findall(r'^[|:] {1,2}([a-z0-9-]+)\n:  ([0-9a-f]+(?:, [0-9a-f]+)*)$', manual, re.M)
        self.assertEqual({name: set(digits.split(', ')) for name, digits in listed}, table)


if __name__ == '__main__':
    harness.main()
