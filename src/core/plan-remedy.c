/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The remedy for a use by the host, which depends on the use: a boot display is not unmounted. The texts
 * compared here come from src/host/use*.c and host-critical.c. */

#include "core/planner.h"

const char *remedy_of_use(const char *use) {
    static const struct {
        const char *phrase, *remedy;
    } remedies[] = {
            {"root file system", "The host runs from it: choose another device."},
            {"mounted", "Unmount it first, or choose another device."},
            {"swap", "Turn the swap off first (swapoff), or choose another device."},
            {"zfs pool", "Export the pool first (zpool export), or choose another device."},
            {"address", "Remove the address first, or choose another device."},
            {"default route", "Remove the route first, or choose another device."},
            {"held by",
                    "Stop what holds it first (LVM, RAID, encryption, a bridge or bond), or choose another "
                    "device."},
            {"bcache", "Stop the cache first, or choose another device."},
            {"XDP program", "Detach the program first, or choose another device."},
            {"another network namespace",
                    "Stop the container or namespace that uses it, or choose another device."},
            {"boot display",
                    "The host shows its console there: choose another device, or make another display the "
                    "primary one in the firmware."},
            {"internal panel", "The host shows its console there: choose another device."},
            {"framebuffer", "The host shows its console there: choose another device."},
            {"console",
                    "Move the console elsewhere (console= on the kernel command line), or choose another "
                    "device."},
            {"watchdog", "Stop the watchdog first, or choose another device."},
            {"DMA channel", "Unload the driver that uses the channel, or choose another device."},
            {"(DeviceAllow=)", "Restart vfiod ('systemctl restart vfiod'). Claims are kept."},
            {"is unknown",
                    "Unknown counts as in use. The journal of vfiod.service shows why it cannot be read."},
    };

    for (size_t i = 0; i < ELEMENTSOF(remedies); i++)
        if (strstr(use, remedies[i].phrase))
            return remedies[i].remedy;
    return "Stop that use first, or choose another device.";
}
