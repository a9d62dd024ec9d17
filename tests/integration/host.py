# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host out of files: PCI devices, IOMMU groups, drivers, VFIO nodes, vDPA devices.

    host = Host()
    host.add_group(8)
    nic = host.add_device('0000:06:0d.0', group=8, driver='e1000e', reset='flr bus')
    host.remove_device(nic)

What a write to it does is in fake_kernel.py; this file only builds what is there at boot, and plays the parts of
hardware (plug, unplug) and of other programs (holding a group open).
"""

import errno
import os
import shutil
import struct
import tempfile
import threading

import fake_kernel
from fake_kernel import Device, FakeKernel

VFIO = 'vfio-pci'
ACS_ISOLATES = 0x1D  # SV | RR | CR | UF


# The type in the PCI Express capability.
ENDPOINT, ROOT_PORT, DOWNSTREAM_PORT, PCI_BRIDGE = 0, 4, 6, 7


def config_space(vendor, device, port_type=ENDPOINT, bridge=False, acs=None, size=4096, serial=None, class_code=0,
                 subsystem=(0, 0)):
    """acs: the enabled bits of an ACS capability, None for a device that has none. port_type: None for conventional
    PCI. size 256: what a reader without CAP_SYS_ADMIN gets. serial: as lspci writes it, of a device without ACS."""
    config = bytearray(size)
    struct.pack_into('<HH', config, 0x00, vendor, device)
    config[0x09:0x0C] = class_code.to_bytes(3, 'little')
    config[0x0E] = 1 if bridge else 0
    if not bridge:
        struct.pack_into('<HH', config, 0x2C, *subsystem)
    if port_type is not None:
        struct.pack_into('<H', config, 0x06, 0x10)  # status: there are capabilities
        config[0x34] = 0x40
        struct.pack_into('<BBH', config, 0x40, 0x10, 0, port_type << 4 | 2)
    if size > 256 and acs is not None:
        struct.pack_into('<I', config, 0x100, 0x1 << 16 | 0x000D)  # id, version 1, end of the list
        struct.pack_into('<HH', config, 0x104, 0x007F, acs)
    elif size > 256 and serial is not None:
        struct.pack_into('<I', config, 0x100, 0x1 << 16 | 0x0003)
        config[0x104:0x10C] = bytes.fromhex(serial.replace('-', ''))[::-1]
    return bytes(config)


class Host:
    def __init__(self, iommufd=True, cdev=True, container=True, group=True, noiommu=None):
        """noiommu: None when the kernel does not have it, else the value of its parameter."""
        self.root = os.path.realpath(tempfile.mkdtemp(prefix='vfiod-test.'))
        os.chmod(self.root, 0o755)
        self.kernel = FakeKernel(self.root, cdev=cdev, group=group)
        k = self.kernel
        for directory in ('/sys/bus/pci/devices', '/sys/bus/pci/drivers', '/sys/class', '/sys/kernel/iommu_groups',
                          '/sys/devices/virtual/misc', '/sys/dev/char', '/dev/vfio/devices' if cdev else '/dev/vfio',
                          '/sys/class/vfio', '/sys/class/vfio-dev', '/sys/module/vfio_pci'):
            os.makedirs(self.root + directory, exist_ok=True)
        k.put('/sys/bus/pci/drivers_probe', '', 0o200)
        k.put('/sys/bus/pci/uevent', '', 0o200)
        k.put('/sys/bus/pci/drivers_autoprobe', '1\n')
        k.put('/sys/devices/pci0000:00/uevent', '')
        for name in (VFIO, 'pcieport'):
            k.add_driver(name)
        # The tables of the real host have nothing to do with this one.
        k.put('/proc/devices', 'Character devices:\n 10 misc\n241 vfio\n' + ('242 vfio-dev\n' if cdev else ''))
        k.put('/proc/self/mountinfo', '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n')
        k.put('/proc/cmdline', 'root=/dev/root ro intel_iommu=on\n')
        k.put('/proc/sys/kernel/tainted', '0\n')
        k.put('/proc/swaps', 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n')
        k.put('/proc/net/route', 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\t'
              'IRTT\n')
        k.put('/proc/net/ipv6_route', '')
        k.put('/proc/cmdline', 'root=/dev/root\n')
        k.put('/proc/sys/kernel/tainted', '0\n')
        if container:
            self._add_misc('vfio', fake_kernel.MINOR_VFIO, 'vfio/vfio', 0o666)
        if iommufd:
            self._add_misc('iommu', fake_kernel.MINOR_IOMMU, 'iommu', 0o660)
        if noiommu is not None:
            k.put('/sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'Y\n' if noiommu else 'N\n')

    def close(self):
        self.kernel.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def _add_misc(self, name, minor, node, mode):
        k, path = self.kernel, f'/sys/devices/virtual/misc/{name}'
        k.put(path + '/dev', f'{fake_kernel.MAJOR_MISC}:{minor}\n')
        k.put(path + '/uevent', f'MAJOR={fake_kernel.MAJOR_MISC}\nMINOR={minor}\nDEVNAME={node}\n')
        k.link(path + '/subsystem', '/sys/class/misc')
        k.link(f'/sys/class/misc/{name}', path)
        k.link(f'/sys/dev/char/{fake_kernel.MAJOR_MISC}:{minor}', path)
        k.nodes.add('/dev/' + node, fake_kernel.MAJOR_MISC, minor, mode)

    # --- hardware -------------------------------------------------------------------------------------------------

    def add_group(self, number, type='DMA-FQ', reserved='0x00000000fee00000 0x00000000feefffff msi\n', name=None):
        directory = f'/sys/kernel/iommu_groups/{number}'
        os.makedirs(self.root + directory + '/devices', exist_ok=True)
        self.kernel.put(directory + '/type', type + '\n')
        self.kernel.put(directory + '/reserved_regions', reserved)
        if name:
            self.kernel.put(directory + '/name', name + '\n')

    def add_device(self, address, group=None, driver=None, host_driver=None, reset='flr bus', vendor=0x8086,
                   device=0x10D3, subsystem_vendor=0x8086, subsystem_device=0xA01F, class_code=0x020000, revision=0,
                   parent=None, numa_node=-1, removable=None, acs=None, port_type=ENDPOINT, config_size=4096,
                   override=None, path=None, physfn=None, iommu=None, serial=None):
        """driver: bound to it now. host_driver: the one that would take it (default: driver, unless that is a
        vfio driver). physfn: it is a virtual function of that device."""
        k = self.kernel
        bridge = class_code >> 8 == 0x0604
        if group is not None and not k.exists(f'/sys/kernel/iommu_groups/{group}'):
            self.add_group(group)
        domain = address.rsplit(':', 2)[0]
        path = path or (parent.path if parent else f'/sys/devices/pci{domain}:00') + '/' + address
        d = Device(address, path, group)
        d.is_bridge, d.reset_methods = bridge, reset
        d.host_driver = host_driver or (driver if driver not in fake_kernel.VFIO_DRIVERS else None)
        d.ids = {'vendor': vendor, 'device': device, 'subsystem_vendor': subsystem_vendor,
                 'subsystem_device': subsystem_device, 'class': class_code}
        with k.changed:
            for name, value, digits in (('vendor', vendor, 4), ('device', device, 4), ('class', class_code, 6),
                                        ('subsystem_vendor', subsystem_vendor, 4),
                                        ('subsystem_device', subsystem_device, 4), ('revision', revision, 2)):
                k.put(f'{path}/{name}', f'0x{value:0{digits}x}\n', 0o444)
            k.put(path + '/config', config_space(vendor, device, port_type, bridge, acs, config_size, serial, class_code,
                                                 (subsystem_vendor, subsystem_device)))
            k.put(path + '/numa_node', f'{numa_node}\n')
            d.override = override
            k.put(path + '/driver_override', (override or '(null)') + '\n')
            k.put(path + '/enable', '0\n')
            k.put(path + '/modalias', f'pci:v{vendor:08X}d{device:08X}sv{subsystem_vendor:08X}'
                  f'sd{subsystem_device:08X}bc{class_code >> 16:02X}sc{class_code >> 8 & 255:02X}'
                  f'i{class_code & 255:02X}\n', 0o444)
            self.set_reset(d, reset)
            if removable:
                k.put(path + '/removable', removable + '\n')
            k.link(path + '/subsystem', '/sys/bus/pci')
            if group is not None:
                k.link(path + '/iommu_group', f'/sys/kernel/iommu_groups/{group}')
                k.link(f'/sys/kernel/iommu_groups/{group}/devices/{address}', path)
            if iommu:
                os.makedirs(f'{k.root}/sys/devices/virtual/iommu/{iommu}', exist_ok=True)
                k.link(path + '/iommu', f'/sys/devices/virtual/iommu/{iommu}')
            if physfn:
                number = sum(name.startswith('virtfn') for name in os.listdir(k.root + physfn.path))
                k.link(path + '/physfn', physfn.path)
                d.physfn = physfn
                k.link(f'{physfn.path}/virtfn{number}', path)
            k.devices[address] = d
            k.link(f'/sys/bus/pci/devices/{address}', path)
            k.announce('add', d)
            for name in (driver, d.host_driver):
                if name:
                    k.add_driver(name)
            if driver:
                k.probe(d, driver)
        return d

    def add_sriov(self, device, total=4, driver='ixgbevf', group=None, vendor=0x8086, product=0x10CA):
        """It can have so many virtual functions, 06:10.0 and so on for 06:00.0, each in a group of its own from that
        number on. driver: the one that takes them, unless sriov_drivers_autoprobe is off."""
        k = self.kernel
        prefix = device.address.rsplit(':', 1)[0]
        k.put(device.path + '/sriov_totalvfs', f'{total}\n', 0o444)
        k.put(device.path + '/sriov_numvfs', '0\n')
        k.put(device.path + '/sriov_drivers_autoprobe', '1\n')

        def make(number):
            probes = k.get(device.path + '/sriov_drivers_autoprobe').strip() == '1'
            return self.add_device(f'{prefix}:{0x10 + number // 8:02x}.{number % 8}', vendor=vendor, device=product,
                                   group=None if group is None else group + number, physfn=device,
                                   driver=driver if probes else None, host_driver=driver, reset='flr')
        device.make_function = make
        return device

    def add_vdpa(self, name, driver=None, parent=None):
        """driver: bound to it now, vhost_vdpa or virtio_vdpa. parent: the device whose driver made it, if it is no
        simulator."""
        k = self.kernel
        d = Device(name, f'{parent.path if parent else "/sys/devices"}/{name}', None, bus='vdpa')
        with k.changed:
            k.put(d.path + '/driver_override', '(null)\n')
            return self._add_on_bus(d, driver)

    def _add_on_bus(self, d, driver):
        k = self.kernel
        k.link(d.path + '/subsystem', f'/sys/bus/{d.bus}')
        k.devices[d.address] = d
        k.link(f'/sys/bus/{d.bus}/devices/{d.address}', d.path)
        k.announce('add', d)
        if driver:
            k.probe(d, driver)
        return d

    def add_mdev_parent(self, device=None, ports=4, **types):
        """The driver of the device makes mediated devices, mtty-1 with one of its ports and mtty-2 with two of them.
        Without a device it is mtty itself, which is on no bus."""
        path = device.path if device else '/sys/devices/virtual/mtty/mtty'
        parent = fake_kernel.MdevParent(path, ports, types or {'mtty-1': 1, 'mtty-2': 2})
        k = self.kernel

        def make(uuid, type):
            self.add_mdev(uuid, device, type, driver='mtty')
        parent.make = make
        with k.changed:
            k.mdev_parents.append(parent)
            for type, number in parent.types.items():
                directory = f'{path}/mdev_supported_types/{type}'
                k.put(directory + '/create', '', 0o200)
                k.put(directory + '/device_api', 'vfio-pci\n', 0o444)
                k.put(directory + '/name', f'Dual port serial {number}\n', 0o444)
            k.count_mdevs(parent)
            k.link(f'/sys/class/mdev_bus/{os.path.basename(path)}', path)
        return parent

    def remove_mdev_parent(self, parent):
        """Its driver is unloaded. Does not wait, as with remove_device()."""
        def remove():
            k = self.kernel
            with k.changed:
                k.unlink(f'/sys/class/mdev_bus/{os.path.basename(parent.path)}')
            for d in k.mdevs_of(parent):
                self._remove(d)
            with k.changed:
                k.mdev_parents.remove(parent)
                k.remove_tree(parent.path + '/mdev_supported_types')
                k.notify()
        thread = threading.Thread(target=remove, daemon=True)
        thread.start()
        return thread

    def add_mdev(self, uuid, parent=None, type='mtty-2', driver='mtty'):
        """As somebody has created it. Its type is there only when it is bound."""
        d = Device(uuid, f'{parent.path if parent else "/sys/devices/virtual/mtty/mtty"}/{uuid}', None, bus='mdev')
        with self.kernel.changed:
            self.kernel.put(d.path + '/remove', '', 0o200)
            self._add_on_bus(d, driver)
            self.kernel.run_faults('mdev_type', uuid, type)  # until then its creation is not over
            self.kernel.link(d.path + '/mdev_type', f'{os.path.dirname(d.path)}/mdev_supported_types/{type}')
            d.mdev_type = type
            d.mdev_parent = next((p for p in self.kernel.mdev_parents if p.path == os.path.dirname(d.path)), None)
            if d.mdev_parent:
                self.kernel.count_mdevs(d.mdev_parent)
        return d

    def add_other(self, bus, name, group=None, driver=None, firmware=True, parent=None):
        """On the bus platform, ap, ccw, fsl-mc or cdx. firmware: it is described there."""
        d = Device(name, f'{parent.path if parent else "/sys/devices/" + bus}/{name}', group, bus=bus)
        d.host_driver = None if driver == fake_kernel.VFIO_PLATFORM else driver
        with self.kernel.changed:
            self.kernel.put(d.path + '/driver_override', '(null)\n')
            if firmware:
                self.kernel.put(f'/sys/devices/LNXSYSTM:00/{name}/path', f'\\_SB.{name}\n')
                self.kernel.link(d.path + '/firmware_node', f'/sys/devices/LNXSYSTM:00/{name}')
            if group is not None:
                if not self.kernel.exists(f'/sys/kernel/iommu_groups/{group}'):
                    self.add_group(group)
                self.kernel.link(d.path + '/iommu_group', f'/sys/kernel/iommu_groups/{group}')
                self.kernel.link(f'/sys/kernel/iommu_groups/{group}/devices/{name}', d.path)
            return self._add_on_bus(d, driver)

    def load_platform_driver(self):
        self.kernel.add_driver(fake_kernel.VFIO_PLATFORM, bus='platform')

    def load_vdpa_driver(self, name=fake_kernel.VHOST_VDPA):
        self.kernel.add_driver(name, bus='vdpa')

    def set_reset(self, device, methods):
        device.reset_methods = methods
        if methods:
            self.kernel.put(device.path + '/reset', '', 0o200)
            self.kernel.put(device.path + '/reset_method', methods + '\n')
        else:
            self.kernel.unlink(device.path + '/reset')
            self.kernel.unlink(device.path + '/reset_method')

    def add_link(self, supplier, consumer, status='not tracked'):
        """A device link. The kernel makes those of the audio function of a graphics card with this status."""
        k, path = self.kernel, f'/sys/devices/virtual/devlink/{supplier.name}--{consumer.name}'
        k.put(path + '/status', status + '\n', 0o444)
        k.link(path + '/supplier', supplier.path)
        k.link(path + '/consumer', consumer.path)
        k.link(f'{supplier.path}/consumer:{consumer.name}', path)
        k.link(f'{consumer.path}/supplier:{supplier.name}', path)

    def remove_device(self, device):
        """Unplugs. Does not wait: while somebody has the device open, the kernel only gets as far as the removal of
        its VFIO node."""
        thread = threading.Thread(target=self._remove, args=(device,), daemon=True)
        thread.start()
        return thread

    def _remove(self, device):
        try:
            self.kernel.remove(device)
        except fake_kernel.Refuse:
            pass  # the test is over

    # --- disks and interfaces -------------------------------------------------------------------------------------

    def _add_class_link(self, path, subsystem):
        self.kernel.link(path + '/subsystem', f'/sys/class/{subsystem}')
        self.kernel.link(f'/sys/class/{subsystem}/{os.path.basename(path)}', path)

    def add_disk(self, path, number, partition=False, holders=()):
        """A disk or partition with its node; path is that in /sys. Returns path."""
        k, name = self.kernel, os.path.basename(path)
        major, minor = number.split(':')
        k.put(path + '/dev', number + '\n')
        k.put(path + '/uevent', f'MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n'
              f'DEVTYPE={"partition" if partition else "disk"}\n')
        if partition:
            k.put(path + '/partition', '1\n')
        os.makedirs(f'{k.root}{path}/holders', exist_ok=True)
        for holder in holders:
            k.link(f'{path}/holders/{os.path.basename(holder)}', holder)
        self._add_class_link(path, 'block')
        k.link(f'/sys/dev/block/{number}', path)
        k.nodes.add('/dev/' + name, int(major), int(minor), 0o1660)
        return path

    def add_virtual_disk(self, name, number, **more):
        return self.add_disk(f'/sys/devices/virtual/block/{name}', number, **more)

    def set_mounts(self, *lines):
        self.kernel.put('/proc/self/mountinfo', '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n'
                        + ''.join(line + '\n' for line in lines))

    def add_interface(self, path, uppers=()):
        self.kernel.put(path + '/ifindex', '7\n')
        self._add_class_link(path, 'net')
        for upper in uppers:
            self.kernel.link(f'{path}/upper_{os.path.basename(upper)}', upper)
        return path

    def add_interface_of(self, device, name, number):
        """Of a physical function: what it keeps for its virtual functions is read and set through it."""
        self.add_interface(f'{device.path}/net/{name}')
        self.kernel.put(f'{device.path}/net/{name}/ifindex', f'{number}\n')
        self.kernel.netlink.interfaces[number] = (name, device)

    def add_virtual_interface(self, name, **more):
        return self.add_interface(f'/sys/devices/virtual/net/{name}', **more)

    def set_default_route(self, interface):
        self.kernel.put('/proc/net/route', 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\t'
                        f'Window\tIRTT\n{interface}\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n')

    # --- other programs -------------------------------------------------------------------------------------------

    def hold_node(self, path):
        """Another program opens a node; close the fd to end that."""
        return self.kernel.nodes.open(path)

    def change_driver(self, device, driver):
        """An admin moves a device behind the daemon's back."""
        with device.lock:
            if device.driver:
                self.kernel.unbind(device)
            if driver:
                self.kernel.probe(device, driver)

    def fail_binding(self, device, error=errno.EBUSY, driver=VFIO):
        """Whatever way is used to bind it to this driver, it fails: `bind` with an errno, drivers_probe silently."""
        self.kernel.fail('bind', device.address, error, driver=driver)
        self.kernel.ignore('drivers_probe', device.address, driver=driver)

    def hold_binding(self, device):
        """A probe() that does not come back. Two gates, of which one will be entered."""
        return Gates(self.kernel.hold('bind', device.address, driver=VFIO),
                     self.kernel.hold('drivers_probe', device.address, driver=VFIO))

    # --- what a test looks at -------------------------------------------------------------------------------------

    def attribute(self, device, name):
        return self.kernel.get(f'{device.path}/{name}')

    def binding(self):
        """All that a claim may change and has to put back, to be compared before and after."""
        result = {}
        with self.kernel.changed:
            for device in self.kernel.devices.values():
                link = self.root + device.path + '/driver'
                driver = os.path.basename(os.readlink(link)) if os.path.lexists(link) else None
                override = self.attribute(device, 'driver_override') if device.bus != 'mdev' else None
                result[device.address] = (driver, override)
        return result

    def nodes(self):
        result = []
        for directory, _, files in os.walk(self.root + '/dev'):
            result += [os.path.join(directory, f)[len(self.root):] for f in files if '/.node' not in directory]
        return sorted(result)

    def cdev(self, device):
        return device.node


class Gates:
    def __init__(self, *gates):
        self._gates = gates

    @property
    def entered(self):
        return sum(g.entered for g in self._gates)

    def let_go(self, error=0, effect=True):
        for gate in self._gates:
            gate.let_go(error, effect)
