/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "host/host-critical.h"
#include "host/sysfs.h"
#include "testbed.h"

#define DEVICE "/sys/devices/pci0000:00/0000:06:00.0"
#define HEADLINE "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

static int setup(void **state) {
    testbed_setup(state);
    testbed_add_pci("0000:06:00.0", "8086:10d3:010802", 7, "nvme");
    testbed_put("/proc/self/mountinfo", "22 1 8:99 / / rw - ext4 /dev/elsewhere rw\n");
    testbed_put("/proc/swaps", HEADLINE);
    testbed_put("/proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n");
    testbed_put("/proc/net/ipv6_route", "");
    return 0;
}

/* A disk or partition; also its node, and its place in /sys/class/block. */
static void add_disk(const char *path, const char *number, bool partition) {
    const char *name = strrchr(path, '/') + 1;
    unsigned major_number, minor_number;
    char text[512];

    snprintf(text, sizeof(text), "%s/subsystem", path);
    testbed_link(text, "../../../class/block");
    snprintf(text, sizeof(text), "%s/dev", path);
    testbed_put(text, number);
    snprintf(text, sizeof(text), "%s/holders", path);
    testbed_mkdir(text);
    if (partition) {
        snprintf(text, sizeof(text), "%s/partition", path);
        testbed_put(text, "1\n");
    }
    snprintf(text, sizeof(text), "/sys/class/block/%s", name);
    testbed_link(text, path);
    assert_int_equal(sscanf(number, "%u:%u", &major_number, &minor_number), 2);
    snprintf(text, sizeof(text), "/dev/%s", name);
    testbed_node(text, true, major_number, minor_number);
}

/* A relative link, as in sysfs; an absolute one would lead out of the testbed. */
static void add_holder(const char *disk, const char *holder) {
    char path[512], target[512] = "..";

    snprintf(path, sizeof(path), "%s/holders/%s", disk, strrchr(holder, '/') + 1);
    for (const char *p = disk + strlen("/sys/"); (p = strchr(p, '/')); p++)
        strcat(target, "/..");
    strcat(target, "/..");
    strcat(target, holder + strlen("/sys"));
    testbed_link(path, target);
}

static void assert_verdict(const char *reason) {
    _cleanup_free_ char *found = NULL;
    DeviceName name;
    int r;

    assert_int_equal(device_name_parse("0000:06:00.0", &name), 0);
    r = host_critical_check(&name, &found);
    if (!reason) {
        assert_null(found);
        assert_int_equal(r, 0);
        return;
    }
    assert_int_equal(r, 1);
    assert_string_equal(found, reason);
}

static void assert_error(int error) {
    const Device d = {.name = {.pci_bus = 6}};
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    char *found = NULL;

    assert_int_equal(host_critical_check(&d.name, &found), error);
    assert_null(found);
    /* a reader of the facts learns that the host may need the device */
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_HOST_CRITICAL, &f), 0);
    assert_non_null(f.host_critical);
    assert_non_null(strstr(f.host_critical, "is unknown"));
}

#define NVME DEVICE "/nvme/nvme0/nvme0n1"
#define PARTITION NVME "/nvme0n1p1"

static void add_nvme(void) {
    testbed_link(DEVICE "/nvme/nvme0/subsystem", "../../../../../class/nvme");
    testbed_put(DEVICE "/nvme/nvme0/dev", "240:0\n");
    add_disk(NVME, "259:0\n", false);
    add_disk(PARTITION, "259:1\n", true);
}

static void test_nothing_there(void **state) {
    DeviceName other = {.pci_bus = 7};
    char *reason = NULL;

    assert_verdict(NULL);
    assert_int_equal(host_critical_check(&other, &reason), -ENODEV);
    add_nvme();
    assert_verdict(NULL);
}

static void test_mounted(void **state) {
    add_nvme();
    testbed_put("/proc/self/mountinfo",
            "22 1 8:99 / / rw - ext4 /dev/x rw\n"
            "23 22 259:1 / /srv rw - ext4 /dev/nvme0n1p1 rw\n");
    assert_verdict("mounted at /srv (nvme0n1p1)");
    testbed_put("/proc/self/mountinfo", "23 22 259:0 / /mnt/\\033[31mred rw - ext4 /dev/nvme0n1 rw\n");
    assert_verdict("mounted at /mnt/\\x1b[31mred (nvme0n1)");
    /* the minor alone is not enough */
    testbed_put("/proc/self/mountinfo", "23 22 8:1 / /srv rw - ext4 /dev/sda1 rw\n");
    assert_verdict(NULL);
}

/* Anonymous device numbers: the source names the device, and may name several. */
static void test_anonymous_mounts(void **state) {
    add_nvme();
    testbed_put("/proc/self/mountinfo", "23 22 0:33 /@ /srv rw - btrfs /dev/nvme0n1p1 rw\n");
    assert_verdict("mounted at /srv (nvme0n1p1)");
    testbed_put("/proc/self/mountinfo", "23 22 0:33 / /srv rw - bcachefs /dev/other:/dev/nvme0n1p1 rw\n");
    assert_verdict("mounted at /srv (nvme0n1p1)");
    testbed_put("/proc/self/mountinfo", "23 22 0:33 / /srv rw - tmpfs nvme0n1p1 rw\n");
    assert_verdict(NULL);

    testbed_put("/sys/fs/btrfs/features/x", "");
    testbed_mkdir("/sys/fs/btrfs/1234/devices/nvme0n1p2");
    assert_verdict(NULL);
    testbed_mkdir("/sys/fs/btrfs/1234/devices/nvme0n1p1");
    assert_verdict("mounted btrfs file system (nvme0n1p1)");
}

/* A filesystem mounted where we cannot see it. */
static void test_other_namespaces(void **state) {
    add_nvme();
    testbed_mkdir("/sys/fs/ext4/features");
    testbed_mkdir("/sys/fs/ext4/nvme0n1p2");
    testbed_mkdir("/sys/fs/cgroup/nvme0n1p1");
    assert_verdict(NULL);
    testbed_mkdir("/sys/fs/xfs/nvme0n1p1");
    assert_verdict("mounted xfs file system (nvme0n1p1)");
}

static void test_swap(void **state) {
    add_nvme();
    testbed_put("/proc/swaps", HEADLINE "/dev/sdb1 partition 1 0 -2\n/swapfile file 1 0 -3\n");
    assert_verdict(NULL);
    testbed_put("/proc/swaps", HEADLINE "/dev/nvme0n1p1 partition 1 0 -2\n");
    assert_verdict("swap (nvme0n1p1)");
}

static void test_zfs(void **state) {
    add_nvme();
    testbed_link(
            "/sys/dev/block/259:1", "../../devices/pci0000:00/0000:06:00.0/nvme/nvme0/nvme0n1/nvme0n1p1");
    testbed_put(PARTITION "/uevent", "MAJOR=259\nMINOR=1\nDEVNAME=nvme0n1p1\nID_FS_TYPE=ext4\n");
    assert_verdict(NULL);
    testbed_put(PARTITION "/uevent", "MAJOR=259\nMINOR=1\nDEVNAME=nvme0n1p1\nID_FS_TYPE=zfs_member\n");
    assert_verdict(NULL); /* the label does not help: the pool may be a guest's */
    testbed_put("/proc/spl/kstat/zfs/arcstats", "");
    assert_verdict(NULL);
    testbed_put("/proc/spl/kstat/zfs/tank/state", "ONLINE\n");
    assert_verdict("zfs pool of unknown name (nvme0n1p1)"); /* it may be this pool */
    testbed_put(PARTITION "/uevent",
            "MAJOR=259\nMINOR=1\nDEVNAME=nvme0n1p1\nID_FS_TYPE=zfs_member\nID_FS_LABEL=guest\n");
    assert_verdict(NULL);
    testbed_put(PARTITION "/uevent",
            "MAJOR=259\nMINOR=1\nDEVNAME=nvme0n1p1\nID_FS_TYPE=zfs_member\nID_FS_LABEL=tank\n");
    assert_verdict("zfs pool tank (nvme0n1p1)");
}

static void test_holders(void **state) {
    static const char inner[] = "/sys/devices/virtual/block/dm-0",
                      outer[] = "/sys/devices/virtual/block/dm-1";
    const DeviceName name = {.pci_bus = 6};
    _cleanup_free_ char *reason = NULL;

    add_nvme();
    add_disk(inner, "254:0\n", false);
    add_disk(outer, "254:1\n", false);
    add_holder(PARTITION, inner);
    assert_verdict("held by dm-0 (nvme0n1p1)");
    testbed_put("/proc/self/mountinfo", "23 22 254:1 / / rw - ext4 /dev/mapper/root rw\n");
    assert_verdict("held by dm-0 (nvme0n1p1)");
    add_holder(inner, outer);
    assert_verdict("root file system (dm-1, on dm-0, on nvme0n1p1)");
    /* a cycle, which the kernel cannot make, must end */
    testbed_put("/proc/self/mountinfo", "23 22 8:1 / / rw - ext4 /dev/sda1 rw\n");
    add_holder(outer, inner);
    assert_int_equal(host_critical_check(&name, &reason), 1);
    assert_non_null(strstr(reason, "held by"));
}

/* With native multipath the controller has only a hidden path. The disk is elsewhere. */
static void test_nvme_multipath(void **state) {
    testbed_link(DEVICE "/nvme/nvme4/nvme2c4n1/subsystem", "../../../../../../class/block");
    testbed_put(DEVICE "/nvme/nvme4/nvme2c4n1/hidden", "1\n");
    assert_verdict(NULL);
    add_disk("/sys/devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1", "259:5\n", false);
    add_disk("/sys/devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1/nvme2n1p1", "259:6\n", true);
    testbed_link("/sys/class/block/nvme2n1", "../../devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1");
    assert_verdict(NULL);
    testbed_put("/proc/self/mountinfo", "23 22 259:6 / /srv rw - ext4 /dev/nvme2n1p1 rw\n");
    assert_verdict("mounted at /srv (nvme2n1p1)");
}

static void test_scsi_and_virtio(void **state) {
    add_disk(DEVICE "/host0/target0:0:0/0:0:0:0/block/sda", "8:0\n", false);
    add_disk(DEVICE "/virtio1/block/vda", "253:0\n", false);
    testbed_put("/proc/self/mountinfo", "23 22 253:0 / /srv rw - ext4 /dev/vda rw\n");
    assert_verdict("mounted at /srv (vda)");
    testbed_put("/proc/self/mountinfo", "23 22 8:0 / /srv rw - ext4 /dev/sda rw\n");
    assert_verdict("mounted at /srv (sda)");
}

/* A physical function includes the uses of its virtual functions, but a virtual function does not include its
 * parent's. */
static void test_virtual_functions(void **state) {
    testbed_add_pci("0000:06:10.0", "8086:10d3:010802", 8, "nvme");
    testbed_link(DEVICE "/virtfn0", "../0000:06:10.0");
    testbed_link("/sys/devices/pci0000:00/0000:06:10.0/physfn", "../0000:06:00.0");
    add_disk("/sys/devices/pci0000:00/0000:06:10.0/block/vdb", "253:1\n", false);
    assert_verdict("others depend on its driver: its virtual functions (sriov_numvfs is not 0)");
    testbed_put("/proc/self/mountinfo", "23 22 253:1 / /srv rw - ext4 /dev/vdb rw\n");
    assert_verdict("mounted at /srv (vdb)");
}

static void test_cannot_be_told(void **state) {
    char path[4096] = DEVICE;

    testbed_put("/proc/self/mountinfo", "nonsense\n");
    assert_verdict(NULL); /* no lookup was needed */
    add_nvme();
    assert_error(-EBADMSG);
    testbed_put("/proc/self/mountinfo", "");
    assert_error(-ENODATA);
    testbed_put("/proc/self/mountinfo", "22 1 8:99 / / rw - ext4 /dev/elsewhere rw\n");
    testbed_put("/proc/swaps", HEADLINE "\n");
    assert_error(-EBADMSG);
    testbed_put("/proc/swaps", "");
    testbed_put(PARTITION "/dev", "x\n");
    assert_error(-EBADMSG);
    testbed_remove(PARTITION "/dev");
    assert_error(-ENXIO);
    testbed_remove(DEVICE "/nvme");
    assert_verdict(NULL);
    for (unsigned i = 0; i < 30; i++)
        strcat(path, "/a");
    testbed_mkdir(path);
    assert_error(-E2BIG);
}

static void add_interface(const char *path) {
    char text[512];

    snprintf(text, sizeof(text), "%s/subsystem", path);
    testbed_link(text, "../../../../../class/net");
}

static void test_default_routes(void **state) {
    add_interface(DEVICE "/net/eth77");
    assert_verdict(NULL);
    testbed_put("/proc/net/route", "eth77\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
    assert_verdict("default route (eth77)");
    testbed_put("/proc/net/route", "eth78\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
    assert_verdict(NULL);
    testbed_put("/proc/net/ipv6_route",
            "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
            "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 "
            "eth77\n");
    assert_verdict("default route (eth77)");
    testbed_put("/proc/net/ipv6_route", "0 0\n");
    assert_error(-EBADMSG);
}

static void test_upper_interfaces(void **state) {
    add_interface(DEVICE "/net/eth77");
    add_interface("/sys/devices/virtual/net/bond7");
    add_interface("/sys/devices/virtual/net/br7");
    testbed_link(DEVICE "/net/eth77/upper_bond7", "../../../../virtual/net/bond7");
    testbed_link("/sys/devices/virtual/net/bond7/upper_br7", "../br7");
    testbed_link("/sys/devices/virtual/net/bond7/lower_eth77", "../../../pci0000:00/0000:06:00.0/net/eth77");
    assert_verdict("held by br7 (bond7, on eth77)"); /* it has no address, but guests may use it */
    testbed_put("/proc/net/route", "br7\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
    assert_verdict("default route (br7, on bond7, on eth77)");
}

/* The test uses the addresses of its own machine's interfaces, as if those were on the device. */
static void test_addresses(void **state) {
    struct ifaddrs *all = NULL;
    unsigned n = 0;

    assert_int_equal(getifaddrs(&all), 0);
    for (struct ifaddrs *a = all; a; a = a->ifa_next) {
        char path[128], reason[128], text[INET_ADDRSTRLEN];

        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || !(a->ifa_flags & IFF_UP))
            continue;
        inet_ntop(AF_INET, &((struct sockaddr_in *) (void *) a->ifa_addr)->sin_addr, text, sizeof(text));
        if (startswith(text, "169.254."))
            continue;
        snprintf(path, sizeof(path), DEVICE "/net/%s", a->ifa_name);
        snprintf(reason, sizeof(reason), "network address %s (%s)", text, a->ifa_name);
        add_interface(path);
        assert_verdict(reason);
        testbed_remove(path);
        n++;
        break; /* other addresses may be aliases of the same interface */
    }
    freeifaddrs(all);
    if (n == 0)
        skip(); /* not even the loopback interface is up here */
}

static void test_boot_display(void **state) {
    testbed_put(DEVICE "/boot_vga", "1\n");
    assert_verdict("boot display (driven by nvme)");
    testbed_put(DEVICE "/boot_vga", "0\n");
    assert_verdict(NULL);
    testbed_put(DEVICE "/boot_vga", "1\n");
    testbed_link(DEVICE "/driver", "../../../bus/pci/drivers/pci-stub");
    assert_verdict(NULL);
    testbed_link(DEVICE "/driver", "../../../bus/pci/drivers/vfio-pci");
    assert_verdict("boot display (driven by vfio-pci)"); /* not yet registered */
    testbed_mkdir(DEVICE "/vfio-dev/vfio0");
    assert_verdict(NULL);
    testbed_remove(DEVICE "/driver");
    testbed_remove(DEVICE "/vfio-dev");
    assert_verdict(NULL);
}

/* Users that leave no trace at the disk itself. */
static void test_users_by_name(void **state) {
    static const struct {
        const char *path, *text, *reason;
    } cases[] = {
            {"/sys/class/block/loop3/loop/backing_file", "/dev/nvme0n1p1\n",
                    "file of a loop device (nvme0n1p1)"},
            {"/sys/class/block/zram0/backing_dev", "/dev/nvme0n1p1\n", "backing device of zram (nvme0n1p1)"},
            {"/sys/kernel/config/target/core/iblock_0/d/udev_path", "/dev/nvme0n1\n",
                    "exported by LIO (nvme0n1)"},
            {"/sys/kernel/config/target/core/fileio_0/d/info",
                    "Status: ACTIVATED\n   TCM FILEIO ID: 0        File: /dev/nvme0n1p1  Size: 1\n",
                    "exported by LIO (nvme0n1p1)"},
            {"/sys/kernel/config/nvmet/subsystems/nqn.x/namespaces/1/device_path", "/dev/nvme0n1\n",
                    "exported by nvmet (nvme0n1)"},
            {"/sys/kernel/config/nvmet/subsystems/nqn.x/passthru/device_path", "/dev/nvme0\n",
                    "exported by nvmet (nvme0)"},
            {"/sys/kernel/config/usb_gadget/g/functions/mass_storage.0/lun.0/file", "/dev/nvme0n1p1\n",
                    "exported over USB (nvme0n1p1)"},
            {"/sys/kernel/scst_tgt/devices/d/filename", "/dev/nvme0n1\n[key]\n",
                    "exported by SCST (nvme0n1)"},
    };

    add_nvme();
    testbed_put("/sys/class/block/loop2/loop/backing_file", "/dev/nvme0n1p2\n");
    testbed_put("/sys/class/block/zram1/backing_dev", "none\n");
    assert_verdict(NULL);
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        testbed_put(cases[i].path, cases[i].text);
        assert_verdict(cases[i].reason);
        testbed_remove(cases[i].path);
        assert_verdict(NULL);
    }
    testbed_link("/sys/fs/bcachefs/1-2/dev-0/block", "../../../../block/nvme0n1p1");
    assert_verdict("bcachefs file system (nvme0n1p1)");
    testbed_remove("/sys/fs/bcachefs/1-2/dev-0/block");
    testbed_link("/sys/devices/virtual/rnbd-server/ctl/devices/x/block_dev", "../../../block/nvme0n1");
    assert_verdict("exported by RNBD (nvme0n1)");
    testbed_remove("/sys/devices/virtual/rnbd-server");
    testbed_mkdir(PARTITION "/bcache");
    assert_verdict("part of bcache (nvme0n1p1)");
}

static void assert_exclusive(int expected) {
    const DeviceName name = {.pci_bus = 6};
    _cleanup_free_ char *reason = NULL;

    assert_int_equal(host_critical_check_exclusive(&name, &reason), expected);
}

/* The integration tests check that the kernel returns EBUSY. */
static void test_exclusive_open(void **state) {
    assert_exclusive(0);
    add_nvme();
    testbed_remove("/dev/nvme0n1p1");
    assert_exclusive(-ENOENT); /* the check failed */
}

static void set_subsystem(const char *path, const char *class) {
    char link[512], target[128];

    snprintf(link, sizeof(link), "%s/subsystem", path);
    snprintf(target, sizeof(target), "../../class/%s", class);
    testbed_link(link, target);
}

static void test_descendants(void **state) {
    static const struct {
        const char *path, *subsystem, *what;
    } cases[] = {
            {DEVICE "/00000000-0000-0000-0000-000000000101", "mdev",
                    "the mediated device 00000000-0000-0000-0000-000000000101"},
            {DEVICE "/vdpa0", "vdpa", "the vDPA device vdpa0"},
            {DEVICE "/mlx5_core.sf.4/vdpa1", "vdpa", "the vDPA device vdpa1"},
    };
    const DeviceName name = {.pci_bus = 6};

    testbed_put(DEVICE "/mdev_supported_types/nvidia-47/available_instances", "1\n");
    testbed_mkdir(DEVICE "/mlx5_core.eth.0");
    set_subsystem(DEVICE "/mlx5_core.eth.0", "auxiliary");
    add_nvme();
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *found = NULL, *reason = NULL;

        assert_int_equal(host_critical_find_descendants(&name, &found), 0);
        testbed_mkdir(cases[i].path);
        set_subsystem(cases[i].path, cases[i].subsystem);
        assert_int_equal(host_critical_find_descendants(&name, &found), 1);
        assert_string_equal(found, cases[i].what);
        assert_int_equal(host_critical_check(&name, &reason), 1);
        assert_non_null(strstr(reason, cases[i].what));
        testbed_remove(cases[i].path);
    }
    testbed_put(DEVICE "/mlx5_core.sf.4/sfnum", "88\n");
    set_subsystem(DEVICE "/mlx5_core.sf.4", "auxiliary");
    assert_verdict("others depend on its driver: the subfunction mlx5_core.sf.4");
}

/* An interface in another network namespace is not visible, but its directory is. */
static void test_other_network_namespace(void **state) {
    testbed_mkdir(DEVICE "/net");
    assert_verdict("network interface in another network namespace");
    add_interface(DEVICE "/net/eth77");
    assert_verdict(NULL);
}

static void test_master(void **state) {
    add_interface(DEVICE "/net/eth77");
    testbed_link(DEVICE "/net/eth77/master", "../../../../virtual/net/ovs-system");
    assert_verdict("held by ovs-system (eth77)");
}

static void test_boot_display_without_vga(void **state) {
    testbed_put(DEVICE "/drm/card1/boot_display", "0\n");
    set_subsystem(DEVICE "/drm/card1", "drm");
    assert_verdict(NULL);
    testbed_put(DEVICE "/drm/card1/boot_display", "1\n");
    assert_verdict("boot display (card1)");
    testbed_remove(DEVICE "/drm/card1/boot_display");
    testbed_put(DEVICE "/boot_display", "1\n");
    assert_verdict("boot display (driven by nvme)");
}

static void test_internal_panel(void **state) {
#define PANEL DEVICE "/drm/card1/card1-eDP-1"
    set_subsystem(DEVICE "/drm/card1", "drm");
    testbed_put(PANEL "/status", "connected\n");
    testbed_put(PANEL "/enabled", "disabled\n");
    set_subsystem(PANEL, "drm");
    assert_verdict(NULL);
    testbed_put(PANEL "/enabled", "enabled\n");
    assert_verdict("internal panel that is lit (card1-eDP-1)");
}

static void test_framebuffers(void **state) {
    testbed_mkdir(DEVICE "/graphics/fb0");
    set_subsystem(DEVICE "/graphics/fb0", "graphics");
    testbed_put("/sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
    testbed_put("/sys/class/vtconsole/vtcon0/bind", "1\n");
    testbed_put("/sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n");
    testbed_put("/sys/class/vtconsole/vtcon1/bind", "0\n");
    assert_verdict(NULL);
    testbed_put("/sys/class/vtconsole/vtcon1/bind", "1\n");
    assert_verdict("console (framebuffer fb0)");

    /* the firmware's display: a child of the card's display on newer kernels, of the platform on older
     * ones */
    testbed_remove(DEVICE "/graphics");
    testbed_remove(DEVICE "/driver");
    testbed_mkdir(DEVICE "/simple-framebuffer.0");
    set_subsystem(DEVICE "/simple-framebuffer.0", "platform");
    assert_verdict(NULL);
    testbed_mkdir(DEVICE "/simple-framebuffer.0/driver");
    assert_verdict("console (the kernel draws on its framebuffer simple-framebuffer.0)");
    testbed_remove(DEVICE "/simple-framebuffer.0");
    testbed_put(DEVICE "/boot_vga", "1\n");
    assert_verdict(NULL);
    testbed_mkdir("/sys/devices/platform/efi-framebuffer.0/driver");
    assert_verdict("boot display (the kernel draws on its efi-framebuffer)");
}

/* Storage that is reached through the device, but is elsewhere in sysfs. */
static void test_storage_over_fabrics(void **state) {
    add_interface(DEVICE "/net/eth77");
    testbed_put(DEVICE "/host3/fc_host/host3/port_name", "0x21000024ff7f0001\n");
    set_subsystem(DEVICE "/host3/fc_host/host3", "fc_host");
    testbed_put("/sys/class/nvme/nvme0/address", "0000:01:00.0\n");
    testbed_put("/sys/class/nvme/nvme1/address", "traddr=10.0.0.2,trsvcid=4420,host_iface=eth7\n");
    testbed_put("/sys/class/nvme/nvme2/address",
            "traddr=nn-0x1:pn-0x21000024ff7f0001,host_traddr=nn-0x2:pn-0x21000024ff7f0002\n");
    assert_verdict(NULL);
    testbed_put("/sys/class/nvme/nvme1/address", "traddr=10.0.0.2,trsvcid=4420,host_iface=eth77\n");
    assert_verdict("NVMe disks over TCP (eth77)");
    testbed_remove("/sys/class/nvme/nvme1");
    testbed_put("/sys/class/iscsi_host/host9/netdev", "eth77\n");
    assert_verdict("iSCSI disks (over eth77)");
    testbed_remove("/sys/class/iscsi_host");
    testbed_put("/sys/class/nvme/nvme2/address",
            "traddr=nn-0x1:pn-0x2,host_traddr=nn-0x2:pn-0x21000024ff7f0001\n");
    assert_verdict("NVMe disks over Fibre Channel (host3)");
}

static void test_small_users(void **state) {
    testbed_put(DEVICE "/tty/ttyS4/console", "N\n");
    set_subsystem(DEVICE "/tty/ttyS4", "tty");
    assert_verdict(NULL);
    testbed_put(DEVICE "/tty/ttyS4/console", "Y\n");
    assert_verdict("console of the kernel (ttyS4)");
    testbed_remove(DEVICE "/tty");
    testbed_put(DEVICE "/watchdog/watchdog0/state", "active\n");
    set_subsystem(DEVICE "/watchdog/watchdog0", "watchdog");
    assert_verdict("running watchdog (watchdog0)");
    testbed_remove(DEVICE "/watchdog");
    testbed_put(DEVICE "/dma/dma0chan0/in_use", "1\n");
    set_subsystem(DEVICE "/dma/dma0chan0", "dma");
    assert_verdict("DMA channel of the kernel (dma0chan0)");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, testbed_teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_nothing_there),
            TEST(test_mounted),
            TEST(test_anonymous_mounts),
            TEST(test_other_namespaces),
            TEST(test_swap),
            TEST(test_zfs),
            TEST(test_holders),
            TEST(test_nvme_multipath),
            TEST(test_scsi_and_virtio),
            TEST(test_virtual_functions),
            TEST(test_cannot_be_told),
            TEST(test_default_routes),
            TEST(test_upper_interfaces),
            TEST(test_addresses),
            TEST(test_boot_display),
            TEST(test_users_by_name),
            TEST(test_exclusive_open),
            TEST(test_descendants),
            TEST(test_other_network_namespace),
            TEST(test_master),
            TEST(test_boot_display_without_vga),
            TEST(test_internal_panel),
            TEST(test_framebuffers),
            TEST(test_small_users),
            TEST(test_storage_over_fabrics),
    };

    if (!testbed_works()) {
        puts("1..0 # SKIP run me under umockdev-wrapper");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
