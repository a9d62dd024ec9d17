# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.vfiod1 as its contract says, with nothing behind it: lets tests show vfioctl and libvfiod answers, texts and
orders of events that a real host gives only with effort. Property types come from dbus/org.vfiod1.xml.

Lives in the test's own process and main loop: tests read and change it directly."""

import os
import pathlib
import subprocess
import xml.etree.ElementTree

import dbus
import dbus.bus
import dbus.lowlevel
import dbus.service
from gi.repository import GLib

from harness import ERROR, NAME, OBJECT_MANAGER, PROPERTIES, ROOT_PATH, SOURCE, device_path

CONVERT = {
    's': dbus.String, 'o': dbus.ObjectPath, 'b': dbus.Boolean, 'y': dbus.Byte, 'q': dbus.UInt16, 'u': dbus.UInt32,
    'i': dbus.Int32, 't': dbus.UInt64,
    'as': lambda v: dbus.Array(v, signature='s'), 'ao': lambda v: dbus.Array(v, signature='o'),
    '(ss)': lambda v: dbus.Struct(v, signature='ss'), 'a{sb}': lambda v: dbus.Dictionary(v, signature='sb'),
    'a{sv}': lambda v: dbus.Dictionary(v, signature='sv'),
    'aa{sv}': lambda v: dbus.Array([dbus.Dictionary(x, signature='sv') for x in v], signature='a{sv}'),
    'a(us)': lambda v: dbus.Array([dbus.Struct(x, signature='us') for x in v], signature='(us)'),
    'a(usas)': lambda v: dbus.Array([dbus.Struct((*x[:2], dbus.Array(x[2], 's')), signature='usas') for x in v],
                                    signature='(usas)'),
    'a(tts)': lambda v: dbus.Array([dbus.Struct(x, signature='tts') for x in v], signature='(tts)'),
    'a(ussstas)': lambda v: dbus.Array([dbus.Struct((*x[:5], dbus.Array(x[5], 's')), signature='ussstas') for x in v],
                                       signature='(ussstas)'),
}


def read_contract():
    """interface -> property -> type"""
    root = xml.etree.ElementTree.parse(SOURCE / 'dbus' / 'org.vfiod1.xml').getroot()
    return {i.get('name'): {p.get('name'): p.get('type') for p in i.findall('property')}
            for i in root.findall('interface')}


def read_explicit():
    """Properties that only Get shows: (interface, property)."""
    root = xml.etree.ElementTree.parse(SOURCE / 'dbus' / 'org.vfiod1.xml').getroot()
    return {(i.get('name'), p.get('name')) for i in root.findall('interface') for p in i.findall('property')
            for a in p.findall('annotation')
            if a.get('name') == 'org.freedesktop.systemd1.Explicit' and a.get('value') == 'true'}


CONTRACT = read_contract()
EXPLICIT = read_explicit()


def typed(interface, properties):
    return dbus.Dictionary({k: CONVERT[CONTRACT[interface][k]](v) for k, v in properties.items()
                            if (interface, k) not in EXPLICIT}, signature='sv')


def group_path(number):
    return f'{ROOT_PATH}/group/{number}'


def claim_path(claim_id):
    return f'{ROOT_PATH}/claim/{claim_id}'


class OpenBus:
    """A private dbus-daemon on which everybody may do everything."""

    def __init__(self, directory):
        self.address = f'unix:path={directory}/bus'
        config = pathlib.Path(directory, 'bus.conf')
        config.write_text(f'''
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>{self.address}</listen>
  <policy context="default">
    <allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>''')
        ready, child = os.pipe()
        try:
            self.process = subprocess.Popen(
                ['dbus-daemon', f'--config-file={config}', '--nofork', f'--print-address={child}'], pass_fds=[child])
        finally:
            os.close(child)
        with os.fdopen(ready) as f:
            if not f.readline():
                raise AssertionError(f'dbus-daemon ended with {self.process.wait(10)}')

    def stop(self):
        self.process.kill()
        self.process.wait(10)


class MockClaim:
    def __init__(self, claim_id, devices, groups, lifeline):
        self.id, self.devices, self.groups, self.lifeline = claim_id, devices, groups, lifeline
        self.path = claim_path(claim_id)


class MockVfiod(dbus.service.FallbackObject):
    """The daemon. objects: path -> (interface, properties), plain Python values."""

    def __init__(self, address, directory):
        self.directory = directory  # a file of each fd's name is made here: that is what the fd is of
        self.objects = {ROOT_PATH: (f'{NAME}.Manager', {
            'Version': '9.8.7', 'PolicyState': 'loaded', 'PolicyErrors': [], 'PolicyWarnings': [], 'PolicyRules': 3, 'VirtualFunctionsWarnings': dbus.Array([], 's'), 'StuckWorkers': [], 'Devices': 0,
            'Groups': 0, 'Claims': 0, 'Noiommu': 'off', 'Taints': [], 'Kernel': {'iommu': True, 'iommufd': True, 'deviceCdev': True,
                                                 'container': False, 'noiommuSupport': False,
                                                 'noiommuEnabled': False}})}
        self.refusals = {}   # method -> (error name, message)
        self.unknown_options = set()  # of Acquire, to an older daemon
        self.plan = '{}'
        self.planner = lambda options: True  # or the name of the error with which it refuses
        self.interactive = []  # of each Acquire: may a person be asked?
        self.holders = []    # while there are any, an ended claim drains
        self.claims = {}     # id -> MockClaim
        self.calls = []      # (method, arguments…)
        self.backend = 'iommufd'
        self._watches = []
        self.link = dbus.bus.BusConnection(address)
        self.link.set_exit_on_disconnect(False)
        self._owned = dbus.service.BusName(NAME, self.link)
        super().__init__(self.link, ROOT_PATH)

    def close(self):
        for claim in self.claims.values():
            self._close_lifeline(claim)
        if self.link.get_is_connected():
            self.link.close()

    # --- the world ------------------------------------------------------------------------------------------------

    def add(self, path, interface, announce=False, **properties):
        self.objects[path] = (f'{NAME}.{interface}', properties)
        if announce:
            self._signal(ROOT_PATH, OBJECT_MANAGER, 'InterfacesAdded', 'oa{sa{sv}}', dbus.ObjectPath(path),
                         self._interfaces(path))

    def remove(self, path):
        interface, _ = self.objects.pop(path)
        self._signal(ROOT_PATH, OBJECT_MANAGER, 'InterfacesRemoved', 'oas', dbus.ObjectPath(path), [interface])

    def set(self, path, **properties):
        interface, values = self.objects[path]
        values.update(properties)
        self._signal(path, PROPERTIES, 'PropertiesChanged', 'sa{sv}as', interface, typed(interface, properties), [])

    def add_device(self, name, group, announce=False, **properties):
        self.add(device_path(name), 'Device', announce, **{
            'Name': name, 'Vendor': 0x8086, 'Product': 0x10d3, 'SubsystemVendor': 0x8086, 'SubsystemProduct': 0xa01f,
            'Class': 0x020000, 'Revision': 1, 'Driver': 'e1000e', 'DriverOverride': '', 'VfioNode': '',
            'Group': group_path(group) if group is not None else '/', 'State': 'free', 'Claim': '/', 'NumaNode': -1,
            'QuarantineCause': '', 'ResetMethods': ['flr', 'bus'], 'AcsPath': ('complete', ''), 'Removable': 'fixed', 'HostCritical': '',
            'Tags': dbus.Array([], 's'),
            'VirtualFunctionsMax': dbus.UInt16(0), 'VirtualFunctions': dbus.Array([], 'o'), 'PhysicalFunction': dbus.ObjectPath('/'),
            'SlotPath': '', 'Parent': dbus.ObjectPath('/'), 'IommuUnit': '', 'Companions': '', 'Network': '', 'Capabilities': {}, 'Access': 'deny',
            **properties})

    def add_group(self, number, *devices, **properties):
        self.add(group_path(number), 'Group', **{
            'Id': number, 'Devices': [device_path(d) for d in devices], 'Fingerprint': '00112233445566aa',
            'State': 'free', 'Claim': '/', 'Type': 'DMA', 'ReservedRegions': [(0xfee00000, 0xfeefffff, 'msi')],
            'VfioNode': '', 'Viable': True, 'Capabilities': {}, **properties})

    def _signal(self, path, interface, member, signature, *arguments):
        message = dbus.lowlevel.SignalMessage(path, interface, member)
        message.append(*arguments, signature=signature)
        self.link.send_message(message)
        self.link.flush()

    # --- claims ---------------------------------------------------------------------------------------------------

    def _full_name(self, spelling):
        for name in (spelling, 'pci:' + spelling):
            if device_path(name) in self.objects:
                return name
        raise dbus.DBusException(f'{spelling}: There is no such device.', name=ERROR + 'NoSuchDevice')

    def _group_of(self, name):
        for _, p in (o for path, o in self.objects.items() if path.startswith(ROOT_PATH + '/group/')):
            if device_path(name) in p['Devices']:
                return p['Id']
        return None

    def _open(self, name):
        path = pathlib.Path(self.directory, 'fd:' + name)
        path.write_text(name)
        fd = os.open(path, os.O_RDWR)
        try:
            return dbus.types.UnixFd(fd)
        finally:
            os.close(fd)

    def _make_claim(self, devices, options):
        claim_id = f'{len(self.claims) + 0xc1a1 << 32:016x}'
        names = [self._full_name(d) for d in devices]
        groups = sorted({self._group_of(n) for n in names})
        backend = str(options.get('backend', self.backend))
        ours, theirs = os.pipe()
        self.claims[claim_id] = claim = MockClaim(claim_id, names, groups, ours)
        self._watches.append(GLib.io_add_watch(ours, GLib.PRIORITY_DEFAULT, GLib.IO_HUP,
                                               lambda *_: self.end_claim(claim)))
        self.add(claim.path, 'Claim', True, **{
            'Id': claim_id, 'State': 'held', 'Devices': [device_path(n) for n in names],
            'Groups': [group_path(g) for g in groups], 'Backend': backend, 'Grant': 'fd',
            'VfTokens': dbus.Array([], 's'),
            'Nodes': [], 'Tether': 'lifeline', 'Cookie': '', 'Uid': os.getuid(), 'Pid': 4711, 'Command': 'test', 'Unit': '', 'Rule': 'one (/etc/vfiod/policy.d/1.json:2)',
            'Reason': str(options.get('reason', '')), 'Since': 1790000000000000, 'ReservedUntil': dbus.UInt64(0), 'QueuePosition': dbus.UInt32(0), 'WaitsFor': dbus.Array([], signature='s'), 'Stopping': 'none', 'StopAt': dbus.UInt64(0), 'Eviction': 'none',
            'EvictAt': dbus.UInt64(0), 'EvictCause': '', 'EvictReason': '', 'SleepAt': dbus.UInt64(0), 'Resume': 'none', 'ResumeFailures': dbus.Array([], signature='s'), 'Deadline': dbus.UInt64(0), 'Warnings': dbus.Array([], signature='s'),
            'Failure': '', 'Holders': [], 'OpenFiles': []})
        for name in names:
            self.set(device_path(name), State='claimed', Claim=claim.path)
        if backend == 'iommufd':
            fd_names = ['iommufd'] + ['device:' + n for n in names]
        else:
            fd_names = ['container'] + [f'group:{g}' for g in groups]
        # Not in the documented order: the library has to sort.
        fds = [('lifeline', dbus.types.UnixFd(theirs))] + [(n, self._open(n)) for n in reversed(fd_names[1:])] + \
            [(fd_names[0], self._open(fd_names[0]))]
        os.close(theirs)
        result = {'backend': backend, 'rule': 'one (/etc/vfiod/policy.d/1.json:2)',
                  'devices': dbus.Array(names, signature='s'), 'hint': dbus.Struct((1, 'a later version'))}
        return dbus.ObjectPath(claim.path), dbus.Dictionary(result, signature='sv'), fds

    def _close_lifeline(self, claim):
        if claim.lifeline >= 0:
            os.close(claim.lifeline)
            claim.lifeline = -1

    def end_claim(self, claim):
        """Drains while there are holders. Returns False: the watch of the lifeline is done."""
        if claim.path not in self.objects:
            return False
        if self.holders:
            self.set(claim.path, State='draining', OpenFiles=self.holders)
            return False
        for name in claim.devices:
            self.set(device_path(name), State='free', Claim='/')
        self.remove(claim.path)
        return False

    # --- the interfaces -------------------------------------------------------------------------------------------

    def _called(self, method, *arguments):
        self.calls.append((method, *arguments))
        if method in self.refusals:
            name, message = self.refusals[method]
            raise dbus.DBusException(message, name=name if '.' in name else ERROR + name)

    def _interfaces(self, path):
        interface, properties = self.objects[path]
        return dbus.Dictionary({interface: typed(interface, properties),
                                'org.freedesktop.DBus.Peer': dbus.Dictionary({}, signature='sv')},
                               signature='sa{sv}')

    @dbus.service.method(OBJECT_MANAGER, in_signature='', out_signature='a{oa{sa{sv}}}')
    def GetManagedObjects(self):
        self._called('GetManagedObjects')
        return dbus.Dictionary({dbus.ObjectPath(p): self._interfaces(p) for p in self.objects if p != ROOT_PATH},
                               signature='oa{sa{sv}}')

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}', path_keyword='path')
    def GetAll(self, interface, path):
        self._called('GetAll', path)
        if path not in self.objects:
            raise dbus.DBusException('Unknown object', name='org.freedesktop.DBus.Error.UnknownObject')
        return typed(*self.objects[path])

    @dbus.service.method(PROPERTIES, in_signature='ss', out_signature='v', path_keyword='path')
    def Get(self, interface, name, path):
        self._called('Get', path, str(name))
        if path not in self.objects:
            raise dbus.DBusException('Unknown object', name='org.freedesktop.DBus.Error.UnknownObject')
        return CONVERT[CONTRACT[interface][name]](self.objects[path][1][name])

    @dbus.service.method(NAME + '.Manager', in_signature='asa{sv}', out_signature='oa{sv}a(sh)', message_keyword='message')
    def Acquire(self, devices, options, message):
        self.interactive.append(bool(message.get_allow_interactive_authorization()))
        self._called('Acquire', [str(d) for d in devices], {str(k): str(v) for k, v in options.items()})
        for option in self.unknown_options & set(options):
            raise dbus.DBusException(f'There is no option "{option}".', name=ERROR + 'UnknownOption')
        return self._make_claim([str(d) for d in devices], options)

    @dbus.service.method(NAME + '.Manager', in_signature='asa{sv}', out_signature='s')
    def Plan(self, devices, options):
        self._called('Plan', [str(d) for d in devices], {str(k): str(v) for k, v in options.items()})
        answer = self.planner(options)
        if answer is not True:
            raise dbus.DBusException('no.', name=ERROR + answer)
        return self.plan

    @dbus.service.method(NAME + '.Manager', in_signature='sa{sv}', out_signature='')
    def Release(self, claim, options):
        self._called('Release', str(claim))
        if claim not in self.claims:
            raise dbus.DBusException(f'{claim}: There is no such claim.', name=ERROR + 'NoSuchClaim')
        GLib.idle_add(self.end_claim, self.claims[claim])

    @dbus.service.method(NAME + '.Manager', in_signature='as', out_signature='a{oa{sv}}')
    def ListDevices(self, wanted):
        self._called('ListDevices', [str(w) for w in wanted])
        return dbus.Dictionary({dbus.ObjectPath(path): typed(interface, {w: properties[w] for w in wanted})
                                for path, (interface, properties) in self.objects.items() if interface == NAME + '.Device'},
                               signature='oa{sv}')

    @dbus.service.method(NAME + '.Manager', in_signature='s', out_signature='o')
    def GetDevice(self, name):
        self._called('GetDevice', str(name))
        return dbus.ObjectPath(device_path(self._full_name(str(name))))

    @dbus.service.method(NAME + '.Manager', in_signature='u', out_signature='o')
    def GetGroup(self, number):
        self._called('GetGroup', int(number))
        if group_path(int(number)) not in self.objects:
            raise dbus.DBusException(f'{number}: There is no such group.', name=ERROR + 'NoSuchGroup')
        return dbus.ObjectPath(group_path(int(number)))

    @dbus.service.method(NAME + '.Manager', in_signature='s', out_signature='o')
    def GetClaim(self, name):
        self._called('GetClaim', str(name))
        for path, (interface, properties) in self.objects.items():
            if interface == NAME + '.Claim' and name in (properties['Id'], 'cookie:' + properties['Cookie']):
                return dbus.ObjectPath(path)
        raise dbus.DBusException(f'there is no claim {name}', name=ERROR + 'NoSuchClaim')

    @dbus.service.method(NAME + '.Manager', in_signature='a{sv}', out_signature='')
    def ReloadPolicy(self, options):
        self._called('ReloadPolicy')
