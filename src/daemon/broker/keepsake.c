/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/keepsake.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/fd-store.h"

#define RETRY_USEC (10 * UINT64_C(1000))
#define NAME_SIZE 40U
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

typedef struct Keepsake Keepsake;
struct Keepsake {
    Keepsake *next;
    char name[NAME_SIZE];
    int unsent; /* owned; -EBADF: systemd has it */
};

struct Keepsakes {
    Keepsake *list;
    sd_event *event;
    sd_event_source *retry;
};

Keepsakes *keepsakes_new(sd_event *event) {
    Keepsakes *k = malloc(sizeof(*k));

    if (k)
        *k = (Keepsakes){.event = sd_event_ref(event)};
    return k;
}

Keepsakes *keepsakes_free(Keepsakes *k) {
    if (!k)
        return NULL;
    while (k->list) {
        Keepsake *s = k->list;

        k->list = s->next;
        (void) safe_close(s->unsent);
        free(s);
    }
    sd_event_source_disable_unref(k->retry);
    sd_event_unref(k->event);
    free(k);
    return NULL;
}

static Keepsake **find(Keepsakes *k, const char *name) {
    Keepsake **i = &k->list;

    while (*i && !streq((*i)->name, name))
        i = &(*i)->next;
    return i;
}

static int make(const char *name, const char *text, size_t size, int *ret) {
    _cleanup_close_ int fd = make_memfd(name, MFD_ALLOW_SEALING);
    ssize_t n;

    if (fd < 0)
        return fd;
    n = pwrite(fd, text, size, 0);
    if (n < 0 || (size_t) n < size)
        return n < 0 ? -errno : -ENOSPC;
    if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    *ret = TAKE_FD(fd);
    return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

static void send_unsent(Keepsakes *k) {
    int r = 0;

    for (Keepsake *s = k->list; s && r >= 0; s = s->next)
        if (s->unsent >= 0) {
            r = fd_store_add(s->name, s->unsent);
            if (r >= 0)
                s->unsent = safe_close(s->unsent);
        }
    k->retry = sd_event_source_disable_unref(k->retry);
    if (r < 0 && k->event)
        (void) sd_event_add_time_relative(k->event, &k->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, k);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
    send_unsent(userdata);
    return 0;
}

int keepsakes_adopt(Keepsakes *k, const char *name) {
    Keepsake *s;

    if (*find(k, name))
        return 0;
    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (Keepsake){.next = k->list, .unsent = -EBADF};
    put_text(s->name, sizeof(s->name), name);
    k->list = s;
    return 0;
}

bool keepsakes_has(const Keepsakes *k, const char *name) {
    return *find((Keepsakes *) k, name);
}

/* If none can be made, the old one stays: it names the same devices. */
static int put(Keepsakes *k, const char *name, const char *text, size_t size) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = make(name, text, size, &fd);
    if (r < 0)
        return r;
    keepsakes_drop(k, name);
    r = keepsakes_adopt(k, name);
    if (r < 0)
        return r;
    k->list->unsent = TAKE_FD(fd);
    send_unsent(k);
    return 0;
}

void keepsakes_put(Keepsakes *k, const char *name, const char *text, size_t size) {
    int r = put(k, name, text, size);

    if (r < 0)
        log_warning_errno(r, "Cannot make a copy of \"%s\" that outlives the files in /run", name);
}

void keepsakes_drop(Keepsakes *k, const char *name) {
    Keepsake **i = find(k, name), *s = *i;

    if (!s)
        return;
    *i = s->next;
    if (s->unsent < 0)
        fd_store_remove(name);
    (void) safe_close(s->unsent);
    free(s);
}

/* Its place is shared with whoever else has it. */
int keepsake_read(int fd, size_t max, char **ret, size_t *ret_size) {
    _cleanup_free_ char *text = NULL;
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EBADMSG;
    if (st.st_size < 0 || (uint64_t) st.st_size > max)
        return -E2BIG;
    text = malloc((size_t) st.st_size + 1);
    if (!text)
        return -ENOMEM;
    n = pread(fd, text, (size_t) st.st_size, 0);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    *ret_size = (size_t) n;
    *ret = TAKE_PTR(text);
    return 0;
}

int keepsake_find(const char *name) {
    char **names = NULL;
    int n = sd_listen_fds_with_names(/* unset_environment= */ 0, &names), found = -ENOENT;

    for (int i = 0; i < n; i++) {
        if (found < 0 && streq(names[i], name))
            found = SD_LISTEN_FDS_START + i;
        free(names[i]);
    }
    free(names);
    return found;
}
