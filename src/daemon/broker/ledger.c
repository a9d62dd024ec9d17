/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fields.h"
#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/keepsake.h"

#define FILE_NAME "taints.json"
#define FILE_SIZE_MAX (1024U * 1024)
#define DEEDS_MAX (TAINTS_MAX - 64U) /* so that findings always have room */
#define LOOK_INTERVAL_USEC (1000 * UINT64_C(1000))
/* A user of a device without an IOMMU can make the kernel's switch change at any rate. */
#define LINES_PER_MINUTE 20U
#define MINUTE_USEC (60 * UINT64_C(1000000))

struct Ledger {
    sd_event *event;
    sd_event_source *look;
    ledger_changed_t changed;
    taint_is_granted_t is_granted;
    void *userdata;
    Keepsakes *kept;
    int directory;
    char boot_id[40];
    uint64_t looked_usec, minute_usec; /* CLOCK_MONOTONIC */
    unsigned lines;                    /* of this minute */
    TaintList list;
    TaintList found; /* a buffer for the next look */
};

/* ---- the file ---- */

typedef struct LedgerFile {
    char boot_id[40];
    TaintList *taints; /* borrowed */
} LedgerFile;

/* One more entry than the maximum counts those that did not fit. We never write more. */
static int read_taints(FieldReader *r, const JsonNode *value, void *place) {
    TaintList *list = *(TaintList **) place;
    int e = taint_list_read(r, value, list);

    return e >= 0 && list->more > 1 ? fields_fail(r, value, "more than %u entries", TAINTS_MAX + 1) : e;
}

static void write_taints(StrBuf *b, const void *place) {
    taint_list_write(b, *(TaintList *const *) place);
}

static const Field file_fields[] = {
        FIELD_TEXT("bootId", LedgerFile, boot_id, .flags = FIELD_REQUIRED),
        FIELD_CUSTOM(
                "taints", LedgerFile, taints, JSON_ARRAY, read_taints, write_taints, .flags = FIELD_REQUIRED),
};
static const FieldTable file_table = FIELD_TABLE(file_fields, .open = true);

static void save(Ledger *l) {
    _cleanup_strbuf_ StrBuf b = {};
    LedgerFile file = {.taints = &l->list};
    int r;

    (void) snprintf(file.boot_id, sizeof(file.boot_id), "%s", l->boot_id);
    fields_write(&b, &file_table, &file);
    r = b.error < 0 ? b.error : write_file_atomic_at(l->directory, FILE_NAME, b.text, b.length, 0600);
    if (r < 0)
        log_warning_errno(r,
                "Cannot write %s: after a restart vfiod will not know since when the host is tainted",
                FILE_NAME);
    if (b.error < 0 || l->list.n == 0)
        keepsakes_drop(l->kept, LEDGER_STORE_NAME);
    else
        keepsakes_put(l->kept, LEDGER_STORE_NAME, b.text, b.length);
}

/* -ESTALE: the file is from another boot. */
static int parse(Ledger *l, const char *text, size_t size, char **ret_problem) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    FieldReader reader = {.name = "the ledger"};
    LedgerFile file = {.taints = &l->list};
    JsonError error;
    int r;

    r = json_document_parse(text, size, &document, &error);
    if (r == -EBADMSG)
        *ret_problem = format_string("line %u, column %u: %s", error.line, error.column, error.message);
    if (r < 0)
        return r;
    r = fields_read(&reader, json_document_root(document), &file_table, &file);
    *ret_problem = reader.problem;
    if (r >= 0 && !streq(file.boot_id, l->boot_id))
        r = -ESTALE;
    if (r < 0 && r != -ESTALE)
        l->list.n = l->list.more = 0;
    return r;
}

/* A ledger of an earlier boot no longer applies. A damaged one may hide a deed, so it is logged for the
 * operator. */
static int load_file(Ledger *l) {
    _cleanup_free_ char *text = NULL, *problem = NULL;
    size_t size = 0;
    int r;

    r = read_file_at(l->directory, FILE_NAME, FILE_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = parse(l, text, size, &problem);
    if (r >= 0)
        return 0;
    l->list.n = l->list.more = 0;
    if (r == -ENOENT || r == -ESTALE)
        return r;
    (void) renameat(l->directory, FILE_NAME, l->directory, FILE_NAME ".bad");
    return log_error_errno(
            r, "The ledger of taints is damaged, see %s.bad (%s)", FILE_NAME, problem ?: "it cannot be read");
}

/* Kept entries of an earlier boot can come only through a kexec. Whoever had a device without an IOMMU then
 * may have written anything into the present kernel. The first look removes what concerned only the earlier
 * kernel. */
static void load_kept(Ledger *l) {
    _cleanup_free_ char *text = NULL, *problem = NULL;
    int fd = keepsake_find(LEDGER_STORE_NAME), r;
    size_t size = 0;

    if (fd < 0)
        return;
    r = keepsake_read(fd, FILE_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = parse(l, text, size, &problem);
    if (r >= 0)
        log_notice("The ledger of taints was restored from the file descriptor store of systemd");
    else if (r == -ESTALE)
        log_notice("The ledger of taints was restored after a kexec");
    else
        log_warning_errno(r, "The ledger of taints that systemd has kept is damaged and not used (%s)",
                problem ?: "it cannot be read");
}

static int load(Ledger *l) {
    bool is_kept = keepsake_find(LEDGER_STORE_NAME) >= 0;
    int r;

    r = load_file(l);
    if (r < 0)
        load_kept(l);
    if (is_kept && keepsakes_adopt(l->kept, LEDGER_STORE_NAME) < 0)
        return -ENOMEM;
    if (r < 0 ? l->list.n > 0 || is_kept : l->list.n > 0 && !is_kept)
        save(l);
    return 0;
}

/* ---- new entries ---- */

static bool admit_line(Ledger *l) {
    uint64_t now = clock_usec(CLOCK_MONOTONIC);

    if (now - l->minute_usec > MINUTE_USEC) {
        if (l->lines > LINES_PER_MINUTE)
            log_notice("%u more changes of the host's taints were not logged", l->lines - LINES_PER_MINUTE);
        l->minute_usec = now;
        l->lines = 0;
    }
    return l->lines++ < LINES_PER_MINUTE;
}

static void record_new(Ledger *l, const Taint *t) {
    _cleanup_free_ char *message = NULL;
    char uid[16];

    if (!admit_line(l))
        return;
    (void) snprintf(uid, sizeof(uid), "%u", (unsigned) t->uid);
    if (t->kind == TAINT_NOIOMMU_CLAIM)
        message = format_string("The host is tainted: %s gets %s without an IOMMU by rule %s (%s)",
                USER_TEXT(t->uid), t->device, t->rule, t->reason);
    else
        message = format_string("The host is tainted (%s): %s%s", taint_kind_to_string(t->kind), t->what,
                t->weakens ? ", which weakens the isolation of devices" : "");
    log_record(t->weakens ? LOG_WARNING : LOG_INFO, VFIOD_MESSAGE_TAINTED, message ?: "The host is tainted",
            "VFIOD_TAINT", taint_kind_to_string(t->kind), "VFIOD_TAINT_WHAT", t->what, "VFIOD_TAINT_WEAKENS",
            t->weakens ? "yes" : "no", "VFIOD_UID", t->uid == (uid_t) -1 ? NULL : uid, "VFIOD_DEVICES",
            t->device[0] ? t->device : NULL, "VFIOD_RULE", t->rule[0] ? t->rule : NULL, "VFIOD_REASON",
            t->reason[0] ? t->reason : NULL, NULL);
}

static bool is_same(const Taint *a, const Taint *b) {
    return a->kind == b->kind && streq(a->what, b->what) && a->uid == b->uid && streq(a->device, b->device) &&
            streq(a->rule, b->rule);
}

static const Taint *find(const TaintList *l, const Taint *t) {
    for (size_t i = 0; i < l->n; i++)
        if (is_same(&l->entries[i], t))
            return &l->entries[i];
    return NULL;
}

static void append(TaintList *l, const Taint *t) {
    if (l->n < TAINTS_MAX)
        l->entries[l->n++] = *t;
    else
        l->more++;
}

static void announce(Ledger *l) {
    save(l);
    if (l->changed)
        l->changed(l->userdata);
}

/* ---- looking ---- */

static void drop(Ledger *l, size_t i) {
    const Taint *t = &l->list.entries[i];

    if (admit_line(l))
        log_info("Taint has ended (%s): %s", taint_kind_to_string(t->kind), t->what);
    memmove(&l->list.entries[i], &l->list.entries[i + 1], (l->list.n - i - 1) * sizeof(*t));
    l->list.n--;
}

/* Deeds cannot be observed again, so they are never dropped. */
static bool drop_gone(Ledger *l) {
    bool any = false;

    for (size_t i = l->list.n; i-- > 0;)
        if (l->list.entries[i].kind != TAINT_NOIOMMU_CLAIM && !find(&l->found, &l->list.entries[i])) {
            drop(l, i);
            any = true;
        }
    return any;
}

static bool add_found(Ledger *l) {
    bool any = false;

    for (size_t i = 0; i < l->found.n; i++) {
        Taint *t = &l->found.entries[i];

        if (find(&l->list, t))
            continue;
        if (t->since_usec == 0)
            t->since_usec = clock_usec(CLOCK_REALTIME);
        append(&l->list, t);
        record_new(l, t);
        any = true;
    }
    return any;
}

void ledger_look_now(Ledger *l) {
    bool any;

    l->looked_usec = clock_usec(CLOCK_MONOTONIC);
    l->found.n = l->found.more = 0;
    taint_reader_read(&l->found, l->is_granted, l->userdata);
    any = drop_gone(l);
    any |= add_found(l);
    if (any)
        announce(l);
}

void ledger_look(Ledger *l) {
    if (clock_usec(CLOCK_MONOTONIC) - l->looked_usec >= LOOK_INTERVAL_USEC)
        ledger_look_now(l);
}

static int on_look(sd_event_source *s, uint64_t usec, void *userdata) {
    Ledger *l = userdata;

    l->look = sd_event_source_disable_unref(l->look);
    ledger_look(l);
    return 0;
}

void ledger_look_soon(Ledger *l) {
    if (l->look)
        return;
    /* A little longer than the interval, so that ledger_look() does not skip it. */
    (void) sd_event_add_time_relative(
            l->event, &l->look, CLOCK_MONOTONIC, LOOK_INTERVAL_USEC + 10000, 0, on_look, l);
}

static size_t n_deeds(const Ledger *l) {
    size_t n = 0;

    for (size_t i = 0; i < l->list.n; i++)
        n += l->list.entries[i].kind == TAINT_NOIOMMU_CLAIM;
    return n;
}

void ledger_note_claim(Ledger *l, const Claim *c) {
    Taint t = {
            .kind = TAINT_NOIOMMU_CLAIM,
            .weakens = true,
            .what = "device without an IOMMU",
            .since_usec = c->since_usec,
            .uid = c->uid,
    };

    (void) device_name_format(&c->plan.members[0].name, t.device);
    (void) snprintf(t.rule, sizeof(t.rule), "%s", c->plan.rule);
    (void) snprintf(t.reason, sizeof(t.reason), "%s", c->plan.noiommu_reason);
    if (find(&l->list, &t))
        return;
    if (n_deeds(l) < DEEDS_MAX)
        append(&l->list, &t);
    else
        l->list.more++;
    record_new(l, &t);
    announce(l);
}

const TaintList *ledger_taints(const Ledger *l) {
    return &l->list;
}

/* ---- life ---- */

int ledger_new(sd_event *event, const char *state_directory, ledger_changed_t changed,
        taint_is_granted_t is_granted, void *userdata, Ledger **ret) {
    _cleanup_(ledger_freep) Ledger *l = calloc(1, sizeof(*l));
    ssize_t n;
    int r;

    if (!l)
        return -ENOMEM;
    l->event = sd_event_ref(event);
    l->changed = changed;
    l->is_granted = is_granted;
    l->userdata = userdata;
    l->directory = open(state_directory, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    if (l->directory < 0)
        return -errno;
    n = read_attribute_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", l->boot_id, sizeof(l->boot_id));
    if (n < 0)
        return (int) n;
    l->kept = keepsakes_new(event);
    if (!l->kept)
        return -ENOMEM;
    r = load(l);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

Ledger *ledger_free(Ledger *l) {
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->look);
    l->kept = keepsakes_free(l->kept);
    sd_event_unref(l->event);
    (void) safe_close(l->directory);
    free(l);
    return NULL;
}
