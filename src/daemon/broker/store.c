/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

struct Store {
    int directory;
    char boot_id[40];
};

Store *store_free(Store *s) {
    if (!s)
        return NULL;
    (void) safe_close(s->directory);
    free(s);
    return NULL;
}

int store_new(const char *state_directory, Store **ret) {
    _cleanup_(store_freep) Store *s = NULL;
    _cleanup_close_ int parent = -EBADF;
    ssize_t n;

    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (Store){.directory = -EBADF};
    if (mkdir(state_directory, 0755) < 0 && errno != EEXIST)
        return -errno;
    parent = open(state_directory, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    if (parent < 0)
        return -errno;
    if (mkdirat(parent, "claims", 0700) < 0 && errno != EEXIST)
        return -errno;
    s->directory = openat(parent, "claims", O_DIRECTORY | O_CLOEXEC | O_RDONLY | O_NOFOLLOW);
    if (s->directory < 0)
        return -errno;
    n = read_attribute_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", s->boot_id, sizeof(s->boot_id));
    if (n < 0)
        return (int) n;
    *ret = TAKE_PTR(s);
    return 0;
}

int store_save(Store *s, const Claim *c) {
    _cleanup_free_ char *text = claim_to_record(c, s->boot_id), *name = format_string("%s.json", c->id);

    if (!text || !name)
        return -ENOMEM;
    return write_file_atomic_at(s->directory, name, text, strlen(text), 0600);
}

void store_remove(Store *s, const char *id) {
    _cleanup_free_ char *name = format_string("%s.json", id);

    if (name && unlinkat(s->directory, name, 0) < 0 && errno != ENOENT)
        log_warning_errno(-errno, "Cannot remove the record of claim %s", id);
}

/* Kept for the operator, out of the way of the next start. */
static void set_aside(Store *s, const char *name) {
    _cleanup_free_ char *bad = format_string("%s.bad", name);

    if (bad)
        (void) renameat(s->directory, name, s->directory, bad);
}

static void load_one(Store *s, const char *name, int (*found)(void *userdata, Claim *c), void *userdata) {
    _cleanup_free_ char *text = NULL;
    Claim c = CLAIM_NULL;
    size_t size = 0;
    int r;

    r = read_file_at(s->directory, name, RECORD_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = claim_from_record(text, size, s->boot_id, &c);
    if (r >= 0 && strncmp(name, c.id, CLAIM_ID_MAX - 1) != 0) {
        claim_done(&c);
        r = -EBADMSG;
    }
    if (r >= 0)
        r = found(userdata, &c);
    if (r == -ESTALE) {
        log_info("The claim record %s is of an earlier boot: nothing of it is left, removing it", name);
        (void) unlinkat(s->directory, name, 0);
    } else if (r < 0) {
        log_warning_errno(r, "The claim record %s is damaged; its devices stay as they are, look at %s.bad",
                name, name);
        set_aside(s, name);
    }
}

int store_load(Store *s, int (*found)(void *userdata, Claim *c), void *userdata) {
    struct dirent **entries = NULL;
    int n;

    /* Read whole first: the callbacks write into the directory. */
    n = scandirat(s->directory, ".", &entries, NULL, alphasort);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');

        if (name[0] == '.' && name[1] == '#')
            (void) unlinkat(s->directory, name, 0); /* half written when we died */
        else if (dot && streq(dot, ".json"))
            load_one(s, name, found, userdata);
        free(entries[i]);
    }
    free(entries);
    return 0;
}
