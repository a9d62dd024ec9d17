/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdpa-net: an unprivileged program that is handed the file of a vDPA network device and sends a frame
 * through it.
 *
 * It trusts nobody, like edu-dma: no code in common with the daemon, and it says who it is before it says
 * that the device obeyed it. What it does, in order:
 *
 *   1. Find its descriptor, passed as systemd does (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES): the one named
 *      `device_vdpa_...`. With --node PATH it opens that node by itself instead.
 *   2. Look at the device: its type, its status, which must be 0 after the reset at open, its features and
 *      its MAC address.
 *   3. Be its driver: memory at IOVA, two virtqueues, and the status up to DRIVER_OK.
 *   4. Send a frame to the broadcast address. The kernel's simulator (vdpa_sim_net) receives what it sends.
 *
 * Exit status: 0 all held, 1 something did not, 2 wrong use. With --hold it then prints READY and keeps the
 * device until its standard input ends. */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    FIRST_FD = 3, /* where passed descriptors start */
    PAGE = 4096,
    PAGES = 4, /* a ring, a ring, a buffer, a buffer */
    IOVA = 0x100000,
    RING_SIZE = 4,
    FRAME = 64,
    TIMEOUT_MS = 20000,
};

enum {
    RX,
    TX,
    N_QUEUES
};

struct queue {
    struct vring ring;
    uint8_t *buffer;
    int kick, call;
};

struct session {
    int device;
    uint64_t features;
    uint8_t mac[6];
    uint8_t *memory; /* PAGES of them; the device sees them at IOVA */
    struct queue queues[N_QUEUES];
};

/* One line on stderr with what failed and why; for use in `return fail(...)`. */
__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...) {
    int saved = errno;
    va_list ap;

    fputs("vdpa-net: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    if (saved != 0)
        fprintf(stderr, ": %s", strerror(saved));
    fputc('\n', stderr);
    return -1;
}

/* ---- 1. the device's file ---- */

static int find_passed(void) {
    const char *pid = getenv("LISTEN_PID");
    char *names = getenv("LISTEN_FDNAMES");

    errno = 0;
    if (!pid || !names || strtol(pid, NULL, 10) != (long) getpid())
        return fail("no descriptors were passed to me (LISTEN_PID, LISTEN_FDNAMES)");
    for (int fd = FIRST_FD; names; fd++) {
        const char *name = strsep(&names, ":");

        if (strncmp(name, "device_vdpa_", 12) == 0) {
            printf("vdpa-net: passed as %s\n", name);
            return fd;
        }
    }
    return fail("no descriptor of a vDPA device was passed");
}

static int find_device(const char *node) {
    int fd;

    if (!node)
        return find_passed();
    fd = open(node, O_RDWR | O_CLOEXEC);
    return fd < 0 ? fail("cannot open %s", node) : fd;
}

/* ---- 2. what it is ---- */

static int look(struct session *s) {
    union {
        struct vhost_vdpa_config header;
        uint8_t bytes[sizeof(struct vhost_vdpa_config) + 6];
    } config = {.header = {.off = 0, .len = 6}};
    uint32_t id;
    uint8_t status;

    if (ioctl(s->device, VHOST_SET_OWNER) < 0)
        return fail("cannot become its owner");
    if (ioctl(s->device, VHOST_VDPA_GET_DEVICE_ID, &id) < 0 ||
            ioctl(s->device, VHOST_VDPA_GET_STATUS, &status) < 0 ||
            ioctl(s->device, VHOST_GET_FEATURES, &s->features) < 0 ||
            ioctl(s->device, VHOST_VDPA_GET_CONFIG, &config) < 0)
        return fail("cannot ask it what it is");
    memcpy(s->mac, config.header.buf, sizeof s->mac);
    printf("vdpa-net: device id %u, status %u, features %#llx, MAC %02x:%02x:%02x:%02x:%02x:%02x\n", id,
            status, (unsigned long long) s->features, s->mac[0], s->mac[1], s->mac[2], s->mac[3], s->mac[4],
            s->mac[5]);
    errno = 0;
    if (id != VIRTIO_ID_NET)
        return fail("it is no network device");
    return status == 0 ? 0 : fail("it was not reset before it was opened");
}

/* ---- 3. its driver ---- */

static int add_status(const struct session *s, uint8_t bit) {
    uint8_t status, now;

    if (ioctl(s->device, VHOST_VDPA_GET_STATUS, &status) < 0)
        return fail("cannot read its status");
    status |= bit;
    if (ioctl(s->device, VHOST_VDPA_SET_STATUS, &status) < 0 ||
            ioctl(s->device, VHOST_VDPA_GET_STATUS, &now) < 0)
        return fail("cannot set its status to %u", status);
    errno = 0;
    return now == status ? 0 : fail("its status is %u instead of %u", now, status);
}

static int agree_on_features(const struct session *s) {
    uint64_t wanted =
            1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_ACCESS_PLATFORM | 1ULL << VIRTIO_NET_F_MAC;

    wanted &= s->features;
    if (add_status(s, VIRTIO_CONFIG_S_ACKNOWLEDGE) < 0 || add_status(s, VIRTIO_CONFIG_S_DRIVER) < 0)
        return -1;
    if (ioctl(s->device, VHOST_SET_FEATURES, &wanted) < 0)
        return fail("cannot set its features to %#llx", (unsigned long long) wanted);
    return add_status(s, VIRTIO_CONFIG_S_FEATURES_OK);
}

static int map_memory(struct session *s) {
    struct vhost_msg message = {
            .type = VHOST_IOTLB_MSG,
            .iotlb =
                    {
                            .iova = IOVA,
                            .size = PAGES * PAGE,
                            .perm = VHOST_ACCESS_RW,
                            .type = VHOST_IOTLB_UPDATE,
                    },
    };

    s->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->memory == MAP_FAILED)
        return fail("cannot get memory");
    message.iotlb.uaddr = (uintptr_t) s->memory;
    if (write(s->device, &message, sizeof message) != (ssize_t) sizeof message)
        return fail("cannot map memory");
    return 0;
}

static uint64_t iova_of(const struct session *s, const void *p) {
    return IOVA + (uint64_t) ((const uint8_t *) p - s->memory);
}

static int set_up_queue(struct session *s, unsigned index) {
    struct queue *q = &s->queues[index];

    vring_init(&q->ring, RING_SIZE, s->memory + index * PAGE, 64);
    q->buffer = s->memory + (N_QUEUES + index) * PAGE;
    q->kick = eventfd(0, EFD_CLOEXEC);
    q->call = eventfd(0, EFD_CLOEXEC);
    if (q->kick < 0 || q->call < 0)
        return fail("eventfd");

    struct vhost_vring_state size = {.index = index, .num = RING_SIZE}, base = {.index = index},
                             enable = {.index = index, .num = 1};
    struct vhost_vring_addr addresses = {
            .index = index,
            .desc_user_addr = iova_of(s, q->ring.desc),
            .avail_user_addr = iova_of(s, q->ring.avail),
            .used_user_addr = iova_of(s, q->ring.used),
    };
    struct vhost_vring_file kick = {.index = index, .fd = q->kick}, call = {.index = index, .fd = q->call};

    if (ioctl(s->device, VHOST_SET_VRING_NUM, &size) < 0 ||
            ioctl(s->device, VHOST_SET_VRING_BASE, &base) < 0 ||
            ioctl(s->device, VHOST_SET_VRING_ADDR, &addresses) < 0 ||
            ioctl(s->device, VHOST_SET_VRING_KICK, &kick) < 0 ||
            ioctl(s->device, VHOST_SET_VRING_CALL, &call) < 0 ||
            ioctl(s->device, VHOST_VDPA_SET_VRING_ENABLE, &enable) < 0)
        return fail("cannot set up virtqueue %u", index);
    return 0;
}

static int drive(struct session *s) {
    if (agree_on_features(s) < 0 || map_memory(s) < 0)
        return -1;
    for (unsigned i = 0; i < N_QUEUES; i++)
        if (set_up_queue(s, i) < 0)
            return -1;
    return add_status(s, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---- 4. a frame ---- */

/* Virtqueues are little-endian whatever the machine is (VIRTIO_F_VERSION_1). */
static int offer(const struct session *s, struct queue *q, uint32_t length, uint16_t flags) {
    const uint64_t one = 1;

    q->ring.desc[0] = (struct vring_desc){
            .addr = htole64(iova_of(s, q->buffer)), .len = htole32(length), .flags = htole16(flags)};
    q->ring.avail->ring[0] = 0;
    __atomic_store_n(&q->ring.avail->idx, htole16(1), __ATOMIC_RELEASE);
    return write(q->kick, &one, sizeof one) == (ssize_t) sizeof one ? 0 : fail("cannot kick");
}

static int send_frame(struct session *s) {
    const size_t header = sizeof(struct virtio_net_hdr_v1);
    struct queue *rx = &s->queues[RX], *tx = &s->queues[TX];
    struct pollfd wait = {.fd = rx->call, .events = POLLIN};

    memset(tx->buffer, 0, header);
    memset(tx->buffer + header, 0xff, 6); /* the broadcast address */
    memcpy(tx->buffer + header + 6, s->mac, 6);
    for (size_t i = 12; i < FRAME; i++)
        tx->buffer[header + i] = (uint8_t) (i * 7 + 3);
    if (offer(s, rx, PAGE, VRING_DESC_F_WRITE) < 0 || offer(s, tx, (uint32_t) (header + FRAME), 0) < 0)
        return -1;
    errno = 0;
    if (poll(&wait, 1, TIMEOUT_MS) != 1)
        return fail("no frame came back");
    if (__atomic_load_n(&rx->ring.used->idx, __ATOMIC_ACQUIRE) != htole16(1) ||
            le32toh(rx->ring.used->ring[0].len) != header + FRAME)
        return fail("something else than one frame came back");
    if (memcmp(tx->buffer + header, rx->buffer + header, FRAME) != 0)
        return fail("the frame that came back is not the one that was sent");
    printf("vdpa-net: sent a frame of %d bytes, and received the same bytes\n", FRAME);
    return 0;
}

/* ---- the story around it ---- */

static void introduce(void) {
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");

    printf("vdpa-net: uid %u", (unsigned) getuid());
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "CapEff:", 7) == 0)
            printf(", %s", line);
    if (f)
        fclose(f);
}

static void hold(void) {
    char input[256];

    puts("READY");
    fflush(stdout);
    while (read(STDIN_FILENO, input, sizeof input) > 0)
        ;
}

int main(int argc, char **argv) {
    static struct session s;
    const char *node = NULL;
    bool keep = false;

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--hold") == 0)
            keep = true;
        else if (strcmp(argv[i], "--node") == 0 && i + 1 < argc)
            node = argv[++i];
        else
            return fputs("usage: vdpa-net [--hold] [--node PATH]\n", stderr), 2;
    introduce();
    s.device = find_device(node);
    if (s.device < 0 || look(&s) < 0 || drive(&s) < 0 || send_frame(&s) < 0)
        return 1;
    fflush(stdout);
    if (keep)
        hold();
    return 0;
}
