/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* left-over: what one owner of a device leaves in it for the next.
 *
 *   left-over leave   moves a pattern from memory into the device by DMA
 *   left-over find    moves what the device holds into memory by DMA, and prints how much of it is the
 * pattern
 *
 * It is handed its devices as edu-dma is. Two kinds of devices have memory of their own that a DMA engine of
 * theirs reaches. QEMU's `edu` has a buffer, and knows no reset. Its `lsi53c895a` runs small programs
 * ("SCRIPTS") that it reads from memory; these load and store its scratch registers, which a reset clears.
 * Exit status: 0 done, 1 a device did not do it, 2 wrong use. */

#include <poll.h>

#include "session.h"

enum {
    EDU_PCI_ID = 0x11e81234,
    EDU_DMA = 0x80, /* source, destination, count, command: the lower halves of 64 bits each */
    EDU_DMA_START = 1 << 0,
    EDU_DMA_FROM_DEVICE = 1 << 1,
    EDU_BUFFER = 0x40000,
    EDU_LENGTH = 2048,

    LSI_PCI_ID = 0x00121000,
    LSI_ISTAT = 0x14,
    LSI_ISTAT_DMA = 1 << 0, /* the program ended */
    LSI_DSP = 0x2c,         /* a write starts the program there */
    LSI_SCRATCH = 0x5c,
    LSI_LENGTH = 0x44,
    LSI_STORE = 0xe0, /* the first byte of instructions */
    LSI_LOAD = 0xe1,

    UNTOUCHED = 0xff,
    PATIENCE_MS = 20000,
};

typedef int (*mover)(const struct session *s, const struct device *d, bool leave);

static uint8_t pattern(size_t i) {
    return (uint8_t) (0x40 | ((i * 13 + 7) & 0x3f)); /* neither 0 nor UNTOUCHED */
}

static int set_register(const struct device *d, uint32_t bar, unsigned reg, uint32_t value) {
    struct vfio_region_info region;

    if (get_region(d, bar, &region) < 0)
        return -1;
    if (pwrite(d->fd, &value, sizeof value, (off_t) (region.offset + reg)) != (ssize_t) sizeof value)
        return fail("%s: cannot write its register %#x", d->name, reg);
    return 0;
}

/* Waits until all of the bits have this value. */
static int await_register(const struct device *d, uint32_t bar, unsigned reg, uint32_t bits, uint32_t value) {
    struct vfio_region_info region;
    uint32_t seen = 0;

    if (get_region(d, bar, &region) < 0)
        return -1;
    for (int ms = 0; ms < PATIENCE_MS; ms += 10) {
        if (pread(d->fd, &seen, sizeof seen, (off_t) (region.offset + reg)) != (ssize_t) sizeof seen)
            return fail("%s: cannot read its register %#x", d->name, reg);
        if ((seen & bits) == value)
            return 0;
        (void) poll(NULL, 0, 10);
    }
    errno = 0;
    return fail("%s: its register %#x stays %#x", d->name, reg, seen);
}

static int edu_move(const struct session *s, const struct device *d, bool leave) {
    const uint32_t values[] = {
            leave ? IOVA : EDU_BUFFER,
            leave ? EDU_BUFFER : IOVA,
            EDU_LENGTH,
            EDU_DMA_START | (leave ? 0 : EDU_DMA_FROM_DEVICE),
    };

    (void) s;
    for (unsigned i = 0; i < 4; i++)
        if (set_register(d, VFIO_PCI_BAR0_REGION_INDEX, EDU_DMA + 8 * i, values[i]) < 0)
            return -1;
    return await_register(d, VFIO_PCI_BAR0_REGION_INDEX, EDU_DMA + 24, EDU_DMA_START, 0);
}

/* The program is in the second page: an instruction of two words for each register, and the end. */
static int lsi_move(const struct session *s, const struct device *d, bool leave) {
    uint32_t *program = (uint32_t *) (void *) (s->buffer + PAGE);
    const uint32_t opcode = (uint32_t) (leave ? LSI_LOAD : LSI_STORE) << 24;

    for (uint32_t i = 0; i < LSI_LENGTH; i += 4) {
        *program++ = opcode | (LSI_SCRATCH + i) << 16 | 4;
        *program++ = IOVA + i;
    }
    *program++ = 0x98080000; /* it ends with an interrupt in any case */
    *program++ = 0;
    if (set_register(d, VFIO_PCI_BAR1_REGION_INDEX, LSI_DSP, IOVA + PAGE) < 0)
        return -1;
    return await_register(d, VFIO_PCI_BAR1_REGION_INDEX, LSI_ISTAT, LSI_ISTAT_DMA, LSI_ISTAT_DMA);
}

static int find(const struct session *s, const struct device *d, size_t length, mover move, size_t *ret) {
    size_t found = 0;

    memset(s->buffer, UNTOUCHED, length);
    if (move(s, d, false) < 0)
        return -1;
    errno = 0;
    for (size_t i = 0; i < length; i++) {
        if (s->buffer[i] == UNTOUCHED)
            return fail("%s: byte %zu did not come from the device", d->name, i);
        found += s->buffer[i] == pattern(i);
    }
    *ret = found;
    return 0;
}

static int visit(const struct session *s, const struct device *d, bool leave) {
    size_t length, found = 0;
    mover move;
    uint32_t id;

    if (read_pci_id(d, &id) < 0 || enable_bus_master(d) < 0)
        return -1;
    errno = 0;
    if (id != EDU_PCI_ID && id != LSI_PCI_ID)
        return fail("%s: %08x is no device that I know", d->name, id);
    move = id == EDU_PCI_ID ? edu_move : lsi_move;
    length = id == EDU_PCI_ID ? EDU_LENGTH : LSI_LENGTH;
    for (size_t i = 0; leave && i < length; i++)
        s->buffer[i] = pattern(i);
    if ((leave && move(s, d, true) < 0) || find(s, d, length, move, &found) < 0)
        return -1;
    printf("left-over: %s: found %zu of %zu bytes\n", d->name, found, length);
    return 0;
}

int main(int argc, char **argv) {
    static struct session s;
    bool leave = argc == 2 && strcmp(argv[1], "leave") == 0;

    if (argc != 2 || (!leave && strcmp(argv[1], "find") != 0)) {
        fputs("usage: left-over leave|find\n", stderr);
        return 2;
    }
    if (read_passed_fds(&s) < 0 || read_devices(&s) < 0 || set_up(&s) < 0)
        return 1;
    for (size_t i = 0; i < s.n_devices; i++)
        if (visit(&s, &s.devices[i], leave) < 0)
            return 1;
    return 0;
}
