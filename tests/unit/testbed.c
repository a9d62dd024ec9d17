/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testbed.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A broken testbed must not look like a failed or passed test. */
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            perror(#condition);                                                                              \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static char root[] = "/tmp/vfiod-test-XXXXXX";

/* Whoever has the file open must notice it. In sysfs, it reads ENODEV. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    int fd = type == FTW_F && S_ISREG(st->st_mode) ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -EBADF;
    int r = remove(path);

    if (fd >= 0) {
        REQUIRE(ftruncate(fd, 0) == 0);
        (void) close(fd);
    }
    return r;
}

int testbed_setup(void **state) {
    strcpy(root + strlen(root) - 6, "XXXXXX");
    REQUIRE(mkdtemp(root));
    REQUIRE(setenv("UMOCKDEV_DIR", root, 1) == 0);
    testbed_mkdir("/sys/bus/pci/devices");
    testbed_mkdir("/dev");
    return 0;
}

int testbed_teardown(void **state) {
    REQUIRE(unsetenv("UMOCKDEV_DIR") == 0);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool testbed_works(void) {
    bool works;

    (void) testbed_setup(NULL);
    testbed_put("/sys/vfiod-test", "");
    works = access("/sys/vfiod-test", F_OK) == 0;
    (void) testbed_teardown(NULL);
    return works;
}

/* Returns the real path, below a directory that umockdev does not touch. Creates parents. */
static const char *real_path(const char *path, char buf[static PATH_MAX]) {
    REQUIRE((size_t) snprintf(buf, PATH_MAX, "%s%s", root, path) < PATH_MAX);
    for (char *p = buf + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        REQUIRE(mkdir(buf, 0755) == 0 || errno == EEXIST);
        *p = '/';
    }
    return buf;
}

void testbed_mkdir(const char *path) {
    char real[PATH_MAX];

    REQUIRE(mkdir(real_path(path, real), 0755) == 0 || errno == EEXIST);
}

void testbed_put_bytes(const char *path, const void *data, size_t size) {
    char real[PATH_MAX];
    int fd = open(real_path(path, real), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    REQUIRE(fd >= 0);
    REQUIRE(write(fd, data, size) == (ssize_t) size);
    (void) close(fd);
}

void testbed_put(const char *path, const char *text) {
    testbed_put_bytes(path, text, strlen(text));
}

void testbed_link(const char *path, const char *target) {
    char real[PATH_MAX];

    (void) unlink(real_path(path, real));
    REQUIRE(symlink(target, real) == 0);
}

void testbed_remove(const char *path) {
    char real[PATH_MAX];

    REQUIRE(nftw(real_path(path, real), remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

void testbed_node(const char *path, bool block, unsigned major, unsigned minor) {
    char real[PATH_MAX], number[32], record[PATH_MAX] = "/dev/.node/";

    testbed_put(path, "");
    REQUIRE(chmod(real_path(path, real), block ? 01600 : 0600) == 0);
    strcat(record, path + strlen("/dev/"));
    for (char *p = record + strlen("/dev/.node/"); (p = strchr(p, '/'));)
        *p = '_';
    snprintf(number, sizeof(number), "%u:%u", major, minor);
    testbed_link(record, number);
}

const char *testbed_add_pci(const char *chain, const char *ids, int group, const char *driver) {
    static char path[PATH_MAX / 2];
    char sub[PATH_MAX], target[PATH_MAX];
    unsigned vendor, device, class;
    const char *name = strrchr(chain, '/') ? strrchr(chain, '/') + 1 : chain;

    REQUIRE(sscanf(ids, "%x:%x:%x", &vendor, &device, &class) == 3);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/%s", chain);

#define PUT(attribute, ...)                                                                                  \
    do {                                                                                                     \
        snprintf(sub, sizeof(sub), "%s/%s", path, attribute);                                                \
        snprintf(target, sizeof(target), __VA_ARGS__);                                                       \
        testbed_put(sub, target);                                                                            \
    } while (0)
    PUT("vendor", "0x%04x\n", vendor);
    PUT("device", "0x%04x\n", device);
    PUT("subsystem_vendor", "0x1af4\n");
    PUT("subsystem_device", "0x1100\n");
    PUT("class", "0x%06x\n", class);
    PUT("revision", "0x10\n");
    PUT("driver_override", "(null)\n");
    PUT("enable", "0\n");
    PUT("numa_node", "-1\n");
    PUT("uevent", "PCI_SLOT_NAME=%s\n", name);
#undef PUT

    snprintf(sub, sizeof(sub), "%s/subsystem", path);
    testbed_link(sub, "../../../bus/pci");
    if (driver) {
        snprintf(sub, sizeof(sub), "%s/driver", path);
        snprintf(target, sizeof(target), "../../../bus/pci/drivers/%s", driver);
        testbed_link(sub, target);
    }
    if (group >= 0) {
        snprintf(sub, sizeof(sub), "%s/iommu_group", path);
        snprintf(target, sizeof(target), "../../../kernel/iommu_groups/%d", group);
        testbed_link(sub, target);
    }

    snprintf(sub, sizeof(sub), "/sys/bus/pci/devices/%s", name);
    snprintf(target, sizeof(target), "../../../devices/pci0000:00/%s", chain);
    testbed_link(sub, target);
    return path;
}

/* MurmurHash2 with seed 0, little endian: the monitor's socket filter compares hashes of the subsystem. */
static uint32_t string_hash(const char *s) {
    const uint32_t m = 0x5bd1e995;
    size_t n = strlen(s);
    uint32_t h = (uint32_t) n;

    for (; n >= 4; s += 4, n -= 4) {
        uint32_t k;

        memcpy(&k, s, 4);
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    if (n > 0) {
        for (size_t i = 0; i < n; i++)
            h ^= (uint32_t) (unsigned char) s[i] << (8 * i);
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

/* The message of systemd's sd-device monitor: a header, then NAME=VALUE strings. */
typedef struct MonitorMessage {
    char prefix[8];
    uint32_t magic, header_size, properties_offset, properties_size, subsystem_hash, devtype_hash,
            tag_hash[2];
    char properties[2048];
} MonitorMessage;

bool testbed_uevent(const char *action, const char *path, const char *subsystem) {
    static unsigned sequence;
    MonitorMessage m = {
            .prefix = "libudev",
            .magic = htonl(0xfeedcafe),
            .header_size = offsetof(MonitorMessage, properties),
            .properties_offset = offsetof(MonitorMessage, properties),
            .subsystem_hash = htonl(string_hash(subsystem)),
    };
    bool sent = true;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    REQUIRE(fd >= 0);
    m.properties_size = (uint32_t) snprintf(m.properties, sizeof(m.properties),
            "ACTION=%s%cDEVPATH=%s%cSUBSYSTEM=%s%cSEQNUM=%u%c", action, 0, path + strlen("/sys"), 0,
            subsystem, 0, ++sequence, 0);

    /* umockdev replaces the netlink socket of each monitor with one of these. */
    for (unsigned i = 0; i < 8; i++) {
        struct sockaddr_un listener = {.sun_family = AF_UNIX};

        snprintf(listener.sun_path, sizeof(listener.sun_path), "%s/event%u", root, i);
        if (sendto(fd, &m, m.properties_offset + m.properties_size, MSG_DONTWAIT,
                    (struct sockaddr *) &listener, sizeof(listener)) >= 0)
            continue;
        REQUIRE(errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN);
        sent = sent && errno != EAGAIN;
    }
    (void) close(fd);
    return sent;
}
