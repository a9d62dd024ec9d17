/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Edits a private copy of a policy file. The whole policy is checked with the copy instead of the file, as
 * vfiod would load it. Only then the copy is installed by rename, and vfiod reloads. So vfiod never sees an
 * incomplete change, and a mistake cannot disable the policy. The user's work is never lost: on any failure
 * after the editor has ended, the copy is kept and the error names it. */

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/editor.h"
#include "client/policy-directory.h"
#include "client/policy-door.h"
#include "client/reload.h"
#include "client/rule-changes.h"

#define SUFFIX ".json"
#define FILE_MAX (16U * 1024 * 1024) /* larger files are refused by the check of the policy */
#define COPY_DIRECTORY "/var/tmp"    /* work that was not installed survives a reboot */
#define COPY_PATTERN "vfiod-edit.XXXXXX"

#define TEMPLATE                                                                                             \
    "// Policy of vfiod, see vfiod-policy(5). It is checked before it is installed.\n"                       \
    "// Example of a rule:\n"                                                                                \
    "//     { \"name\": \"alice-nic\", \"effect\": \"allow\",\n"                                             \
    "//       \"who\": { \"user\": \"alice\" }, \"what\": { \"device\": \"pci:0000:06:00.0\" } }\n"          \
    "{\n"                                                                                                    \
    "    \"rules\": [\n"                                                                                     \
    "    ]\n"                                                                                                \
    "}\n"

typedef struct File {
    char *text; /* owned; NULL: the file does not exist */
    size_t size;
} File;

typedef struct Edit {
    const Options *o;
    const char *directory; /* of the policy */
    int fd;                /* the same, locked */
    char *name, *path;     /* owned: of the file, without and with its directory */
    char *editor;          /* owned: a command of the shell */
    File original, start, edited;
    char *copy_directory, *copy; /* owned: accessible to this user only */
    bool keep;                   /* keep the copy */
    Rehearsal *before;           /* the policy without the change */
} Edit;

static void file_done(File *f) {
    free(f->text);
    *f = (File){};
}

/* The text may contain NUL. */
static int file_copy(const File *from, File *ret) {
    ret->text = malloc(from->size + 1);
    if (!ret->text)
        return -ENOMEM;
    memcpy(ret->text, from->text, from->size + 1);
    ret->size = from->size;
    return 0;
}

static bool file_is(const File *a, const File *b) {
    if (!a->text || !b->text)
        return a->text == b->text;
    return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

/* Removes the copy and backup files of the editor. */
static void remove_copy(const char *path) {
    _cleanup_closedir_ DIR *directory = NULL;
    const struct dirent *entry;

    if (open_directory_at(AT_FDCWD, path, &directory) >= 0)
        while ((entry = readdir(directory)))
            (void) unlinkat(dirfd(directory), entry->d_name, 0);
    (void) rmdir(path);
}

static void edit_done(Edit *e) {
    if (e->copy_directory && !e->keep)
        remove_copy(e->copy_directory);
    file_done(&e->original);
    file_done(&e->start);
    file_done(&e->edited);
    free(e->name);
    free(e->path);
    free(e->editor);
    free(e->copy_directory);
    free(e->copy);
    rehearsal_free(e->before);
    (void) safe_close(e->fd);
}

/* ---- Which file ---- */

static bool has_suffix(const char *name) {
    size_t n = strlen(name);

    return n > strlen(SUFFIX) && streq(name + n - strlen(SUFFIX), SUFFIX);
}

/* The only file of the directory, owned by the caller; NULL: there is none, or several. */
static int find_only_name(int fd, char **ret, size_t *ret_n) {
    _cleanup_closedir_ DIR *directory = NULL;
    _cleanup_free_ char *found = NULL;
    const struct dirent *entry;
    int r;

    r = open_directory_at(fd, ".", &directory);
    if (r < 0)
        return r;
    *ret_n = 0;
    while ((errno = 0, entry = readdir(directory))) {
        if (entry->d_name[0] == '.' || !has_suffix(entry->d_name))
            continue;
        if (free_and_strdup(&found, entry->d_name) < 0)
            return -ENOMEM;
        (*ret_n)++;
    }
    if (errno > 0)
        return -errno;
    *ret = *ret_n == 1 ? TAKE_PTR(found) : NULL;
    return 0;
}

static int take_only_name(Edit *e, VfiodErrorText *error) {
    size_t n = 0;
    int r = find_only_name(e->fd, &e->name, &n);

    if (r < 0)
        return error_text_errno(error, r, e->directory);
    if (n == 1)
        return 0;
    return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
            "edit requires the name of a file: %s has %zu policy files. A name that is not there makes a new "
            "file.",
            e->directory, n);
}

/* "50-alice" or "50-alice.json". Paths are refused, because vfiod may not read another directory. */
static int take_name(Edit *e, const char *name, VfiodErrorText *error) {
    _cleanup_free_ char *safe = sanitize(name, 4 * NAME_MAX);

    if (!safe)
        return error_text_errno(error, ENOMEM, "Cannot read the name");
    e->name = format_string("%s%s", name, has_suffix(name) ? "" : SUFFIX);
    if (!e->name)
        return error_text_errno(error, ENOMEM, "Cannot read the name");
    if (strchr(name, '/') || *name == '.' || !*name || !streq(safe, name) ||
            strlen(e->name) > NAME_MAX - strlen(".#")) /* room for the name of the temporary file */
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "%s: expected the name of a file in %s, such as 50-alice.json.", name, e->directory);
    return 0;
}

/* 0: the file does not exist, or can be edited. */
static int check_type(const Edit *e, VfiodErrorText *error) {
    char target[PATH_MAX];
    struct stat st;
    ssize_t n;

    if (fstatat(e->fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : error_text_errno(error, errno, e->path);
    if (S_ISREG(st.st_mode))
        return 0;
    if (!S_ISLNK(st.st_mode))
        return error_text_set(error, EINVAL, ERROR_NAME_FAILED,
                "%s is not a regular file. Remove it to write a policy file of this name.", e->path);
    n = readlinkat(e->fd, e->name, target, sizeof(target) - 1);
    target[MAX(n, (ssize_t) 0)] = '\0';
    return error_text_set(error, ELOOP, ERROR_NAME_FAILED,
            "%s is a symbolic link to %s. Edit what it leads to, or remove the link first.", e->path, target);
}

/* -ENOENT is not an error: *ret is unchanged. */
static int read_policy_file(int fd, const char *name, File *ret) {
    int r = read_file_at(fd, name, FILE_MAX, &ret->text, &ret->size);

    return r == -ENOENT ? 0 : r;
}

/* The text with which the editor starts: the file, the file that the new one will override, or a template. */
static int choose_start(Edit *e, VfiodErrorText *error) {
    const char *const *lower = e->o->policies.n > 0 ? NULL : rehearsal_directories() + 1;
    _cleanup_free_ char *path = NULL;
    int r;

    r = read_policy_file(e->fd, e->name, &e->original);
    if (r < 0)
        return error_text_errno(error, r, e->path);
    if (e->original.text)
        r = file_copy(&e->original, &e->start);
    if (r < 0)
        return error_text_errno(error, r, e->path);
    for (; !e->start.text && lower && *lower; lower++) {
        free(path);
        path = format_string("%s/%s", *lower, e->name);
        r = path ? read_policy_file(AT_FDCWD, path, &e->start) : -ENOMEM;
        if (r < 0)
            return error_text_errno(error, r, path ? path : "Cannot read the policy");
        if (e->start.text && !e->o->json)
            printf("The copy begins as %s, which the new file replaces.\n", path);
    }
    if (!e->start.text) {
        e->start.text = strdup(TEMPLATE);
        e->start.size = strlen(TEMPLATE);
    }
    return e->start.text ? 0 : error_text_errno(error, ENOMEM, e->path);
}

/* ---- The copy ---- */

static int make_copy(Edit *e) {
    const char *parent = getenv("TMPDIR");
    _cleanup_close_ int fd = -EBADF;
    int r;

    e->copy_directory = format_string("%s/" COPY_PATTERN, parent && *parent == '/' ? parent : COPY_DIRECTORY);
    if (!e->copy_directory)
        return -ENOMEM;
    if (!mkdtemp(e->copy_directory)) { /* mode 0700 */
        r = -errno;
        free(TAKE_PTR(e->copy_directory));
        return r;
    }
    e->copy = format_string("%s/%s", e->copy_directory, e->name);
    fd = open(e->copy_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!e->copy || fd < 0)
        return e->copy ? -errno : -ENOMEM;
    return write_file_atomic_at(fd, e->name, e->start.text, e->start.size, 0600);
}

/* Adds the copy's place to an error and keeps it, unless it is unchanged. */
static int keep_copy(Edit *e, VfiodErrorText *error) {
    VfiodErrorText first = *error;

    file_done(&e->edited);
    if (read_file_at(AT_FDCWD, e->copy, FILE_MAX, &e->edited.text, &e->edited.size) >= 0 &&
            file_is(&e->edited, &e->start))
        return -first.error;
    e->keep = true;
    return error_text_set(error, first.error, first.name,
            "%s Nothing was installed. The changed copy is kept: %s", first.message, e->copy);
}

/* Written when a signal ends the process meanwhile: the work is in the copy. */
static char last_words[PATH_MAX + 128];

static void on_signal(int number) {
    ssize_t n = write(STDERR_FILENO, last_words, strlen(last_words));

    (void) n;
    (void) raise(number); /* the handler was for one signal, so this is the default action */
}

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static struct sigaction former_actions[ELEMENTSOF(ending_signals)];

static void name_copy_when_interrupted(const Edit *e) {
    struct sigaction action = {.sa_flags = (int) SA_RESETHAND | SA_NODEFER};

    (void) snprintf(last_words, sizeof(last_words),
            "\nvfioctl: Interrupted. Nothing was installed. The copy is kept: %s\n", e->copy);
    action.sa_handler = on_signal;
    for (size_t i = 0; i < ELEMENTSOF(ending_signals); i++)
        if (sigaction(ending_signals[i], NULL, &former_actions[i]) == 0 &&
                former_actions[i].sa_handler != SIG_IGN) /* as for nohup(1), ignored signals stay ignored */
            (void) sigaction(ending_signals[i], &action, NULL);
}

/* From here on, steps are short and are not interrupted. */
static void forget_copy(void) {
    for (size_t i = 0; i < ELEMENTSOF(ending_signals); i++)
        (void) sigaction(ending_signals[i], &former_actions[i], NULL);
}

static bool is_blank(const File *f) {
    for (size_t i = 0; i < f->size; i++)
        if (!strchr(" \t\r\n", f->text[i]) || f->text[i] == '\0')
            return false;
    return true;
}

static int read_copy(Edit *e, VfiodErrorText *error) {
    int r;

    file_done(&e->edited);
    r = read_file_at(AT_FDCWD, e->copy, FILE_MAX, &e->edited.text, &e->edited.size);
    if (r == -ENOENT)
        return error_text_set(error, ENOENT, ERROR_NAME_FAILED,
                "The editor has removed the copy of %s. Nothing was installed.", e->name);
    if (r < 0)
        return error_text_set(
                error, -r, ERROR_NAME_FAILED, "%s: %s. Nothing was installed.", e->copy, strerrordesc_np(-r));
    if (is_blank(&e->edited))
        return error_text_set(error, ENODATA, ERROR_NAME_FAILED,
                "The edited file is empty. Nothing was installed. To remove a policy file, delete it and "
                "reload.");
    return 0;
}

/* ---- The check ---- */

static bool list_has(struct json_object *list, const char *text) {
    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        if (streq(json_object_get_string(json_object_array_get_idx(list, i)), text))
            return true;
    return false;
}

/* Errors of other files that existed before do not prevent the installation: otherwise, of two broken files
 * none could be repaired. */
static bool is_new_error(const Edit *e, struct json_object *before, const char *text) {
    const char *rest = startswith(text, e->path);

    return (rest && *rest == ':') || !list_has(json_list(before, "errors"), text);
}

static int open_policy(const Edit *e, const RehearsalFile *file, Rehearsal **ret, VfiodErrorText *error) {
    const char *const named[] = {e->directory, NULL};

    return policy_open_with(e->o, e->o->policies.n > 0 ? named : NULL, file, ret, error);
}

static int check_policy(Rehearsal *rehearsal, struct json_object **ret, VfiodErrorText *error) {
    char *problem = NULL;
    int r = rehearsal_check(rehearsal, ret, &problem);

    return r < 0 ? policy_failed(r, problem, error) : 0;
}

/* Prints errors and warnings. Sets *error to PolicyBroken when an error is new. */
static int judge(
        const Edit *e, struct json_object *before, struct json_object *after, VfiodErrorText *error) {
    struct json_object *errors = json_list(after, "errors");
    const char *first = NULL;
    size_t n = 0;

    for (size_t i = 0; errors && i < json_object_array_length(errors); i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(errors, i));
        _cleanup_free_ char *safe = sanitize(text, 4096);

        if (!e->o->json)
            fprintf(stderr, "%s\n", safe ? safe : "(out of memory)");
        if (is_new_error(e, before, text) && n++ == 0)
            first = text;
    }
    if (n == 0)
        return 0;
    return error_text_set(error, EINVAL, ERROR_NAME_POLICY_BROKEN,
            "With this file the policy has %zu error%s%s%s.", n, n == 1 ? "" : "s", e->o->json ? ": " : "",
            e->o->json ? first : "");
}

/* *ret: the policy with the edited file, which can be installed. */
static int check_edited(Edit *e, Rehearsal **ret, VfiodErrorText *error) {
    const RehearsalFile file = {e->directory, e->name, e->edited.text, e->edited.size};
    _cleanup_json_ struct json_object *before = NULL, *after = NULL;
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    int r;

    r = open_policy(e, &file, &rehearsal, error);
    if (r >= 0)
        r = check_policy(e->before, &before, error);
    if (r >= 0)
        r = check_policy(rehearsal, &after, error);
    if (r >= 0)
        r = judge(e, before, after, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(rehearsal);
    return 0;
}

/* True: the user wants to edit the same copy again. */
static bool ask_to_edit_again(Edit *e, const VfiodErrorText *why) {
    char line[64];

    if (e->o->json || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fprintf(stderr, "%s\n", why->message);
    for (;;) {
        fputs("[e]dit again, [d]iscard the changes, or [k]eep the copy and quit? ", stderr);
        if (!fgets(line, sizeof(line), stdin) || line[0] == 'k')
            return false;
        if (line[0] == 'e')
            return true;
        if (line[0] == 'd') {
            remove_copy(e->copy_directory);
            free(TAKE_PTR(e->copy_directory));
            return false;
        }
    }
}

/* Repeats until the policy is valid or the user gives up. 1: there is a change to install; 0: nothing has
 * changed. */
static int edit_until_good(Edit *e, Rehearsal **ret, VfiodErrorText *error) {
    for (;;) {
        int r;

        r = editor_run(e->editor, e->copy, error);
        if (r < 0)
            return keep_copy(e, error);
        r = read_copy(e, error);
        if (r < 0)
            return r;
        if (file_is(&e->edited, &e->start))
            return 0;
        r = check_edited(e, ret, error);
        if (r >= 0)
            return 1;
        if (ask_to_edit_again(e, error))
            continue;
        if (!e->copy_directory)
            return error_text_set(error, ECANCELED, ERROR_NAME_FAILED, "The changes are discarded.");
        return keep_copy(e, error);
    }
}

/* ---- Afterwards ---- */

static int install(Edit *e, VfiodErrorText *error) {
    _cleanup_(file_done) File now = {};
    int r;

    r = check_type(e, error);
    if (r >= 0) {
        r = read_policy_file(e->fd, e->name, &now);
        if (r < 0)
            (void) error_text_errno(error, r, e->path);
    }
    if (r >= 0 && !file_is(&now, &e->original))
        r = error_text_set(
                error, ESTALE, ERROR_NAME_FAILED, "%s was changed by somebody else meanwhile.", e->path);
    if (r < 0)
        return keep_copy(e, error);
    r = policy_directory_install(e->fd, e->name, e->edited.text, e->edited.size);
    if (r < 0) {
        (void) error_text_set(error, -r, ERROR_NAME_FAILED, "%s: cannot install the file: %s.", e->path,
                strerrordesc_np(-r));
        return keep_copy(e, error);
    }
    return 0;
}

/* NULL: it has errors, so its rules cannot be shown. */
static struct json_object *rules_of(Rehearsal *rehearsal) {
    struct json_object *result = NULL;
    char *problem = NULL;

    if (rehearsal_show(rehearsal, &result, &problem) < 0)
        free(problem);
    return result;
}

static int add_changes(Edit *e, Rehearsal *now, struct json_object *report) {
    _cleanup_json_ struct json_object *before = rules_of(e->before), *after = rules_of(now);

    if (json_add_string(report, "file", e->path) < 0 ||
            json_add(report, "installed", json_object_new_boolean(true)) < 0)
        return -ENOMEM;
    return before && after ? rule_changes_add(report, before, after) : 0;
}

static void show_names(struct json_object *report, const char *key, const char *heading) {
    struct json_object *list = json_list(report, key);
    _cleanup_strbuf_ StrBuf b = {};

    if (!list || json_object_array_length(list) == 0)
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        strbuf_addf(
                &b, "%s%s", i > 0 ? ", " : "", json_object_get_string(json_object_array_get_idx(list, i)));
    policy_print("%s: %s", heading, b.error == 0 ? b.text : "?");
}

static void show_changes(struct json_object *report) {
    policy_print("Installed %s", json_text(report, "file"));
    show_names(report, "rulesAdded", "Rules added");
    show_names(report, "rulesRemoved", "Rules removed");
    show_names(report, "rulesChanged", "Rules changed");
    if (json_flag(report, "orderChanged"))
        puts("Rules are tried in another order");
    if (json_flag(report, "settingsChanged"))
        puts("Tags or settings of the host changed");
}

/* The daemon's result is appended to what was changed. */
static int reload(const Edit *e, struct json_object *report, VfiodErrorText *error) {
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    VfiodErrorText why;
    int r;

    r = vfiod_connection_new(&c, &why);
    if (r >= 0)
        r = policy_reload(c, e->o, &manager, &why);
    if (r < 0)
        return error_text_set(error, why.error, why.name, "%s is installed, but vfiod has not loaded it: %s",
                e->path, why.message);
    if (!e->o->json) {
        policy_reload_show(manager.properties);
        return 0;
    }
    return json_add(report, "manager", json_object_get(manager.properties)) < 0
            ? error_text_errno(error, ENOMEM, "Cannot show the result")
            : 0;
}

static int finish(Edit *e, Rehearsal *now, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *report = json_object_new_object();
    int r;

    if (!report || add_changes(e, now, report) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the result");
    if (!e->o->json)
        show_changes(report);
    r = e->o->policies.n > 0 ? 0 : reload(e, report, error);
    if (r < 0 || !e->o->json)
        return r;
    r = show_json(stdout, report, /* pretty= */ true);
    return r < 0 ? error_text_errno(error, r, "Cannot show the result") : 0;
}

static int report_unchanged(const Edit *e, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *report = NULL;

    if (!e->o->json) {
        policy_print("%s: unchanged", e->path);
        return 0;
    }
    report = json_object_new_object();
    if (!report || json_add_string(report, "file", e->path) < 0 ||
            json_add(report, "installed", json_object_new_boolean(false)) < 0 ||
            show_json(stdout, report, /* pretty= */ true) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the result");
    return 0;
}

static int begin(Edit *e, VfiodErrorText *error) {
    int r;

    if (e->o->policies.n > 1)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--policy: edit takes one directory.");
    e->directory = e->o->policies.n > 0 ? e->o->policies.items[0] : rehearsal_directories()[0];
    if (e->o->n_arguments == 0 && access(e->directory, F_OK) < 0 && errno == ENOENT)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "edit requires the name of a file: %s is not there, and is made for a new file.",
                e->directory);
    r = policy_directory_open(e->directory, /* make= */ e->o->policies.n == 0, &e->fd, error);
    if (r < 0)
        return r;
    r = e->o->n_arguments > 0 ? take_name(e, e->o->arguments[0], error) : take_only_name(e, error);
    if (r < 0)
        return r;
    e->path = format_string("%s/%s", e->directory, e->name);
    if (!e->path)
        return error_text_errno(error, ENOMEM, "Cannot edit");
    r = check_type(e, error);
    if (r >= 0)
        r = editor_find(&e->editor, error);
    if (r >= 0)
        r = choose_start(e, error);
    if (r >= 0)
        r = open_policy(e, NULL, &e->before, error);
    if (r < 0)
        return r;
    r = make_copy(e);
    if (r < 0)
        return error_text_errno(error, r, "Cannot make a copy of the file to edit");
    name_copy_when_interrupted(e);
    return 0;
}

int verb_edit(const Options *o, VfiodErrorText *error) {
    _cleanup_(edit_done) Edit e = {.o = o, .fd = -EBADF};
    _cleanup_rehearsal_ Rehearsal *now = NULL;
    int r;

    r = begin(&e, error);
    if (r >= 0)
        r = edit_until_good(&e, &now, error);
    forget_copy();
    if (r < 0)
        return r;
    if (r == 0)
        return report_unchanged(&e, error);
    r = install(&e, error);
    return r < 0 ? r : finish(&e, now, error);
}
