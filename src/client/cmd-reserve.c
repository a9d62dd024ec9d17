/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Only the ticket is printed to standard output, for scripts; everything else goes to standard error. */

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <unistd.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

#define GROUPS_MAX_TRIED 65536 /* NGROUPS_MAX of the kernel */

/* ---- The user ---- */

static int take_groups(const struct passwd *user, Call *call, gid_t **ret) {
    int n = 64, had;

    do {
        had = n;
        *ret = reallocarray(*ret, (size_t) n, sizeof(gid_t));
        if (!*ret)
            return -ENOMEM;
    } while (getgrouplist(user->pw_name, user->pw_gid, *ret, &n) < 0 && n > had && n <= GROUPS_MAX_TRIED);
    if (n > had)
        return -E2BIG;
    call->gids = *ret;
    call->n_gids = (size_t) n;
    return 0;
}

/* A name, or a number that need not have a name. */
static int describe_user(const char *name, Call *call, gid_t **ret_gids, VfiodErrorText *error) {
    const struct passwd *user = getpwnam(name);
    uint64_t uid;
    int r;

    call->for_other = true;
    if (!user && parse_unsigned(name, 10, UINT32_MAX - 1, &uid) >= 0) {
        call->uid = (uint32_t) uid;
        user = getpwuid((uid_t) uid);
        if (!user)
            return 0;
    }
    if (!user)
        return error_text_set(error, ENOENT, ERROR_NAME_USAGE, "--user=%s: there is no such user.", name);
    call->uid = user->pw_uid;
    r = take_groups(user, call, ret_gids);
    return r < 0 ? error_text_errno(error, r, "Cannot look the user's groups up") : 0;
}

/* ---- The verb ---- */

static int show_text(struct json_object *answer) {
    _cleanup_free_ char *owner = show_owner(json_number(answer, "uid"));
    _cleanup_free_ char *until = show_time(json_number(answer, "until"));

    fprintf(stderr, "%s is reserved for %s until %s (%s).\n", json_text(answer, "device"), owner ?: "?",
            until ?: "?", json_text(answer, "claim"));
    return puts(json_text(answer, "ticket")) < 0 || fflush(stdout) != 0 ? -errno : 0;
}

static int reserve(const Options *o, VfiodConnection *c, VfiodErrorText *error) {
    const VfiodRequest request = options_request(o, NULL, 0);
    Call call = {.method = METHOD_RESERVE,
            .request = &request,
            .kind = "device",
            .name = o->arguments[0],
            .ttl = o->ttl,
            .pidfd = -EBADF};
    _cleanup_json_ struct json_object *answer = NULL;
    _cleanup_free_ gid_t *gids = NULL;
    int r;

    r = o->user ? describe_user(o->user, &call, &gids, error) : 0;
    if (r >= 0)
        r = call_reserve(c, &call, &answer, error);
    if (r < 0)
        return r;
    r = o->json ? show_json(stdout, answer, /* pretty= */ true) : show_text(answer);
    return r < 0 ? error_text_errno(error, r, "Cannot show the ticket") : 0;
}

/* The reservation of a ticket or of a device. *ret is owned by the caller. */
static int find_id(const char *word, VfiodConnection *c, char **ret, VfiodErrorText *error) {
    int r;

    if (strspn(word, "0123456789abcdef") >= CLAIM_ID_LENGTH) {
        *ret = strndup(word, CLAIM_ID_LENGTH);
        return *ret ? 0 : error_text_errno(error, ENOMEM, "Cannot cancel the reservation");
    }
    r = call_find_claim(c, word, ret, error);
    if (r < 0 && streq(error->name, "NoSuchClaim"))
        return error_text_set(error, ENOENT, "NoSuchClaim", "%s: the device is not reserved.", word);
    if (r < 0 && streq(error->name, "InvalidName"))
        return error_text_set(error, EACCES, "TicketInvalid",
                "--cancel: expected a ticket, the id of a reservation, or a device; \"%s\" is none. 'vfioctl "
                "status' shows the reservations.",
                word);
    return r;
}

/* Refuses to end a held claim by mistake. */
static int cancel(const char *word, VfiodConnection *c, VfiodErrorText *error) {
    _cleanup_free_ char *device = NULL, *id = NULL;
    Call call = {.method = METHOD_RELEASE, .pidfd = -EBADF};
    int r;

    r = find_id(word, c, &id, error);
    if (r >= 0)
        r = call_find_reserved(c, id, &device, error);
    if (r < 0 && streq(error->name, "TicketInvalid") && !startswith(word, id ?: ""))
        return error_text_set(error, EBUSY, "DeviceClaimed",
                "%s: the device is claimed, not reserved. 'vfioctl release %s' ends the claim.", word, word);
    if (r < 0)
        return r;
    call.claim = id;
    return call_simply(c, &call, error);
}

int verb_reserve(const Options *o, VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    if (o->cancel && (o->user || o->ttl > 0))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--cancel: expected a ticket, an id or a device, and nothing else.");
    r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    return o->cancel ? cancel(o->arguments[0], c, error) : reserve(o, c, error);
}
