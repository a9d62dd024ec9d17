#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calls on D-Bus that libvirt's QEMU driver would make to get its devices from vfiod. docs/libvirt.md says in which
functions of libvirt.

    libvirt-dbus.py DOMAIN-NAME DOMAIN-UUID DEVICE HOTPLUGGED-DEVICE -- QEMU-COMMAND...

It starts the command with the descriptors of the first device, {iommufd} and {device} replaced in its arguments; adds the
second device and takes it away again, as for a hotplug; and ends the claim when the command has ended. In between it
forgets everything but the UUID and the pid of the command, as a libvirtd does that is restarted.

libvirt would do the same with GDBus: synchronous calls on the system bus with a GUnixFDList, one method for each need, and
errors by their names."""

import os
import subprocess
import sys

import dbus

SERVICE, PATH, MANAGER = "org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager"
BIND_TIMEOUT = 180  # seconds: binding a driver may take a minute


def has_service(bus):
    """virSystemdHasMachined() is the model: is there a vfiod at all? Otherwise libvirt goes on as it does today."""
    names = bus.get_object("org.freedesktop.DBus", "/org/freedesktop/DBus")
    return any(SERVICE in getattr(names, method)(dbus_interface="org.freedesktop.DBus")
               for method in ("ListActivatableNames", "ListNames"))


def manager(bus):
    return dbus.Interface(bus.get_object(SERVICE, PATH, introspect=False), MANAGER)


def take_fds(fds):
    return {str(name): fd.take() for name, fd in fds}


def acquire(bus, name, uuid, devices):
    """All devices of the domain or none. The claim is tied to this process until QEMU runs."""
    _, result, fds = manager(bus).Acquire(
        devices,
        {"cookie": uuid, "backend": "iommufd", "tether": "process", "reason": f"libvirt domain {name}"},
        signature="asa{sv}", timeout=BIND_TIMEOUT)
    return [str(device) for device in result["devices"]], take_fds(fds)


def start(command, device, fds):
    """The command inherits the descriptors; here they are closed, as libvirt does after the fork."""
    numbers = {"iommufd": fds["iommufd"], "device": fds[f"device:{device}"]}
    arguments = [argument.format(**numbers) for argument in command]
    process = subprocess.Popen(arguments, pass_fds=numbers.values())
    for fd in fds.values():
        os.close(fd)
    return process


def hand_to_qemu(bus, uuid, pid):
    """From now on the claim ends with QEMU, whatever becomes of libvirtd."""
    pidfd = os.pidfd_open(pid)
    options = {"tether": "process", "pid": dbus.UInt64(pid)}
    if not os.path.samestat(os.fstat(pidfd), os.fstat(os.eventfd(0))):  # pidfds have ids from Linux 6.9 on
        options["pidfdId"] = dbus.UInt64(os.fstat(pidfd).st_ino)
    manager(bus).Transfer(f"cookie:{uuid}", options, signature="sa{sv}")
    os.close(pidfd)


def find(bus, uuid):
    """After a restart of libvirtd, by what is in the status XML anyway."""
    claim = bus.get_object(SERVICE, manager(bus).GetClaim(f"cookie:{uuid}"), introspect=False)
    return claim.GetAll("org.vfiod1.Claim", dbus_interface="org.freedesktop.DBus.Properties")


def hotplug(bus, uuid, device):
    """The new device is for the iommufd that QEMU has."""
    result, fds = manager(bus).AddDevices(f"cookie:{uuid}", [device], {}, signature="sasa{sv}", timeout=BIND_TIMEOUT)
    return str(result["devices"][0]), take_fds(fds)


def unplug(bus, uuid, device):
    """After DEVICE_DELETED of QEMU."""
    manager(bus).ReleaseDevices(f"cookie:{uuid}", [device], {}, signature="sasa{sv}")


def release(bus, uuid):
    try:
        manager(bus).Release(f"cookie:{uuid}", {}, signature="sa{sv}")
    except dbus.DBusException as error:
        if error.get_dbus_name() != "org.vfiod1.Error.NoSuchClaim":  # it has ended with QEMU already
            raise


def main(name, uuid, device, other, command):
    bus = dbus.SystemBus()
    if not has_service(bus):
        sys.exit("There is no vfiod on this host.")
    try:
        devices, fds = acquire(bus, name, uuid, [device])
    except dbus.DBusException as error:
        sys.exit(f"{error.get_dbus_name()}: {error.get_dbus_message()}")
    try:
        qemu = start(command, devices[0], fds)
        hand_to_qemu(bus, uuid, qemu.pid)
        claim = find(bus, uuid)
        print(f"claim {claim['Id']} is {claim['State']} and is tied to {claim['Tether']}", flush=True)
        added, fds = hotplug(bus, uuid, other)
        print(f"added {added}: {', '.join(fds)}", flush=True)
        for fd in fds.values():  # QEMU would get it by getfd, and device_add would name it
            os.close(fd)
        unplug(bus, uuid, added)
        print(f"removed {added}", flush=True)
        qemu.wait()
    finally:
        release(bus, uuid)


if __name__ == "__main__":
    if len(sys.argv) < 7 or sys.argv[5] != "--":
        sys.exit(__doc__)
    main(*sys.argv[1:5], sys.argv[6:])
