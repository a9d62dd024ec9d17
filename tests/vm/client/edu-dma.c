/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* edu-dma: an unprivileged program that is handed VFIO file descriptors and moves bytes by DMA.
 *
 * This is the proof that vfiod's main job works, so it trusts nobody: it has no code in common with the
 * daemon, and it says who it is (uid, capabilities) before it says that the device obeyed it.
 *
 * What a user-space driver does, in order:
 *
 *   1. Find its descriptors. They come as systemd passes them: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES,
 *      from descriptor 3 on. A ':' separates the names, so `device:pci:0000:00:04.0` is written
 *      `device_pci_0000_00_04.0`. VFIOD_DEVICES lists the devices by their real names.
 *
 *   2. Get from them a device that may do DMA into an address space of ours. Which way depends on what came:
 *      - `iommufd` and `device_...`: bind the device to the iommufd, allocate an I/O address space (IOAS)
 *        in it, attach the device to that.
 *      - `container` and `group_...`: put the group into the container, choose the type1 IOMMU, ask the
 *        group for the device.
 *      - `container` and `device_...` (compat): the device is attached to the container, which is an iommufd
 *        already. Only a mapping is missing.
 *      - `device_...` alone (noiommu): the device is ready, but nothing translates its addresses. No DMA
 *        then.
 *
 *   3. Map a buffer: from now on the device sees it at the I/O virtual address IOVA, and nothing else of us.
 *
 *   4. Drive the device. QEMU's `edu` has a 4 KiB buffer and a DMA engine with four registers: source,
 *      destination, count, command. Each transfer ends with an interrupt (MSI), which VFIO gives us as an
 *      eventfd. We send a pattern from the first half of our buffer to the device, get it back into the
 *      second half, and compare.
 *
 * Devices that are no edu (a NIC) are set up the same way and their configuration space is read.
 *
 * Exit status: 0 all held, 1 something did not, 2 wrong use. With --hold the program then prints READY and
 * keeps everything open until its standard input ends or SIGTERM comes. With --again it also moves the bytes
 * again for each line that it reads, and prints AGAIN. With --request it also ends, and says REQUESTED, when
 * the kernel wants the first device back and signals its request eventfd. With --hot-reset it has the kernel
 * reset everything below the devices' bridge, which takes that all of it is ours, and looks whether the
 * devices answer. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "session.h"

enum {
    /* Half of the device's buffer: QEMU 7.2 takes a transfer that ends exactly at the buffer's end for an
     * overrun and aborts. */
    LENGTH = 2048,
    TRANSFER_TIMEOUT_MS = 20000, /* edu needs 100 ms; an emulated machine on a busy host needs patience */
    EDU_PCI_ID = 0x11e81234,
};

/* edu's registers, in its BAR 0. Below 0x80 they are 32 bits wide, from there on 64. */
enum {
    EDU_LIVENESS = 0x04, /* reads back inverted */
    EDU_IRQ_STATUS = 0x24,
    EDU_IRQ_ACK = 0x64,
    EDU_DMA_SOURCE = 0x80,
    EDU_DMA_DESTINATION = 0x88,
    EDU_DMA_COUNT = 0x90,
    EDU_DMA_COMMAND = 0x98,

    EDU_DMA_START = 1 << 0,
    EDU_DMA_FROM_DEVICE = 1 << 1,
    EDU_DMA_INTERRUPT = 1 << 2,

    EDU_BUFFER = 0x40000, /* the device's own buffer, in its address space */
};

/* ---- 4. driving a device ---- */

/* An eventfd that counts such interrupts of the device: its message signalled ones (VFIO_PCI_MSI_IRQ_INDEX),
 * or the kernel's own, by which it requests the device back (VFIO_PCI_REQ_IRQ_INDEX). */
static int open_interrupt(const struct device *d, uint32_t index) {
    int fd = eventfd(0, EFD_CLOEXEC);
    union {
        struct vfio_irq_set set;
        uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int)];
    } request = {
            .set =
                    {
                            .argsz = sizeof request.bytes,
                            .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                            .index = index,
                            .count = 1,
                    },
    };

    if (fd < 0)
        return fail("eventfd");
    memcpy(request.set.data, &fd, sizeof fd);
    if (ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &request.set) < 0) {
        fail("%s: cannot enable its interrupt", d->name);
        close(fd);
        return -1;
    }
    return fd;
}

static uint32_t edu_read(volatile uint8_t *bar, unsigned reg) {
    return *(volatile uint32_t *) (bar + reg);
}

static void edu_write(volatile uint8_t *bar, unsigned reg, uint32_t value) {
    *(volatile uint32_t *) (bar + reg) = value;
}

static void edu_write_dma(volatile uint8_t *bar, unsigned reg, uint64_t value) {
    *(volatile uint64_t *) (bar + reg) = value;
}

static int edu_transfer(const struct device *d, volatile uint8_t *bar, int irq, uint64_t from, uint64_t to,
        uint64_t direction) {
    struct pollfd wait = {.fd = irq, .events = POLLIN};
    uint64_t interrupts;

    edu_write_dma(bar, EDU_DMA_SOURCE, from);
    edu_write_dma(bar, EDU_DMA_DESTINATION, to);
    edu_write_dma(bar, EDU_DMA_COUNT, LENGTH);
    edu_write_dma(bar, EDU_DMA_COMMAND, EDU_DMA_START | EDU_DMA_INTERRUPT | direction);

    errno = 0;
    if (poll(&wait, 1, TRANSFER_TIMEOUT_MS) != 1)
        return fail("%s: no interrupt after the transfer", d->name);
    if (read(irq, &interrupts, sizeof interrupts) != (ssize_t) sizeof interrupts)
        return fail("%s: cannot read the interrupt count", d->name);
    edu_write(bar, EDU_IRQ_ACK, edu_read(bar, EDU_IRQ_STATUS));
    return 0;
}

static int edu_check_liveness(const struct device *d, volatile uint8_t *bar) {
    const uint32_t word = 0x76666966;

    errno = 0;
    edu_write(bar, EDU_LIVENESS, word);
    uint32_t answer = edu_read(bar, EDU_LIVENESS);
    if (answer != ~word)
        return fail("%s: wrote %08x, expected its inverse, read %08x", d->name, word, answer);
    return 0;
}

static int edu_round_trip(const struct session *s, const struct device *d, volatile uint8_t *bar, int irq) {
    uint8_t *out = s->buffer, *back = s->buffer + LENGTH;

    for (size_t i = 0; i < LENGTH; i++)
        out[i] = (uint8_t) (i * 7 + 3);
    memset(back, 0, LENGTH);

    if (edu_transfer(d, bar, irq, IOVA, EDU_BUFFER, 0) < 0 ||
            edu_transfer(d, bar, irq, EDU_BUFFER, IOVA + LENGTH, EDU_DMA_FROM_DEVICE) < 0)
        return -1;

    errno = 0;
    if (memcmp(out, back, LENGTH) != 0)
        return fail("%s: the bytes that came back are not those sent", d->name);
    printf("edu-dma: %s: %d bytes to the device and back by DMA through the IOMMU: the same bytes\n", d->name,
            LENGTH);
    return 0;
}

/* The interrupt and the mapped registers stay with the device, so that with --hold it is a device in use. */
static int drive_edu(const struct session *s, const struct device *d) {
    struct vfio_region_info region;

    if (get_region(d, VFIO_PCI_BAR0_REGION_INDEX, &region) < 0 || enable_bus_master(d) < 0)
        return -1;
    volatile uint8_t *bar =
            mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, (off_t) region.offset);
    if (bar == MAP_FAILED)
        return fail("%s: cannot map its registers", d->name);
    if (edu_check_liveness(d, bar) < 0)
        return -1;
    if (!s->translated) {
        printf("edu-dma: %s: registers answer; no IOMMU, so no DMA was tried\n", d->name);
        return 0;
    }

    int irq = open_interrupt(d, VFIO_PCI_MSI_IRQ_INDEX);
    return irq < 0 ? -1 : edu_round_trip(s, d, bar, irq);
}

static int drive(const struct session *s, const struct device *d) {
    uint32_t id;

    if (read_pci_id(d, &id) < 0)
        return -1;
    if (id == EDU_PCI_ID)
        return drive_edu(s, d);
    printf("edu-dma: %s: open, configuration space says %04x:%04x (no edu: no DMA tried)\n", d->name,
            id & 0xffff, id >> 16);
    return 0;
}

/* ---- the reset of a bus or slot ---- */

/* Prints what the reset would hit. The kernel checks ownership by the iommufd, or by the groups that we
 * pass. */
static int show_reach(const struct device *d) {
    union {
        struct vfio_pci_hot_reset_info info;
        uint8_t bytes[sizeof(struct vfio_pci_hot_reset_info) +
                MAX_DEVICES * sizeof(struct vfio_pci_dependent_device)];
    } reach = {.info.argsz = sizeof reach.bytes};

    if (ioctl(d->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &reach.info) < 0)
        return fail("%s: cannot ask what its bus reset would hit", d->name);
    printf("edu-dma: %s: its bus reset hits %u:", d->name, reach.info.count);
    for (uint32_t i = 0; i < reach.info.count; i++)
        printf(" pci:%04x:%02x:%02x.%u", reach.info.devices[i].segment, reach.info.devices[i].bus,
                reach.info.devices[i].devfn >> 3, reach.info.devices[i].devfn & 7U);
    putchar('\n');
    return 0;
}

static int hot_reset(const struct session *s, const struct device *d) {
    union {
        struct vfio_pci_hot_reset reset;
        uint8_t bytes[sizeof(struct vfio_pci_hot_reset) + MAX_FDS * sizeof(int32_t)];
    } request = {.reset.argsz = sizeof request.bytes};
    uint32_t before, after;

    if (read_pci_id(d, &before) < 0 || show_reach(d) < 0)
        return -1;
    for (size_t i = 0; i < s->n_fds; i++)
        if (strncmp(s->fds[i].name, "group_", 6) == 0)
            request.reset.group_fds[request.reset.count++] = s->fds[i].fd;
    if (ioctl(d->fd, VFIO_DEVICE_PCI_HOT_RESET, &request.reset) < 0)
        return fail("%s: its bus cannot be reset", d->name);
    if (read_pci_id(d, &after) < 0)
        return -1;
    errno = 0;
    if (after != before)
        return fail("%s: after the reset it is %08x, and was %08x", d->name, after, before);
    printf("edu-dma: %s: reset with its bus, shown %u groups\n", d->name, request.reset.count);
    return 0;
}

/* ---- the story around it ---- */

static void print_effective_capabilities(void) {
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");

    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "CapEff:", 7) == 0)
            printf("CapEff %s", line + 7 + strspn(line + 7, "\t "));
    }
    if (f)
        fclose(f);
}

static void introduce(const struct session *s) {
    printf("edu-dma: uid %u, ", (unsigned) getuid());
    print_effective_capabilities();
    printf(", backend %s, passed:", s->backend);
    for (size_t i = 0; i < s->n_fds; i++)
        printf(" %s", s->fds[i].name);
    putchar('\n');
}

/* Blocks SIGTERM early, so that none is lost before hold(), and returns a descriptor that reads it. */
static int open_sigterm(void) {
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int drive_all(const struct session *s) {
    int r = 0;

    for (size_t i = 0; i < s->n_devices; i++)
        if (drive(s, &s->devices[i]) < 0)
            r = -1;
    return r;
}

static int drive_again(const struct session *s, const char *input, ssize_t n) {
    for (ssize_t i = 0; i < n; i++) {
        if (input[i] != '\n')
            continue;
        if (drive_all(s) < 0)
            return -1;
        puts("AGAIN");
        fflush(stdout);
    }
    return 0;
}

static int hold(const struct session *s, int sigterm, bool again, int request) {
    struct pollfd wait[] = {
            {.fd = STDIN_FILENO, .events = POLLIN}, {.fd = sigterm, .events = POLLIN},
            {.fd = request, .events = POLLIN}, /* -1 is ignored */
    };
    char input[256];
    ssize_t n;

    puts("READY");
    fflush(stdout);
    for (;;) {
        if (poll(wait, 3, -1) < 0 && errno != EINTR)
            return 0;
        if (wait[2].revents) {
            puts("REQUESTED");
            return fflush(stdout) == 0 ? 0 : 1;
        }
        if (wait[1].revents)
            return 0;
        if (!wait[0].revents)
            continue;
        n = read(STDIN_FILENO, input, sizeof input);
        if (n <= 0)
            return 0;
        if (again && drive_again(s, input, n) < 0)
            return 1;
    }
}

int main(int argc, char **argv) {
    static struct session s;
    bool again = argc == 2 && strcmp(argv[1], "--again") == 0;
    bool requests = argc == 2 && strcmp(argv[1], "--request") == 0;
    bool hold_open = again || requests || (argc == 2 && strcmp(argv[1], "--hold") == 0);
    bool resets = argc == 2 && strcmp(argv[1], "--hot-reset") == 0;
    int sigterm = -1, request = -1, r;

    if (argc > 1 && !hold_open && !resets) {
        fputs("usage: edu-dma [--hold | --again | --request | --hot-reset]\n", stderr);
        return 2;
    }
    if (hold_open && (sigterm = open_sigterm()) < 0)
        return fail("signalfd"), 1;
    if (read_passed_fds(&s) < 0 || read_devices(&s) < 0 || set_up(&s) < 0)
        return 1;

    introduce(&s);
    r = drive_all(&s) < 0 || (resets && hot_reset(&s, &s.devices[0]) < 0);
    fflush(stdout);
    if (r == 0 && requests && (request = open_interrupt(&s.devices[0], VFIO_PCI_REQ_IRQ_INDEX)) < 0)
        return 1;
    return r == 0 && hold_open ? hold(&s, sigterm, again, request) : r;
}
