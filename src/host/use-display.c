/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Do people look at this device? It is in use if it is the firmware's boot display and something draws on it:
 * a driver of the host, or the kernel on the firmware's framebuffer. VGA devices have `boot_vga`. On newer
 * kernels others (class 0380, as many integrated GPUs) have `boot_display`, in the device or in its DRM card.
 * Without either, a lit internal panel or the console's framebuffer shows it. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/use.h"

/* Returns 1 if the text is not "0", 0, or negative errno. */
static int read_flag(int fd, const char *name) {
    char text[16];
    ssize_t n = read_attribute_at(fd, name, text, sizeof(text));

    if (n == -ENOENT)
        return 0;
    return n < 0 ? (int) n : !streq(text, "0");
}

static bool attribute_is(int fd, const char *name, const char *value) {
    char text[64];

    return read_attribute_at(fd, name, text, sizeof(text)) >= 0 && streq(text, value);
}

/* Before 6.9 the kernel does not know the framebuffer's device: it is on the platform bus. */
static int check_firmware_framebuffer(UseSearch *s) {
    static const char *const names[] = {"efi-framebuffer", "simple-framebuffer", "vesa-framebuffer"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        char path[80];

        snprintf(path, sizeof(path), "/sys/devices/platform/%s.0/driver", names[i]);
        if (access(path, F_OK) == 0)
            return use_found(s, "boot display (the kernel draws on its %s)", names[i]);
    }
    return 0;
}

int use_check_display(UseSearch *s, int fd) {
    char driver[64];
    struct stat st;
    ssize_t n;
    int r;

    if (!(s->wanted & USE_BY_HOST))
        return 0;
    r = read_flag(fd, "boot_vga");
    if (r == 0)
        r = read_flag(fd, "boot_display");
    if (r <= 0)
        return r;

    n = read_link_basename_at(fd, "driver", driver, sizeof(driver));
    if (n == -ENOENT)
        return check_firmware_framebuffer(s);
    if (n < 0)
        return (int) n;
    if (streq(driver, "pci-stub") || fstatat(fd, "vfio-dev", &st, 0) == 0)
        return 0;
    return use_found(s, "boot display (driven by %s)", driver);
}

/* "card1-eDP-1" */
static bool is_internal_panel(const char *connector) {
    return strstr(connector, "-eDP-") || strstr(connector, "-LVDS-") || strstr(connector, "-DSI-") ||
            strstr(connector, "-DPI-");
}

/* A card, or one of its connectors. */
int use_check_drm(UseSearch *s, int fd, const char *name) {
    int r;

    if (!(s->wanted & USE_BY_HOST))
        return 0;
    r = read_flag(fd, "boot_display");
    if (r != 0)
        return r < 0 ? r : use_found(s, "boot display (%s)", name);
    if (is_internal_panel(name) && attribute_is(fd, "status", "connected") &&
            attribute_is(fd, "enabled", "enabled"))
        return use_found(s, "internal panel that is lit (%s)", name);
    return 0;
}

/* Does the kernel's console draw on a framebuffer? */
static int console_has_framebuffer(void) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(AT_FDCWD, "/sys/class/vtconsole", &d);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    while ((r = use_next_entry(d, &e)) > 0) {
        _cleanup_close_ int fd = openat(dirfd(d), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char name[64];

        if (fd >= 0 && attribute_is(fd, "bind", "1") &&
                read_attribute_at(fd, "name", name, sizeof(name)) >= 0 && strstr(name, "frame buffer"))
            return 1;
    }
    return r;
}

/* The first framebuffer is the console's, unless somebody has moved it (con2fbmap). */
int use_check_framebuffer(UseSearch *s, int fd, const char *name) {
    int r;

    if (!(s->wanted & USE_BY_HOST) || !streq(name, "fb0"))
        return 0;
    r = console_has_framebuffer();
    return r > 0 ? use_found(s, "console (framebuffer %s)", name) : r;
}
