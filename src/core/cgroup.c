/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cgroup.h"

#include "base/str.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define VALID_IN_UNITS LETTERS "0123456789:-_.\\"

/* Parses "12:cpu,cpuacct:/path"; the list of controllers is "" for the unified hierarchy. */
static const char *path_of_line(const char *line, bool unified) {
    const char *controllers, *path, *end;

    if (unified)
        return startswith(line, "0::");
    controllers = strchrnul(line, ':');
    path = *controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return NULL;
    for (const char *p = controllers + 1; p <= path; p = end + 1) {
        end = p + strcspn(p, ",:");
        if ((size_t) (end - p) == strlen("name=systemd") && startswith(p, "name=systemd"))
            return path + 1;
    }
    return NULL;
}

static bool has_control_characters(const char *s) {
    for (; *s; s++)
        if ((unsigned char) *s < 0x20 || *s == 0x7F)
            return true;
    return false;
}

static char *cut_suffix(char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);

    if (n < k || !streq(s + n - k, suffix))
        return NULL;
    s[n - k] = '\0';
    return s;
}

int cgroup_of_process(const char *text, bool unified, char **ret) {
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        _cleanup_free_ char *line = strndup(text, (size_t) (end - text)), *path = NULL;
        const char *found;

        if (!line)
            return -ENOMEM;
        found = path_of_line(line, unified);
        if (!found)
            continue;
        if (*found != '/' || has_control_characters(found) || !utf8_is_valid(found))
            return -EBADMSG;
        path = strdup(found);
        if (!path)
            return -ENOMEM;
        (void) cut_suffix(path, " (deleted)"); /* the kernel's mark for a removed group */
        *ret = TAKE_PTR(path);
        return 0;
    }
    return -ENODATA;
}

void cgroup_cut_to_root(char *path_of_init) {
    if (!cut_suffix(path_of_init, "/init.scope"))
        (void) cut_suffix(path_of_init, "/system.slice");
}

/* "foo.service" and "foo@bar.service", but not the template "foo@.service". */
static bool is_unit_name(const char *name) {
    static const char *const types[] = {"service", "mount", "swap", "socket", "target", "device", "automount",
            "timer", "path", "slice", "scope"};
    const char *dot = strrchr(name, '.'), *at;
    bool known = false;

    for (size_t i = 0; dot && i < ELEMENTSOF(types); i++)
        known = known || streq(dot + 1, types[i]);
    if (!known || dot == name || strspn(name, "@" VALID_IN_UNITS) < strlen(name))
        return false;
    at = strchr(name, '@');
    return !at || (at > name && at + 1 < dot);
}

/* systemd escapes a name with '_' when the kernel would reserve it for its own files. */
static bool take_unit_name(const char *component, size_t n, char ret[static UNIT_NAME_SIZE]) {
    if (n > 0 && *component == '_') {
        component++;
        n--;
    }
    if (n == 0 || n >= UNIT_NAME_SIZE)
        return false;
    memcpy(ret, component, n);
    ret[n] = '\0';
    return is_unit_name(ret);
}

static bool is_named_slice(const char *unit) {
    return streq(strrchr(unit, '.'), ".slice");
}

bool cgroup_is_slice(const char *component, size_t n, char ret[static UNIT_NAME_SIZE]) {
    return take_unit_name(component, n, ret) && is_named_slice(ret) && !strchr(ret, '@');
}

int cgroup_find_unit(const char *path, const char *root, char ret[static UNIT_NAME_SIZE]) {
    const char *below = startswith(path, root);
    char name[UNIT_NAME_SIZE];

    if (below && (*below == '/' || *below == '\0'))
        path = below;
    for (;;) {
        size_t n;

        path += strspn(path, "/");
        n = strcspn(path, "/");
        if (cgroup_is_slice(path, n, name)) {
            path += n;
            continue;
        }
        if (!take_unit_name(path, n, name) || is_named_slice(name))
            return -ENXIO;
        strcpy(ret, name);
        return 0;
    }
}
