/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/kernel-module.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define FILE_MAX (8U << 20)
#define CANDIDATES_MAX 512U

static bool is_same_letter(char a, char b) {
    return (a == '-' ? '_' : a) == (b == '-' ? '_' : b);
}

/* Does the line that begins here name kernel/…/NAME.ko, possibly compressed? */
static bool line_has(const char *line, const char *name, size_t n_name) {
    size_t n = strcspn(line, ":\n"), at = n;

    while (at > 0 && line[at - 1] != '/')
        at--;
    if (n - at < n_name + strlen(".ko") || strncmp(line + at + n_name, ".ko", strlen(".ko")) != 0)
        return false;
    for (size_t i = 0; i < n_name; i++)
        if (!is_same_letter(line[at + i], name[i]))
            return false;
    return true;
}

static const char *next_line(const char *line) {
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

static char *read_list(const char *modules, const char *list) {
    _cleanup_free_ char *path = format_string("%s/%s", modules, list);
    char *text = NULL;

    return path && read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL) >= 0 ? text : NULL;
}

KernelModule kernel_module_find_in(const char *modules, const char *name) {
    static const char *const lists[] = {"modules.builtin", "modules.dep"};
    KernelModule found = MODULE_UNKNOWN;

    for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
        _cleanup_free_ char *text = read_list(modules, lists[i]);

        for (const char *line = text; line && *line; line = next_line(line))
            if (line_has(line, name, strlen(name)))
                return i == 0 ? MODULE_PRESENT : MODULE_AVAILABLE;
        if (text)
            found = MODULE_MISSING;
    }
    return found;
}

/* ---- Suggestions ---- */

typedef struct Candidates {
    char *names[CANDIDATES_MAX + 1]; /* owned, ended by NULL */
    size_t n;
} Candidates;

static void candidates_done(Candidates *c) {
    for (size_t i = 0; i < c->n; i++)
        free(c->names[i]);
}

static void add_candidate(Candidates *c, const char *name, size_t n) {
    if (c->n < CANDIDATES_MAX && (c->names[c->n] = strndup(name, n)))
        c->n++;
}

/* Suggests one of the loaded drivers and those of VFIO, for which pins are usually made. */
static char *find_near(const char *modules, const char *drivers, const char *name) {
    _cleanup_(candidates_done) Candidates c = {};
    _cleanup_free_ char *text = read_list(modules, "modules.dep");
    _cleanup_closedir_ DIR *d = NULL;
    const struct dirent *entry;
    const char *near;

    if (open_directory_at(AT_FDCWD, drivers, &d) >= 0)
        while ((entry = readdir(d)))
            if (entry->d_name[0] != '.')
                add_candidate(&c, entry->d_name, strlen(entry->d_name));
    for (const char *line = text; line && *line; line = next_line(line)) {
        size_t n = strcspn(line, ":\n"), at = n;
        const char *vfio = strstr(line, "/vfio/");

        while (at > 0 && line[at - 1] != '/')
            at--;
        if (vfio && vfio < line + n)
            add_candidate(&c, line + at, strcspn(line + at, ".:\n"));
    }
    near = nearest(name, (const char *const *) c.names);
    return near ? strdup(near) : NULL;
}

KernelModule kernel_driver_find_in(
        const char *modules, const char *drivers, const char *name, char **ret_near) {
    _cleanup_free_ char *loaded = format_string("%s/%s", drivers, name);
    KernelModule found;

    *ret_near = NULL;
    if (loaded && access(loaded, F_OK) == 0)
        return MODULE_PRESENT;
    found = kernel_module_find_in(modules, name);
    if (found == MODULE_MISSING)
        *ret_near = find_near(modules, drivers, name);
    return found;
}

/* ---- This kernel ---- */

static char *modules_of_this_kernel(void) {
    struct utsname kernel;

    return uname(&kernel) < 0 ? NULL : format_string("/lib/modules/%s", kernel.release);
}

KernelModule kernel_module_find(const char *name) {
    _cleanup_free_ char *modules = modules_of_this_kernel(), *loaded = format_string("/sys/module/%s", name);

    for (char *c = loaded ? loaded + strlen("/sys/module/") : NULL; c && *c; c++)
        *c = *c == '-' ? '_' : *c;
    if (loaded && access(loaded, F_OK) == 0)
        return MODULE_PRESENT;
    return modules ? kernel_module_find_in(modules, name) : MODULE_UNKNOWN;
}

KernelModule kernel_driver_find(const char *name, char **ret_near) {
    _cleanup_free_ char *modules = modules_of_this_kernel();

    *ret_near = NULL;
    if (kernel_module_find(name) == MODULE_PRESENT)
        return MODULE_PRESENT;
    return modules ? kernel_driver_find_in(modules, "/sys/bus/pci/drivers", name, ret_near) : MODULE_UNKNOWN;
}
