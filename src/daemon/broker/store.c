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

#define RETRY_USEC (1 * UINT64_C(1000000))

/* The name of a file that could not be removed. */
typedef struct Leftover Leftover;
struct Leftover {
    Leftover *next;
    char id[CLAIM_ID_MAX];
};

struct Store {
    int directory;
    char boot_id[40];
    sd_event *event;
    sd_event_source *retry;
    Leftover *leftovers; /* owned; one for each claim whose record could not be removed */
};

Store *store_free(Store *s) {
    if (!s)
        return NULL;
    while (s->leftovers) {
        Leftover *l = s->leftovers;

        s->leftovers = l->next;
        free(l);
    }
    sd_event_source_disable_unref(s->retry);
    sd_event_unref(s->event);
    (void) safe_close(s->directory);
    free(s);
    return NULL;
}

int store_new(sd_event *event, const char *state_directory, Store **ret) {
    _cleanup_(store_freep) Store *s = NULL;
    _cleanup_close_ int parent = -EBADF;
    ssize_t n;

    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (Store){.directory = -EBADF, .event = sd_event_ref(event)};
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

static int remove_file(Store *s, const char *id) {
    _cleanup_free_ char *name = format_string("%s.json", id);

    if (!name)
        return -ENOMEM;
    return unlinkat(s->directory, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static void remove_leftovers(Store *s) {
    for (Leftover **i = &s->leftovers; *i;) {
        Leftover *l = *i;

        if (remove_file(s, l->id) < 0) {
            i = &l->next;
            continue;
        }
        *i = l->next;
        free(l);
    }
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
    Store *s = userdata;

    remove_leftovers(s);
    if (!s->leftovers)
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return sd_event_source_set_time_relative(source, RETRY_USEC);
}

static int arm_retry(Store *s) {
    int r;

    if (!s->event)
        return 0;
    if (!s->retry)
        return sd_event_add_time_relative(s->event, &s->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, s);
    r = sd_event_source_set_time_relative(s->retry, RETRY_USEC);
    return r < 0 ? r : sd_event_source_set_enabled(s->retry, SD_EVENT_ON);
}

void store_remove(Store *s, const char *id) {
    int r = remove_file(s, id);
    Leftover *l;

    if (r >= 0)
        return;
    log_warning_errno(r, "Cannot remove the record of claim %s, trying again later", id);
    l = malloc(sizeof(*l));
    if (!l)
        return;
    *l = (Leftover){.next = s->leftovers};
    (void) snprintf(l->id, sizeof(l->id), "%s", id);
    s->leftovers = l;
    r = arm_retry(s);
    if (r < 0)
        log_warning_errno(r, "Cannot remove the record of claim %s later", id);
}

/* ---- Reading ---- */

void stored_claims_done(StoredClaims *claims) {
    for (size_t i = 0; i < claims->n; i++) {
        claim_done(&claims->entries[i].claim);
        salvaged_names_done(&claims->entries[i].names);
        free(claims->entries[i].problem);
    }
    free(claims->entries);
    *claims = (StoredClaims){};
}

static StoredClaim *add_entry(StoredClaims *claims) {
    if (claims->n == claims->allocated) {
        size_t n = MAX(claims->allocated * 2, (size_t) 16);
        StoredClaim *entries = reallocarray(claims->entries, n, sizeof(*entries));

        if (!entries)
            return NULL;
        claims->entries = entries;
        claims->allocated = n;
    }
    claims->entries[claims->n] = (StoredClaim){.claim = CLAIM_NULL};
    return &claims->entries[claims->n++];
}

/* What reading a file says about the file, and not about the state of this process or of the disk. */
static bool is_damage(int error) {
    return error == -EBADMSG || error == -E2BIG || error == -EINVAL || error == -EISDIR || error == -ELOOP;
}

static int read_record(Store *s, const char *name, StoredClaim *entry, char **ret_text, size_t *ret_size) {
    int r;

    r = read_file_at(s->directory, name, RECORD_SIZE_MAX, ret_text, ret_size);
    if (r >= 0)
        r = claim_from_record(*ret_text, *ret_size, s->boot_id, &entry->claim, &entry->problem);
    if (r < 0 || streq(entry->claim.id, entry->id))
        return r;
    entry->problem = strdup("it is that of another claim");
    return -EBADMSG;
}

static int load_one(Store *s, const char *name, StoredClaims *claims) {
    StoredClaim *entry = add_entry(claims);
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    int r;

    if (!entry)
        return -ENOMEM;
    (void) snprintf(entry->id, sizeof(entry->id), "%.*s", CLAIM_ID_MAX - 1, name);
    r = read_record(s, name, entry, &text, &size);
    if (r >= 0)
        return 0;
    if (r == -ESTALE || r == -ENOENT) {
        log_info("The claim record %s is of an earlier boot: nothing of it is left, removing it", name);
        store_remove(s, entry->id);
        claims->n--;
        return 0;
    }
    if (!is_damage(r))
        return log_error_errno(r, "Cannot read the claim record %s", name);
    claim_done(&entry->claim);
    entry->damaged = true;
    return text ? salvage_names(text, size, &entry->names) : 0;
}

/* Exactly ID.json: a copy that somebody made is no record. */
static bool is_record(const char *name) {
    return strspn(name, "0123456789abcdef") == CLAIM_ID_MAX - 1 && streq(name + CLAIM_ID_MAX - 1, ".json");
}

int store_load(Store *s, StoredClaims *ret) {
    _cleanup_(stored_claims_done) StoredClaims claims = {};
    struct dirent **entries = NULL;
    int n, r = 0;

    n = scandirat(s->directory, ".", &entries, NULL, alphasort);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;

        if (name[0] == '.' && name[1] == '#')
            (void) unlinkat(s->directory, name, 0); /* half written when we died */
        else if (r >= 0 && is_record(name))
            r = load_one(s, name, &claims);
        free(entries[i]);
    }
    free(entries);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(claims, (StoredClaims){});
    return 0;
}

void store_keep_copy(Store *s, const char *id) {
    _cleanup_free_ char *name = format_string("%s.json", id), *copy = format_string("%s.json.bad", id);

    if (!name || !copy)
        return;
    (void) unlinkat(s->directory, copy, 0);
    if (linkat(s->directory, name, s->directory, copy, 0) < 0)
        log_warning_errno(-errno, "Cannot keep a copy of the record of claim %s", id);
}
