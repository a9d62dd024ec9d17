#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What clients see of devices and groups, and how they hear of changes."""

import os

import dbus

import harness
from harness import ROOT_PATH, VfiodTestCase, device_path, wait
from host import ACS_ISOLATES, ROOT_PORT, VFIO


class ObjectsTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.port = self.host.add_device('0000:00:1c.0', group=3, driver='pcieport', class_code=0x060400, reset='',
                                         device=0xA110, acs=ACS_ISOLATES, port_type=ROOT_PORT)
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e', parent=self.port, numa_node=1,
                                        removable='removable', revision=3, iommu='dmar0')
        self.edu = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, vendor=0x1234, device=0x11E8,
                                        class_code=0x00FF00, reset='')
        self.lone = self.host.add_device('10000:01:00.0', driver='nvme', class_code=0x010802)
        self.start()
        self.c = self.client()

    def test_all_objects_are_managed(self):
        objects = self.c.objects()
        devices = [d for d in (self.port, self.nic, self.edu, self.lone)]
        self.assertEqual(set(objects) - {ROOT_PATH},
                         {device_path(d.name) for d in devices} | {f'{ROOT_PATH}/group/{n}' for n in (3, 8, 9)})
        self.assertIn('org.vfiod1.Device', objects[device_path(self.nic.name)])
        self.assertIn('org.vfiod1.Group', objects[f'{ROOT_PATH}/group/8'])

    def test_properties_of_a_device_on_its_host_driver(self):
        p = self.c.device(self.nic)
        expected = {'Name': 'pci:0000:06:00.0', 'Vendor': 0x8086, 'Product': 0x10D3, 'SubsystemVendor': 0x8086,
                    'SubsystemProduct': 0xA01F, 'Class': 0x020000, 'Revision': 3, 'Driver': 'e1000e',
                    'DriverOverride': '', 'Group': f'{ROOT_PATH}/group/8', 'VfioNode': '', 'State': 'free',
                    'Claim': '/', 'NumaNode': 1, 'Removable': 'removable', 'SlotPath': '0000:00:1c.0/00.0', 'Parent': '/',
                    'IommuUnit': 'dmar0'}
        self.assertEqual({k: p[k] for k in expected}, expected)
        self.assertEqual(sorted(p['ResetMethods']), ['bus', 'flr'])
        self.assertNotIn('AcsPath', p)  # costly: only Get reads them
        self.assertNotIn('HostCritical', p)
        self.assertEqual(self.c.get(device_path(self.nic.name), 'Device', 'HostCritical'), '')
        self.assertEqual(tuple(self.c.get(device_path(self.nic.name), 'Device', 'AcsPath')), ('complete', ''))

    def test_properties_of_others(self):
        edu = self.c.device(self.edu)
        self.assertEqual((edu['Driver'], edu['VfioNode'], list(edu['ResetMethods']), edu['Removable']),
                         (VFIO, '/dev/vfio/devices/vfio0', [], 'unknown'))
        port = self.c.device(self.port)
        self.assertEqual((port['SlotPath'], port['IommuUnit']), ('0000:00:1c.0', ''))
        lone = self.c.device(self.lone)
        self.assertEqual((lone['Name'], lone['Group'], lone['NumaNode']), ('pci:10000:01:00.0', '/', -1))

    def test_properties_of_groups(self):
        free = self.c.properties(f'{ROOT_PATH}/group/9', 'Group')
        expected = {'Id': 9, 'Devices': [device_path(self.edu.name)], 'State': 'free', 'Claim': '/', 'Type': 'DMA-FQ',
                    'ReservedRegions': [(0xFEE00000, 0xFEEFFFFF, 'msi')], 'VfioNode': '/dev/vfio/9', 'Viable': True}
        self.assertEqual({k: free[k] for k in expected}, expected)
        self.assertRegex(free['Fingerprint'], r'^[0-9a-f]{16}$')
        used = self.c.properties(f'{ROOT_PATH}/group/8', 'Group')
        self.assertEqual((used['VfioNode'], used['Viable']), ('', False))
        self.assertNotEqual(free['Fingerprint'], used['Fingerprint'])

    def test_manager_counts_and_kernel(self):
        p = self.c.properties(ROOT_PATH, 'Manager')
        self.assertEqual((p['Devices'], p['Groups'], p['Claims'], p['PolicyState'], p['PolicyRules']),
                         (4, 3, 0, 'loaded', 1))
        self.assertEqual(dict(p['Kernel']), {'iommu': True, 'iommufd': True, 'deviceCdev': True, 'container': True,
                                             'compat': False, 'noiommuSupport': False, 'noiommuEnabled': False,
                                             'vhostVdpa': False})

    def test_every_spelling_leads_to_the_device(self):
        for spelling in ('pci:0000:06:00.0', '0000:06:00.0', '06:00.0', 'pci:06:00.0', '0000:06:00.0'.upper(),
                         'pci_0000_06_00_0', '/sys' + self.nic.path[len('/sys'):]):
            self.assertEqual(self.c.manager('GetDevice', 's', spelling), device_path(self.nic.name), spelling)
        self.assertEqual(self.c.manager('GetDevice', 's', '10000:01:00.0'), device_path(self.lone.name))

    def test_busctl_and_gdbus_read_it(self):
        status, tree = self.busctl('tree', 'org.vfiod1')
        self.assertEqual(status, 0, tree)
        self.assertIn(device_path(self.nic.name), tree)
        status, text = self.busctl('introspect', 'org.vfiod1', device_path(self.nic.name))
        self.assertEqual(status, 0, text)
        self.assertIn('"e1000e"', text)
        gdbus = self.tool('gdbus', 'call', '--address', self.bus.address, '--dest', 'org.vfiod1', '--object-path',
                          ROOT_PATH, '--method', 'org.freedesktop.DBus.ObjectManager.GetManagedObjects')
        output, _ = gdbus.communicate(timeout=harness.CALL_TIMEOUT)
        self.assertEqual(gdbus.returncode, 0, output)
        self.assertIn("'pci:0000:07:00.0'", output)

    def test_unknown_objects(self):
        for path in ('/device/pci_3a0000_3a09_3a00_2e0', '/device/nonsense', '/group/99', '/group/x', '/claim/0'):
            with self.assertRaises(dbus.DBusException) as caught:
                self.c.properties(ROOT_PATH + path, 'Device')
            self.assertEqual(caught.exception.get_dbus_name(), 'org.freedesktop.DBus.Error.UnknownObject', path)


class HotplugTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()
        self.c = self.client()

    def test_plug_and_unplug(self):
        new = self.host.add_device('0000:07:00.0', group=9, driver='nvme', class_code=0x010802)
        wait(lambda: self.c.seen('InterfacesAdded', device_path(new.name)), 'the device is announced')
        wait(lambda: self.c.seen('InterfacesAdded', f'{ROOT_PATH}/group/9'), 'its group is announced')
        wait(lambda: self.c.device(new)['Driver'] == 'nvme', 'its driver is seen')
        self.host.remove_device(new)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(new.name)), 'the removal is announced')
        wait(lambda: self.c.seen('InterfacesRemoved', f'{ROOT_PATH}/group/9'), 'its group goes')
        with self.refused('NoSuchDevice', new.name):
            self.c.manager('GetDevice', 's', new.name)
        with self.refused('NoSuchGroup', '9'):
            self.c.manager('GetGroup', 'u', 9)

    def test_a_second_member_changes_its_group(self):
        path = f'{ROOT_PATH}/group/8'
        before = self.c.properties(path, 'Group')
        new = self.host.add_device('0000:06:00.1', group=8)
        wait(lambda: self.c.seen('PropertiesChanged', path), 'the group changes')
        wait(lambda: device_path(new.name) in self.c.properties(path, 'Group')['Devices'], 'it is a member')
        self.assertNotEqual(self.c.properties(path, 'Group')['Fingerprint'], before['Fingerprint'])
        self.assertFalse(self.c.seen('InterfacesAdded', path))

    def test_a_driver_that_an_admin_changes(self):
        path = device_path(self.nic.name)
        self.host.change_driver(self.nic, VFIO)
        wait(lambda: self.c.seen('PropertiesChanged', path, Driver=VFIO), 'the driver')
        wait(lambda: self.c.seen('PropertiesChanged', path, VfioNode='/dev/vfio/devices/vfio0'), 'the node')
        wait(lambda: self.c.seen('PropertiesChanged', f'{ROOT_PATH}/group/8', Viable=True), 'the group')
        self.host.change_driver(self.nic, None)
        wait(lambda: self.c.seen('PropertiesChanged', path, VfioNode=''), 'the node goes')
        wait(lambda: self.c.seen('PropertiesChanged', path, Driver=''), 'the driver goes')

    def test_signals_of_busctl(self):
        if os.getuid() != 0:
            self.skipTest('monitoring is for root')
        monitor = self.tool('busctl', f'--address={self.bus.address}', 'monitor', '--json=short', 'org.vfiod1')
        self.assertIn('Monitoring', monitor.stdout.readline())
        new = self.host.add_device('0000:07:00.0', group=9)
        for line in monitor.stdout:
            if 'InterfacesAdded' in line and device_path(new.name) in line:
                return
        self.fail('busctl saw nothing')

    def test_a_lying_event_does_no_harm(self):
        # The event only says where to look: an unbind that did not happen changes nothing.
        self.kernel.uevents.send('unbind', self.nic.path[len('/sys'):], 'pci', PCI_SLOT_NAME=self.nic.address)
        self.kernel.uevents.send('add', '/devices/pci0000:00/0000:99:00.0', 'pci', PCI_SLOT_NAME='0000:99:00.0')
        marker = self.host.add_device('0000:07:00.0', group=9)
        wait(lambda: self.c.seen('InterfacesAdded', device_path(marker.name)), 'the marker')
        self.assertEqual(self.c.device(self.nic)['Driver'], 'e1000e')
        self.assertEqual(self.c.properties(ROOT_PATH, 'Manager')['Devices'], 2)


class EmptyHostTest(VfiodTestCase):
    host_options = {'iommufd': False, 'cdev': False, 'container': False}

    def test_a_host_without_anything(self):
        self.start()
        c = self.client()
        self.assertEqual(set(c.objects()) - {ROOT_PATH}, set())
        self.assertEqual(dict(c.get(ROOT_PATH, 'Manager', 'Kernel')),
                         dict.fromkeys(('iommu', 'iommufd', 'deviceCdev', 'container', 'compat', 'noiommuSupport',
                                        'noiommuEnabled', 'vhostVdpa'), False))


if __name__ == '__main__':
    harness.main()
