# SPDX-License-Identifier: LGPL-2.1-or-later
"""A big sysfs and its /dev in seconds: so many functions in each IOMMU group, every second group on vfio-pci, the
others on a host driver or on none.

Attributes of the same value are hard links to one file: 16384 devices would otherwise fill a gigabyte of tmpfs with
pages that hold five bytes each. VFIO nodes are character devices that behave as /dev/null does.
"""

import os
import stat
from pathlib import Path

SLOTS = 32  # of a bus

# Attributes of every device; what differs from device to device is in device().
COMMON = {
    "vendor": "0x8086\n",
    "device": "0x10d3\n",
    "subsystem_vendor": "0x8086\n",
    "subsystem_device": "0xa01f\n",
    "class": "0x020000\n",
    "revision": "0x01\n",
    "enable": "0\n",
    "irq": "0\n",
    "numa_node": "0\n",
    "reset_method": "flr bus\n",
    "driver_override": "(null)\n",
    "modalias": "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00\n",
}
NODE = 1, 3  # the number of /dev/null, which every node has
DRIVERS = ("vfio-pci", "e1000e", "vfio-pci", None)  # by group
OTHER_DRIVER = "igb"  # nobody has it until a test binds it


class Tree:
    """Fills root/sys and root/dev. `devices` are kernel names in order, group by group."""

    def __init__(self, root, groups, functions):
        self.sys = Path(root, "sys")
        self.dev = Path(root, "dev")
        self.groups = groups
        self.functions = functions
        self.devices = []
        self.bound, self.vfio_indices = [], []  # devices that are on their vfio driver, and their nodes
        self.masters = {}
        for directory in ("bus/pci/devices", "bus/pci/drivers", "class/vfio-dev", "kernel/iommu_groups", "dev/char",
                          "devices/pci0000:00", "module", "dev/block"):
            (self.sys / directory).mkdir(parents=True, exist_ok=True)
        (self.dev / "vfio/devices").mkdir(parents=True)
        for driver in {driver for driver in DRIVERS if driver} | {OTHER_DRIVER}:
            (self.sys / "bus/pci/drivers" / driver).mkdir(exist_ok=True)
        for name, number in {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}.items():
            self.node(name, 1, number)
        self.node("iommu")
        self.node("vfio/vfio")
        for group in range(groups):
            self.group(group)

    def node(self, name, major=NODE[0], minor=NODE[1]):
        os.mknod(self.dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))

    def attribute(self, path, value):
        master = self.masters.get(value)
        if master is None:
            with open(path, "w") as file:
                file.write(value)
            self.masters[value] = path
        else:
            os.link(master, path)

    def group(self, number):
        directory = f"{self.sys}/kernel/iommu_groups/{number}"
        os.makedirs(f"{directory}/devices")
        self.attribute(f"{directory}/type", "DMA\n")
        self.attribute(f"{directory}/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n")
        driver = DRIVERS[number % len(DRIVERS)]
        bus, slot = divmod(number, SLOTS)
        if driver == "vfio-pci":
            self.node(f"vfio/{number}")
        for function in range(self.functions):
            name = f"0000:{bus:02x}:{slot:02x}.{function}"
            self.device(name, number, driver)
            os.symlink(f"../../../../devices/pci0000:00/{name}", f"{directory}/devices/{name}")

    def device(self, name, group, driver):
        directory = f"{self.sys}/devices/pci0000:00/{name}"
        os.mkdir(directory)
        for attribute, value in COMMON.items():
            self.attribute(f"{directory}/{attribute}", value)
        os.symlink("../../../bus/pci", f"{directory}/subsystem")
        os.symlink(f"../../../kernel/iommu_groups/{group}", f"{directory}/iommu_group")
        os.symlink(f"../../../devices/pci0000:00/{name}", f"{self.sys}/bus/pci/devices/{name}")
        self.write_uevent(name, driver)
        if driver:
            os.symlink(f"../../../bus/pci/drivers/{driver}", f"{directory}/driver")
        if driver == "vfio-pci":
            self.vfio(name, len(self.devices))
        self.devices.append(name)

    def write_uevent(self, name, driver):
        with open(f"{self.sys}/devices/pci0000:00/{name}/uevent", "w") as file:
            file.write(f"DRIVER={driver}\n" if driver else "")
            file.write(f"PCI_CLASS=20000\nPCI_ID=8086:10D3\nPCI_SUBSYS_ID=8086:A01F\nPCI_SLOT_NAME={name}\n")
            file.write(f"MODALIAS={COMMON['modalias']}")

    def vfio(self, name, index):
        self.bound.append(name)
        self.vfio_indices.append(index)
        directory = f"{self.sys}/devices/pci0000:00/{name}/vfio-dev/vfio{index}"
        os.makedirs(directory)
        self.attribute(f"{directory}/dev", f"{NODE[0]}:{NODE[1]}\n")
        with open(f"{directory}/uevent", "w") as file:
            file.write(f"MAJOR={NODE[0]}\nMINOR={NODE[1]}\nDEVNAME=vfio/devices/vfio{index}\n")
        os.symlink("../../../../../class/vfio-dev", f"{directory}/subsystem")
        os.symlink("../..", f"{directory}/device")
        os.symlink(f"../../devices/pci0000:00/{name}/vfio-dev/vfio{index}", f"{self.sys}/class/vfio-dev/vfio{index}")
        self.node(f"vfio/devices/vfio{index}")

    def make_virtual(self, name, parent):
        """Now it is a virtual function of parent."""
        os.symlink(f"../{parent}", f"{self.sys}/devices/pci0000:00/{name}/physfn")

    def mediated(self, number, parent):
        """A mediated device of parent, in a group of its own, on the driver of its parent."""
        uuid = f"83b8f4f2-509f-382f-3c1e-{number:012x}"
        index, group = 100000 + number, 100000 + number
        parent_path = f"devices/pci0000:00/{parent}"
        directory = f"{self.sys}/{parent_path}/{uuid}"
        types = f"{self.sys}/{parent_path}/mdev_supported_types/mtty-2"
        groups = f"{self.sys}/kernel/iommu_groups/{group}"
        for path in (types, f"{directory}/vfio-dev/vfio{index}", f"{groups}/devices", f"{self.sys}/bus/mdev/devices",
                     f"{self.sys}/bus/mdev/drivers/mtty"):
            os.makedirs(path, exist_ok=True)
        self.attribute(f"{groups}/name", "vfio-noiommu\n")
        self.attribute(f"{directory}/vfio-dev/vfio{index}/dev", f"{NODE[0]}:{NODE[1]}\n")
        with open(f"{directory}/uevent", "w") as file:
            file.write("DRIVER=mtty\n")
        for link, target in (("subsystem", "bus/mdev"), ("driver", "bus/mdev/drivers/mtty"),
                             ("iommu_group", f"kernel/iommu_groups/{group}")):
            os.symlink(f"../../../../{target}", f"{directory}/{link}")
        os.symlink("../mdev_supported_types/mtty-2", f"{directory}/mdev_type")
        os.symlink(f"../../../{parent_path}/{uuid}", f"{self.sys}/bus/mdev/devices/{uuid}")
        os.symlink(f"../../../../{parent_path}/{uuid}", f"{groups}/devices/{uuid}")
        self.devices.append(uuid)
        self.groups += 1

    def forget_reset(self, name):
        """Now it is a device that knows no reset."""
        os.unlink(f"{self.sys}/devices/pci0000:00/{name}/reset_method")

    def rebind(self, name, driver):
        """Another driver appears at the device, as after a bind; the caller announces it."""
        link = f"{self.sys}/devices/pci0000:00/{name}/driver"
        os.symlink(f"../../../bus/pci/drivers/{driver}", f"{link}.new")
        os.rename(f"{link}.new", link)
        self.write_uevent(name, driver)
