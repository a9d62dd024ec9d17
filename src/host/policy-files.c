/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/policy-files.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json-text.h"
#include "base/str.h"

/* The number of errors of a set that go into one text. */
#define SHOWN_ERRORS_MAX 8U

/* In doubt the load fails, and the caller keeps the old set or denies everything: a skipped file may have
 * held the `deny` rule that matters. For the same reason an empty file does not mask here, unlike elsewhere:
 * a full disk leaves empty files. Only /dev/null masks.
 *
 * A symbolic link is followed. The owner and mode of the opened file are checked through its descriptor, so
 * that nobody can replace the file between the check and the read.
 *
 * User and group names are looked up once, after the files are read. The lookup may ask a server on the
 * network and wait for it; evaluation never does. */

static const char *const policy_file_fate_table[_POLICY_FILE_FATE_MAX] = {
        [POLICY_FILE_READ] = "read",
        [POLICY_FILE_OVERRIDDEN] = "overridden",
        [POLICY_FILE_MASKED] = "masked",
};
DEFINE_STRING_TABLE(policy_file_fate, PolicyFileFate);

#define CREDENTIAL_PREFIX "vfiod.policy."

typedef struct PolicyDirectory {
    const char *path; /* borrowed */
    int fd;           /* owned; -EBADF: it does not exist */
    bool credentials;
} PolicyDirectory;

typedef struct PolicyFile {
    char *name;  /* owned; the name by which it is sorted and hides others */
    char *entry; /* owned; the entry in its directory */
    const PolicyDirectory *directory;
} PolicyFile;

typedef struct PolicyLoading {
    const PolicySource *source;
    PolicyParser *parser;
    PolicyDirectory *directories;
    size_t n_directories;
    PolicyFile *files; /* sorted by name before they are read */
    size_t n_files;
    size_t n_read, n_bytes;
    uint64_t digest;
} Loader;

static void file_done(PolicyFile *f) {
    free(f->name);
    free(f->entry);
    *f = (PolicyFile){};
}

static void loader_done(Loader *l) {
    for (size_t i = 0; i < l->n_directories; i++)
        (void) safe_close(l->directories[i].fd);
    for (size_t i = 0; i < l->n_files; i++)
        file_done(&l->files[i]);
    free(l->directories);
    free(l->files);
    policy_parser_free(l->parser);
}

void policy_load_done(PolicyLoad *l) {
    for (size_t i = 0; i < l->n_errors; i++)
        free(l->errors[i]);
    free(l->errors);
    for (size_t i = 0; i < l->n_warnings; i++)
        free(l->warnings[i]);
    free(l->warnings);
    policy_free(l->policy);
    *l = (PolicyLoad){};
}

/* "not found" has several errnos: getpwnam_r(3) lists those that name services return. */
static bool means_not_found(int error) {
    return error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

#define ACCOUNT_BUFFER_MIN ((size_t) 4096)
#define ACCOUNT_BUFFER_MAX ((size_t) 16 * 1024 * 1024)

/* One try with a buffer of this size: 0, -ENOENT, -ERANGE (a larger buffer is required), or negative errno.
 */
static int look_up(bool is_group, const char *name, char *buffer, size_t size, uint32_t *ret) {
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;
    int error;

    if (is_group)
        error = getgrnam_r(name, &group, buffer, size, &found_group);
    else
        error = getpwnam_r(name, &user, buffer, size, &found_user);
    if (error == EINTR)
        return -ERANGE;
    if (found_user)
        *ret = user.pw_uid;
    else if (found_group)
        *ret = group.gr_gid;
    else
        return error == 0 || means_not_found(error) ? -ENOENT : -error;
    return 0;
}

int policy_resolve_account(_unused_ void *userdata, bool is_group, const char *name, uint32_t *ret) {
    for (size_t size = ACCOUNT_BUFFER_MIN; size <= ACCOUNT_BUFFER_MAX; size *= 2) {
        _cleanup_free_ char *buffer = malloc(size);
        int r;

        if (!buffer)
            return -ENOMEM;
        r = look_up(is_group, name, buffer, size, ret);
        if (r != -ERANGE)
            return r;
    }
    return -ERANGE;
}

/* Files that a caller names may belong to anybody. */
static bool is_trusted(const Loader *l, const struct stat *st) {
    return l->source->names ||
            ((st->st_uid == 0 || st->st_uid == geteuid()) && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0);
}

static bool is_null_device(const struct stat *st) {
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int add_error_errno(PolicyParser *p, const char *path, const char *what, int r) {
    _cleanup_free_ char *message = NULL;

    if (r == -ENOMEM)
        return r;
    message = format_string("%s: %s", what, strerrordesc_np(-r) ?: "unknown error");
    return message ? policy_parser_add_error(p, path, message) : -ENOMEM;
}

/* Hidden files, and files that editors and package managers leave, do not end in ".json". */
static bool is_policy_name(const char *name) {
    size_t n = strlen(name);

    return name[0] != '.' && n > strlen(".json") && streq(name + n - strlen(".json"), ".json");
}

/* FNV-1a: it does not have to resist authors of the policy. */
#define DIGEST_BASE UINT64_C(0xcbf29ce484222325)
#define DIGEST_PRIME UINT64_C(0x100000001b3)

static void add_to_digest(Loader *l, const void *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        l->digest = (l->digest ^ ((const uint8_t *) data)[i]) * DIGEST_PRIME;
}

/* Only content that decides counts, not the place of a file nor files that it hides. */
static void note_digest(Loader *l, const PolicyFileInfo *info) {
    const char *name = strrchr(info->path, '/');

    if (info->fate != POLICY_FILE_READ)
        return;
    name = name ? name + 1 : info->path;
    add_to_digest(l, name, strlen(name) + 1);
    add_to_digest(l, &(uint64_t){info->size}, sizeof(uint64_t));
    add_to_digest(l, info->text, info->size);
}

static int tell(Loader *l, PolicyFileInfo info) {
    note_digest(l, &info);
    return l->source->visit ? l->source->visit(l->source->visit_userdata, &info) : 0;
}

static int tell_overridden(
        Loader *l, const PolicyDirectory *directory, const char *entry, const PolicyFile *by) {
    _cleanup_free_ char *path = format_string("%s/%s", directory->path, entry);
    _cleanup_free_ char *hidden_by = format_string("%s/%s", by->directory->path, by->entry);

    if (!path || !hidden_by)
        return -ENOMEM;
    return tell(l, (PolicyFileInfo){.path = path, .fate = POLICY_FILE_OVERRIDDEN, .hidden_by = hidden_by});
}

/* The policy file name for a directory entry. *ret is owned by the caller; NULL: the entry is no policy file.
 */
static int name_entry(const PolicyDirectory *directory, const char *entry, char **ret) {
    const char *name = directory->credentials ? startswith(entry, CREDENTIAL_PREFIX) : entry;

    *ret = NULL;
    if (!name || !*name || (!directory->credentials && !is_policy_name(name)))
        return 0;
    *ret = is_policy_name(name) ? strdup(name) : format_string("%s.json", name);
    return *ret ? 0 : -ENOMEM;
}

/* Chance would decide which of the two is read. */
static int refuse_twin(
        Loader *l, const PolicyDirectory *directory, const char *entry, const PolicyFile *twin) {
    _cleanup_free_ char *path = format_string("%s/%s", directory->path, entry);
    _cleanup_free_ char *message = format_string("it stands for the same file as %s", twin->entry);

    return path && message ? policy_parser_add_error(l->parser, path, message) : -ENOMEM;
}

static int add_name(Loader *l, const PolicyDirectory *directory, const char *entry, const char *name) {
    PolicyFile f = {.directory = directory};

    for (size_t i = 0; i < l->n_files; i++) {
        if (!streq(l->files[i].name, name))
            continue;
        return l->files[i].directory == directory ? refuse_twin(l, directory, entry, l->files + i)
                                                  : tell_overridden(l, directory, entry, l->files + i);
    }
    f.name = strdup(name);
    f.entry = strdup(entry);
    if (!f.name || !f.entry) {
        file_done(&f);
        return -ENOMEM;
    }
    l->files[l->n_files++] = f;
    return 0;
}

/* Messages show the name of a file, and D-Bus takes only UTF-8, so a rule of such a file could never be
 * shown. Returns 1 if the name is valid, 0 if the error was added. */
static int check_name(Loader *l, const PolicyDirectory *directory, const char *name) {
    _cleanup_free_ char *sane = sanitize(name, 4 * NAME_MAX), *path = NULL;
    int r;

    if (!sane)
        return -ENOMEM;
    if (streq(sane, name))
        return 1;
    path = format_string("%s/%s", directory->path, sane);
    if (!path)
        return -ENOMEM;
    r = policy_parser_add_error(l->parser, path, "the name of the file must be printable UTF-8");
    return MIN(r, 0);
}

/* Takes the names of one directory that no earlier directory has. */
static int take_names(Loader *l, const PolicyDirectory *directory, DIR *dir) {
    struct dirent *entry;
    int r;

    while ((errno = 0, entry = readdir(dir))) {
        _cleanup_free_ char *name = NULL;

        r = name_entry(directory, entry->d_name, &name);
        if (r < 0)
            return r;
        if (!name)
            continue;
        if (l->n_files >= POLICY_FILES_MAX)
            return policy_parser_add_error(l->parser, directory->path, "too many policy files");
        r = check_name(l, directory, entry->d_name);
        if (r > 0)
            r = add_name(l, directory, entry->d_name, name);
        if (r < 0)
            return r;
    }
    return errno == 0 ? 0 : add_error_errno(l->parser, directory->path, "cannot read the directory", -errno);
}

static bool is_stand_in(const Loader *l, const PolicyDirectory *directory, const char *name) {
    const PolicyStandIn *s = l->source->stand_in;

    return s && streq(s->directory, directory->path) && (!name || streq(s->name, name));
}

static int scan_present(Loader *l, PolicyDirectory *directory) {
    _cleanup_close_ int fd = -EBADF;
    struct stat st;
    DIR *dir;
    int r;

    directory->fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A dangling link counts as existing: its target may be a file system that is not mounted, with rules in
     * it. */
    if (directory->fd < 0 && errno == ENOENT && !l->source->names &&
            fstatat(AT_FDCWD, directory->path, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    if (directory->fd < 0 || fstat(directory->fd, &st) < 0)
        return add_error_errno(l->parser, directory->path, "cannot open the directory", -errno);
    if (!is_trusted(l, &st))
        return policy_parser_add_error(
                l->parser, directory->path, "the directory must belong to root and be writable only by root");
    fd = fcntl(directory->fd, F_DUPFD_CLOEXEC, 3);
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return add_error_errno(l->parser, directory->path, "cannot read the directory", -errno);
    fd = -EBADF;
    r = take_names(l, directory, dir);
    closedir(dir);
    return r;
}

static int scan_directory(Loader *l, PolicyDirectory *directory) {
    int r = scan_present(l, directory);

    if (r < 0 || !is_stand_in(l, directory, NULL))
        return r;
    for (size_t i = 0; i < l->n_files; i++)
        if (l->files[i].directory == directory && streq(l->files[i].name, l->source->stand_in->name))
            return 0;
    if (l->n_files >= POLICY_FILES_MAX)
        return policy_parser_add_error(l->parser, directory->path, "too many policy files");
    return add_name(l, directory, l->source->stand_in->name, l->source->stand_in->name);
}

static int parse_text(Loader *l, const char *path, const char *text, size_t size) {
    int r;

    if (size > JSON_SIZE_MAX)
        return policy_parser_add_error(l->parser, path, "the file is too large");
    l->n_bytes += size;
    if (l->n_bytes > POLICY_BYTES_MAX)
        return policy_parser_add_error(l->parser, path, "with this file the policy is too large");
    l->n_read++;
    r = tell(l, (PolicyFileInfo){.path = path, .fate = POLICY_FILE_READ, .text = text, .size = size});
    return r < 0 ? r : policy_parser_add(l->parser, path, text, size);
}

static int parse_file(Loader *l, const char *path, int fd) {
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    int r;

    r = read_file(fd, JSON_SIZE_MAX, &text, &size);
    if (r == -E2BIG)
        return parse_text(l, path, NULL, SIZE_MAX);
    return r < 0 ? add_error_errno(l->parser, path, "cannot read", r) : parse_text(l, path, text, size);
}

/* path: the name of the same file in messages. */
static int load_path(Loader *l, int dirfd, const char *name, const char *path) {
    _cleanup_close_ int fd = -EBADF;
    struct stat st;

    /* Check before the open, too: to open a device may have effects. */
    if (fstatat(dirfd, name, &st, 0) < 0)
        return add_error_errno(l->parser, path, "cannot open", -errno);
    if (is_null_device(&st))
        return tell(l, (PolicyFileInfo){.path = path, .fate = POLICY_FILE_MASKED});
    if (!S_ISREG(st.st_mode))
        return policy_parser_add_error(l->parser, path, "not a regular file");
    fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return add_error_errno(l->parser, path, "cannot open", -errno);
    if (!is_trusted(l, &st))
        return policy_parser_add_error(
                l->parser, path, "the file must belong to root and be writable only by root");
    return parse_file(l, path, fd);
}

static int load_file(Loader *l, const PolicyFile *file) {
    _cleanup_free_ char *path = format_string("%s/%s", file->directory->path, file->entry);

    if (!path)
        return -ENOMEM;
    if (is_stand_in(l, file->directory, file->name))
        return parse_text(l, path, l->source->stand_in->text, l->source->stand_in->size);
    return load_path(l, file->directory->fd, file->entry, path);
}

static int compare_files(const void *a, const void *b) {
    return strcmp(((const PolicyFile *) a)->name, ((const PolicyFile *) b)->name);
}

/* Loads the files that were found, and empties the list. */
static int load_found(Loader *l) {
    int r = 0;

    qsort(l->files, l->n_files, sizeof(*l->files), compare_files);
    for (size_t i = 0; i < l->n_files && r >= 0; i++)
        r = load_file(l, l->files + i);
    for (; l->n_files > 0; l->n_files--)
        file_done(&l->files[l->n_files - 1]);
    return r;
}

static int load_directories(Loader *l) {
    int r;

    for (size_t i = 0; i < l->n_directories; i++) {
        r = scan_directory(l, l->directories + i);
        if (r < 0)
            return r;
    }
    return load_found(l);
}

/* Here no name hides another, since each was named. */
static int load_names(Loader *l) {
    for (size_t i = 0; i < l->n_directories; i++) {
        const char *name = l->directories[i].path;
        struct stat st;
        int r;

        if (stat(name, &st) < 0 || !S_ISDIR(st.st_mode))
            r = load_path(l, AT_FDCWD, name, name);
        else {
            r = scan_directory(l, l->directories + i);
            if (r >= 0)
                r = load_found(l);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static uint64_t read_clock(void) {
    struct timespec t;

    if (clock_gettime(CLOCK_REALTIME, &t) < 0 || t.tv_sec < 0)
        return 0;
    return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

static int loader_init(Loader *l, const PolicySource *source) {
    const char *const *paths = source->names ?: source->directories;
    size_t n = 0;

    l->source = source;
    l->digest = DIGEST_BASE;
    while (paths[n])
        n++;
    l->directories = calloc(MAX(n, (size_t) 1), sizeof(*l->directories));
    l->files = calloc(POLICY_FILES_MAX, sizeof(*l->files));
    l->parser = policy_parser_new(source->resolve ?: policy_resolve_account, source->resolve_userdata);
    if (!l->directories || !l->files || !l->parser)
        return -ENOMEM;
    policy_parser_set_now(l->parser, source->now_usec ?: read_clock());
    for (; l->n_directories < n; l->n_directories++)
        l->directories[l->n_directories] = (PolicyDirectory){.path = paths[l->n_directories],
                .fd = -EBADF,
                .credentials = streq_ptr(paths[l->n_directories], source->credentials)};
    return 0;
}

static int take_messages(const PolicyParser *p, size_t n, const char *(*get)(const PolicyParser *p, size_t i),
        char ***ret, size_t *ret_n) {
    *ret = calloc(MAX(n, (size_t) 1), sizeof(**ret));
    if (!*ret)
        return -ENOMEM;
    for (; *ret_n < n; (*ret_n)++) {
        (*ret)[*ret_n] = strdup(get(p, *ret_n));
        if (!(*ret)[*ret_n])
            return -ENOMEM;
    }
    return 0;
}

PolicyLoading *policy_loading_free(PolicyLoading *l) {
    if (l)
        loader_done(l);
    free(l);
    return NULL;
}

int policy_files_begin(const PolicySource *source, PolicyLoading **ret) {
    _cleanup_(policy_loading_freep) PolicyLoading *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    r = loader_init(l, source);
    if (r >= 0)
        r = source->names ? load_names(l) : load_directories(l);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

int policy_loading_foreach_account(const PolicyLoading *l, visit_account_name_t visit, void *userdata) {
    return policy_parser_foreach_account(l->parser, visit, userdata);
}

int policy_files_finish(PolicyLoading *l, PolicyLoad *ret) {
    _cleanup_(policy_load_done) PolicyLoad load = {};
    int r;

    r = policy_parser_finish(l->parser, &load.policy);
    if (r < 0 && r != -EINVAL)
        return r;
    r = take_messages(
            l->parser, policy_parser_n_errors(l->parser), policy_parser_error, &load.errors, &load.n_errors);
    if (r >= 0)
        r = take_messages(l->parser, policy_parser_n_warnings(l->parser), policy_parser_warning,
                &load.warnings, &load.n_warnings);
    if (r < 0)
        return r;
    load.n_files = l->n_read;
    load.digest = l->digest;
    for (size_t i = 0; i < l->n_directories; i++)
        load.n_directories += l->directories[i].fd >= 0;
    *ret = TAKE_GENERIC(load, (PolicyLoad){});
    return 0;
}

int policy_files_load_from(const PolicySource *source, PolicyLoad *ret) {
    _cleanup_(policy_loading_freep) PolicyLoading *l = NULL;
    int r;

    r = policy_files_begin(source, &l);
    return r < 0 ? r : policy_files_finish(l, ret);
}

int policy_files_load(const char *const *directories, PolicyLoad *ret) {
    return policy_files_load_from(&(const PolicySource){.directories = directories}, ret);
}

int policy_load_refuse(const PolicyLoad *policy, Refusal *refusal) {
    _cleanup_strbuf_ StrBuf text = {};
    _cleanup_free_ char *sane = NULL;

    strbuf_addf(&text, "the policy has errors, nothing was changed: ");
    for (size_t i = 0; i < MIN(policy->n_errors, SHOWN_ERRORS_MAX); i++)
        strbuf_addf(&text, "%s%s", i > 0 ? "; " : "", policy->errors[i]);
    if (policy->n_errors > SHOWN_ERRORS_MAX)
        strbuf_addf(&text, "; and %zu more", policy->n_errors - SHOWN_ERRORS_MAX);
    sane = text.error == 0 ? sanitize(text.text, 4096) : NULL;
    return refuse(refusal, VFIOD_ERROR_POLICY_BROKEN, NULL, "%s", sane ?: "the policy has errors");
}
