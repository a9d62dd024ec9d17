/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "core/slot.h"

#define RETRY_USEC (1 * UINT64_C(1000000))
#define SLOTS_NAME "slots"
#define LOCK_WAIT_USEC (1 * UINT64_C(1000000))
#define LOCK_LOOK_USEC (10 * UINT64_C(1000))

typedef struct Slot {
    char id[CLAIM_ID_MAX]; /* of the claim that has it; "" */
    bool taken;            /* also by a damaged record */
    bool leftover;         /* it could not be freed */
    uint64_t generation;
    unsigned half; /* the newer one */
} Slot;

/* A record that is a file of its own. */
typedef struct RecordFile RecordFile;
struct RecordFile {
    RecordFile *next;
    char id[CLAIM_ID_MAX];
    bool leftover; /* it could not be removed */
};

struct Store {
    int directory;
    char boot_id[40];
    int fd;                 /* of the slots; -EBADF while there are none */
    sd_event_source *links; /* watches the number of links of that file; NULL: it must be asked */
    bool removed;           /* that file, by somebody else */
    Slot *slots;
    size_t n_slots, allocated;
    RecordFile *files;
    Keepsakes *quarantines;
    sd_event *event;
    sd_event_source *retry;
};

Store *store_free(Store *s) {
    if (!s)
        return NULL;
    while (s->files) {
        RecordFile *f = s->files;

        s->files = f->next;
        free(f);
    }
    sd_event_source_disable_unref(s->retry);
    sd_event_source_disable_unref(s->links);
    sd_event_unref(s->event);
    (void) safe_close(s->fd);
    (void) safe_close(s->directory);
    s->quarantines = keepsakes_free(s->quarantines);
    free(s->slots);
    free(s);
    return NULL;
}

/* Two daemons would take up the same claims. The kernel drops the lock with the last process that has the
 * file: with the daemon, or a moment later with a worker that the daemon was just starting when it was
 * killed. */
static int lock(int directory) {
    for (uint64_t usec = 0; flock(directory, LOCK_EX | LOCK_NB) < 0; usec += LOCK_LOOK_USEC) {
        if (errno != EWOULDBLOCK)
            return -errno;
        if (usec >= LOCK_WAIT_USEC)
            return -EBUSY;
        (void) usleep(LOCK_LOOK_USEC);
    }
    return 0;
}

int store_new(sd_event *event, const char *state_directory, Store **ret) {
    _cleanup_(store_freep) Store *s = NULL;
    _cleanup_close_ int parent = -EBADF;
    ssize_t n;
    int r;

    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (Store){.directory = -EBADF, .fd = -EBADF, .event = sd_event_ref(event)};
    s->quarantines = keepsakes_new(event);
    if (!s->quarantines)
        return -ENOMEM;
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
    r = lock(s->directory);
    if (r < 0)
        return r;
    n = read_attribute_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", s->boot_id, sizeof(s->boot_id));
    if (n < 0)
        return (int) n;
    *ret = TAKE_PTR(s);
    return 0;
}

/* ---- Slots ---- */

static Slot *find_slot(Store *s, const char *id) {
    for (size_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].taken && !s->slots[i].leftover && streq(s->slots[i].id, id))
            return &s->slots[i];
    return NULL;
}

static Slot *add_slot(Store *s) {
    if (s->n_slots == s->allocated) {
        size_t n = MAX(s->allocated * 2, (size_t) 16);
        Slot *slots = reallocarray(s->slots, n, sizeof(*slots));

        if (!slots)
            return NULL;
        s->slots = slots;
        s->allocated = n;
    }
    s->slots[s->n_slots] = (Slot){};
    return &s->slots[s->n_slots++];
}

static int write_slot(Store *s, const Slot *slot, unsigned half, const char *data, size_t size) {
    off_t offset = (off_t) ((size_t) (slot - s->slots) * SLOT_SIZE + half * SLOT_HALF_SIZE);
    ssize_t n;
    int r;

    r = failpoint("file", "record-write", "before");
    if (r < 0)
        return r;
    n = pwrite(s->fd, data, size, offset);
    if (n >= 0)
        (void) failpoint("file", "record-write", "after");
    return n < 0 ? -errno : (size_t) n < size ? -ENOSPC : 0;
}

static int count_links(Store *s) {
    struct stat st;

    if (fstat(s->fd, &st) < 0)
        return -errno;
    s->removed = st.st_nlink == 0;
    return 0;
}

static int on_links(sd_event_source *source, const struct inotify_event *event, void *userdata) {
    (void) count_links(userdata);
    return 0;
}

/* A watch saves a system call in each claim. It comes first in each turn of the loop, so that whatever is
 * done in this turn knows. */
static int watch_links(Store *s) {
    int r;

    r = s->event ? sd_event_add_inotify_fd(s->event, &s->links, s->fd, IN_ATTRIB, on_links, s) : 0;
    if (r >= 0 && s->links)
        r = sd_event_source_set_priority(s->links, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        s->links = sd_event_source_disable_unref(s->links);
    return count_links(s);
}

static int open_slots(Store *s) {
    int r;

    if (s->fd >= 0)
        return 0;
    r = failpoint("file", "slots-open", "before");
    if (r < 0)
        return r;
    /* One that is there already is opened by store_load(), which knows what is in it. */
    s->fd = openat(s->directory, SLOTS_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return s->fd < 0 ? -errno : watch_links(s);
}

/* Who removes the file while it is open takes the records away. */
static int check_linked(Store *s) {
    int r = s->links ? 0 : count_links(s);

    return r < 0 ? r : s->removed ? -ENOENT : 0;
}

static int take_slot(Store *s, const char *id, Slot **ret) {
    static const char zeros[SLOT_SIZE];
    Slot *slot = NULL;
    int r;

    for (size_t i = 0; !slot && i < s->n_slots; i++)
        if (!s->slots[i].taken)
            slot = &s->slots[i];
    if (!slot) {
        slot = add_slot(s);
        if (!slot)
            return -ENOMEM;
        r = write_slot(s, slot, 0, zeros, sizeof(zeros));
        if (r < 0) {
            s->n_slots--;
            return r;
        }
    }
    slot->taken = true;
    put_text(slot->id, sizeof(slot->id), id);
    *ret = slot;
    return 0;
}

/* One write over both halves: the first says that it is free, and nothing is left in the second. */
static int free_slot(Store *s, Slot *slot) {
    char data[SLOT_SIZE] = {};
    int r;

    (void) slot_fill(data, slot->generation + 1, "", 0);
    r = write_slot(s, slot, 0, data, sizeof(data));
    slot->leftover = r < 0;
    if (r >= 0)
        *slot = (Slot){.generation = slot->generation + 1};
    return r;
}

static int save_slot(Store *s, const char *id, const char *text, size_t length) {
    char half[SLOT_HALF_SIZE];
    Slot *slot = find_slot(s, id);
    bool is_new = !slot;
    size_t n;
    int r;

    r = open_slots(s);
    if (r >= 0)
        r = check_linked(s);
    if (r >= 0 && is_new)
        r = take_slot(s, id, &slot);
    if (r < 0)
        return r;
    n = slot_fill(half, slot->generation + 1, text, length);
    r = write_slot(s, slot, !slot->half, half, n);
    if (r >= 0) {
        slot->generation++;
        slot->half = !slot->half;
    } else if (is_new)
        (void) free_slot(s, slot);
    return r;
}

/* ---- Files ---- */

static RecordFile *find_file(Store *s, const char *id) {
    for (RecordFile *f = s->files; f; f = f->next)
        if (streq(f->id, id))
            return f;
    return NULL;
}

static int add_file(Store *s, const char *id) {
    RecordFile *f = malloc(sizeof(*f));

    if (!f)
        return -ENOMEM;
    *f = (RecordFile){.next = s->files};
    (void) snprintf(f->id, sizeof(f->id), "%s", id);
    s->files = f;
    return 0;
}

static int remove_file(Store *s, RecordFile *file) {
    _cleanup_free_ char *name = format_string("%s.json", file->id);

    (void) failpoint("file", "record-remove", "before");
    file->leftover = !name || (unlinkat(s->directory, name, 0) < 0 && errno != ENOENT);
    if (file->leftover)
        return name ? -errno : -ENOMEM;
    for (RecordFile **i = &s->files; *i; i = &(*i)->next)
        if (*i == file) {
            *i = file->next;
            break;
        }
    free(file);
    return 0;
}

static int save_file(Store *s, const char *id, const char *text, size_t length) {
    _cleanup_free_ char *name = format_string("%s.json", id);
    Slot *slot = find_slot(s, id);
    int r;

    r = name ? 0 : -ENOMEM;
    if (r >= 0 && !find_file(s, id))
        r = add_file(s, id);
    if (r >= 0)
        r = failpoint("file", "record-file", "before");
    if (r >= 0)
        r = write_file_atomic_at(s->directory, name, text, length, 0600);
    (void) failpoint("file", "record-file", "after");
    /* From now on the file counts, also when the slot cannot be freed. */
    if (r >= 0 && slot && free_slot(s, slot) < 0)
        log_warning("Claim %s: cannot free the slot of its record", id);
    return r;
}

static const char *keepsake_name(const char *id, char name[static QUARANTINE_NAME_MAX]) {
    (void) snprintf(name, QUARANTINE_NAME_MAX, QUARANTINE_STORE_PREFIX "%s", id);
    return name;
}

Keepsakes *store_keepsakes(Store *s) {
    return s->quarantines;
}

bool store_has_keepsake(const Store *s, const char *id) {
    char name[QUARANTINE_NAME_MAX];

    return keepsakes_has(s->quarantines, keepsake_name(id, name));
}

const char *store_boot_id(const Store *s) {
    return s->boot_id;
}

static int save(Store *s, const Claim *c, const char *text, size_t length) {
    /* What is a file stays one. */
    if (length > SLOT_TEXT_MAX || (s->files && find_file(s, c->id)))
        return save_file(s, c->id, text, length);
    return save_slot(s, c->id, text, length);
}

int store_save(Store *s, const Claim *c) {
    _cleanup_free_ char *text = claim_to_record(c, s->boot_id);
    char name[QUARANTINE_NAME_MAX];
    size_t length;
    int r;

    if (!text)
        return -ENOMEM;
    length = strlen(text);
    r = save(s, c, text, length);
    if (c->state == CLAIM_QUARANTINED)
        keepsakes_put(s->quarantines, keepsake_name(c->id, name), text, length);
    return r;
}

/* ---- Removing ---- */

static bool remove_leftovers(Store *s) {
    RecordFile *next;
    bool left = false;

    for (size_t i = 0; i < s->n_slots; i++)
        left = (s->slots[i].leftover && free_slot(s, &s->slots[i]) < 0) || left;
    for (RecordFile *f = s->files; f; f = next) {
        next = f->next;
        left = (f->leftover && remove_file(s, f) < 0) || left;
    }
    return left;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
    int r;

    if (!remove_leftovers(userdata))
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    r = sd_event_source_set_time_relative(source, RETRY_USEC);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ON); /* it was for once */
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

static void note_removal(Store *s, const char *id, int error) {
    if (error >= 0)
        return;
    log_warning_errno(error, "Cannot remove the record of claim %s, trying again later", id);
    error = arm_retry(s);
    if (error < 0)
        log_warning_errno(error, "Cannot remove the record of claim %s later", id);
}

/* The record last: it knows how far its claim is. */
int store_remove(Store *s, const char *id) {
    char name[QUARANTINE_NAME_MAX];
    Slot *slot = find_slot(s, id);
    RecordFile *file = s->files ? find_file(s, id) : NULL;
    int slot_error, file_error;

    keepsakes_drop(s->quarantines, keepsake_name(id, name));
    slot_error = slot ? free_slot(s, slot) : 0;
    file_error = file ? remove_file(s, file) : 0;
    note_removal(s, id, slot_error);
    note_removal(s, id, file_error);
    return MIN(slot_error, file_error);
}

/* ---- Reading ---- */

static void stored_claim_done(StoredClaim *entry) {
    claim_done(&entry->claim);
    salvaged_names_done(&entry->names);
    free(entry->problem);
}

void stored_claims_done(StoredClaims *claims) {
    for (size_t i = 0; i < claims->n; i++)
        stored_claim_done(&claims->entries[i]);
    free(claims->entries);
    *claims = (StoredClaims){};
}

StoredClaim *stored_claims_add(StoredClaims *claims) {
    if (claims->n == claims->allocated) {
        size_t n = MAX(claims->allocated * 2, (size_t) 16);
        StoredClaim *entries = reallocarray(claims->entries, n, sizeof(*entries));

        if (!entries)
            return NULL;
        claims->entries = entries;
        claims->allocated = n;
    }
    claims->entries[claims->n] = (StoredClaim){.claim = CLAIM_NULL, .slot = -1};
    return &claims->entries[claims->n++];
}

void stored_claims_remove(StoredClaims *claims, StoredClaim *entry) {
    stored_claim_done(entry);
    *entry = claims->entries[--claims->n];
}

/* What reading a file says about the file, and not about the state of this process or of the disk. */
static bool is_damage(int error) {
    return error == -EBADMSG || error == -E2BIG || error == -EINVAL || error == -EISDIR || error == -ELOOP;
}

static int parse_record(Store *s, const char *text, size_t size, StoredClaim *entry) {
    int r;

    r = claim_from_record(text, size, s->boot_id, &entry->claim, &entry->problem);
    if (r < 0 || !entry->id[0] || streq(entry->claim.id, entry->id))
        return r;
    claim_done(&entry->claim);
    entry->problem = strdup("it is the record of another claim");
    return -EBADMSG;
}

/* r: what came of reading and parsing it. 1: there is nothing of it, 0: it is what it is. */
static int judge(StoredClaim *entry, int r, const char *text, size_t size) {
    if (r >= 0)
        return 0;
    if (r == -ESTALE || r == -ENOENT) {
        log_info("Removing a claim record of an earlier boot");
        return 1;
    }
    if (!is_damage(r))
        return log_error_errno(r, "Cannot read a claim record");
    entry->damaged = true;
    return text ? salvage_names(text, size, &entry->names) : 0;
}

static int load_file(Store *s, const char *name, StoredClaims *claims) {
    StoredClaim *entry = stored_claims_add(claims);
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    int r;

    if (!entry)
        return -ENOMEM;
    (void) snprintf(entry->id, sizeof(entry->id), "%.*s", CLAIM_ID_MAX - 1, name);
    r = add_file(s, entry->id);
    if (r < 0)
        return r;
    r = read_file_at(s->directory, name, RECORD_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = parse_record(s, text, size, entry);
    r = judge(entry, r, text, size);
    if (r <= 0)
        return r;
    (void) store_remove(s, entry->id);
    claims->n--;
    return 0;
}

/* Exactly ID.json: a copy that somebody made is no record. */
static bool is_record(const char *name) {
    return strspn(name, "0123456789abcdef") == CLAIM_ID_MAX - 1 && streq(name + CLAIM_ID_MAX - 1, ".json");
}

static int load_files(Store *s, StoredClaims *claims) {
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
            r = load_file(s, name, claims);
        free(entries[i]);
    }
    free(entries);
    return r;
}

/* The names in a damaged slot are those of one claim, and there may have been more. */
static int load_damaged_slot(StoredClaim *entry, const SlotView *v) {
    int r;

    entry->damaged = true;
    entry->problem = strdup("its checksum does not fit");
    r = salvage_names(v->text, v->length, &entry->names);
    entry->names.complete = false;
    memcpy(entry->id, entry->names.id, sizeof(entry->id));
    return r;
}

static int load_slot(Store *s, const char *data, StoredClaims *claims) {
    Slot *slot = add_slot(s);
    StoredClaim *entry;
    SlotView v;
    int r;

    if (!slot)
        return -ENOMEM;
    slot_view(data, &v);
    *slot = (Slot){.taken = v.state != SLOT_FREE, .generation = v.generation, .half = v.half};
    if (!slot->taken)
        return 0;
    entry = stored_claims_add(claims);
    if (!entry)
        return -ENOMEM;
    entry->slot = slot - s->slots;
    if (v.state == SLOT_DAMAGED)
        return load_damaged_slot(entry, &v);
    r = parse_record(s, v.text, v.length, entry);
    r = judge(entry, r, v.text, v.length);
    if (r < 0)
        return r;
    /* A record that outgrew its slot is a file. */
    if (r > 0 || (!entry->damaged && find_file(s, entry->claim.id))) {
        claim_done(&entry->claim);
        claims->n--;
        note_removal(s, "of an earlier boot", free_slot(s, slot));
        return 0;
    }
    memcpy(entry->id, entry->damaged ? entry->names.id : entry->claim.id, sizeof(entry->id));
    if (!entry->damaged)
        memcpy(slot->id, entry->id, sizeof(slot->id));
    return 0;
}

/* The last slot may be cut: then there was no room for it, and nobody has it. */
static int load_slots(Store *s, StoredClaims *claims) {
    char data[SLOT_SIZE];
    ssize_t n;
    int r = 0;

    s->fd = openat(s->directory, SLOTS_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (s->fd < 0)
        return errno == ENOENT ? 0 : -errno;
    r = watch_links(s);
    for (off_t offset = 0; r >= 0; offset += SLOT_SIZE) {
        n = pread(s->fd, data, sizeof(data), offset);
        if (n < 0)
            return log_error_errno(-errno, "Cannot read the claim records");
        if (n == 0)
            break;
        memset(data + n, 0, sizeof(data) - (size_t) n);
        r = load_slot(s, data, claims);
    }
    return r;
}

int store_load(Store *s, StoredClaims *ret) {
    _cleanup_(stored_claims_done) StoredClaims claims = {};
    int r;

    r = load_files(s, &claims);
    if (r >= 0)
        r = load_slots(s, &claims);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(claims, (StoredClaims){});
    return 0;
}

static int copy_slot(Store *s, size_t slot, const char *name) {
    char data[SLOT_SIZE] = {};

    if (pread(s->fd, data, sizeof(data), (off_t) (slot * SLOT_SIZE)) < 0)
        return -errno;
    return write_file_atomic_at(s->directory, name, data, sizeof(data), 0600);
}

static int link_file(Store *s, const char *id, const char *copy) {
    _cleanup_free_ char *name = format_string("%s.json", id);

    if (!name)
        return -ENOMEM;
    (void) unlinkat(s->directory, copy, 0);
    return linkat(s->directory, name, s->directory, copy, 0) < 0 ? -errno : 0;
}

char *store_keep_copy(Store *s, const StoredClaim *c) {
    _cleanup_free_ char *copy =
            c->id[0] ? format_string("%s.json.bad", c->id) : format_string("slot-%zd.bad", c->slot);
    int r;

    if (c->kept)
        return NULL;
    r = !copy ? -ENOMEM : c->slot >= 0 ? copy_slot(s, (size_t) c->slot, copy) : link_file(s, c->id, copy);
    if (r < 0)
        log_warning_errno(r, "Cannot keep a copy of a damaged record");
    return r < 0 ? NULL : TAKE_PTR(copy);
}

void store_drop(Store *s, const StoredClaim *c) {
    Slot *slot = c->slot >= 0 ? &s->slots[c->slot] : NULL;

    if (slot && slot->taken && !slot->id[0])
        note_removal(s, c->id, free_slot(s, slot));
}
