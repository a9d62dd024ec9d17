/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/doctor-memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>

#include "base/fd.h"
#include "base/json-build.h"
#include "base/str.h"
#include "client/command.h"
#include "client/show.h"

#define FILE_MAX (1U << 20)
#define NAMES_MAX 16U /* units in one call */
#define NAME_LENGTH_MAX 255U
#define RANK_EVERYBODY 1
#define RANK_NAMED 2

/* ---- Limits of logins ---- */

static size_t next_word(const char **at, const char **ret) {
    size_t n;

    *at += strspn(*at, " \t");
    n = strcspn(*at, " \t\n#");
    *ret = *at;
    *at += n;
    return n;
}

static bool word_is(const char *word, size_t n, const char *text) {
    return strlen(text) == n && strncasecmp(word, text, n) == 0;
}

/* limits.conf(5) uses kilobytes. */
static bool parse_limit(const char *word, size_t n, int64_t *ret) {
    char number[24] = "";
    uint64_t kilobytes;

    if (word_is(word, n, "unlimited") || word_is(word, n, "infinity") || word_is(word, n, "-1")) {
        *ret = LIMIT_INFINITE;
        return true;
    }
    if (n == 0 || n >= sizeof(number))
        return false;
    memcpy(number, word, n);
    if (parse_unsigned(number, 10, INT64_MAX / 1024, &kilobytes) < 0)
        return false;
    *ret = (int64_t) kilobytes * 1024;
    return true;
}

/* DOMAIN TYPE ITEM VALUE. -EAGAIN: the line is for another group. */
static int take_limits_line(const char *line, const char *name, int *rank, int64_t *ret) {
    const char *domain, *type, *item, *value;
    size_t n_domain = next_word(&line, &domain), n_type = next_word(&line, &type);
    size_t n_item = next_word(&line, &item), n_value = next_word(&line, &value);
    int of = word_is(domain, n_domain, "*")   ? RANK_EVERYBODY
            : word_is(domain, n_domain, name) ? RANK_NAMED
                                              : 0;

    if (!word_is(item, n_item, "memlock") || (!word_is(type, n_type, "hard") && !word_is(type, n_type, "-")))
        return 0;
    if (of == 0 && n_domain > 0 && (domain[0] == '@' || domain[0] == '%'))
        return -EAGAIN;
    if (of == 0 || of < *rank || !parse_limit(value, n_value, ret))
        return 0;
    *rank = of;
    return 1;
}

int limits_find_memlock(const char *text, const char *name, int *rank, int64_t *ret) {
    int found = 0;

    for (const char *line = text; *line; line += *line == '\n') {
        int r = take_limits_line(line, name, rank, ret);

        found = r == 0 || found < 0 ? found : r;
        line += strcspn(line, "\n");
    }
    return found;
}

/* Returns 1, 0, or -EAGAIN: a line for a group may apply. */
static int read_limits_file(int at, const char *file, const char *name, int *rank, int64_t *ret) {
    _cleanup_free_ char *text = NULL;

    return read_file_at(at, file, FILE_MAX, &text, NULL) >= 0 ? limits_find_memlock(text, name, rank, ret)
                                                              : 0;
}

/* Returns the rank of the line that counts, or 0. Files of limits.d are read after limits.conf, in the order
 * of their names. If two lines of one rank contradict each other, either may count here. *ret_groups: there
 * are lines for other groups, whose members are unknown. */
static int read_login_limit(const char *name, int64_t *ret, bool *ret_groups) {
    _cleanup_closedir_ DIR *d = NULL;
    const struct dirent *entry;
    int rank = 0;

    *ret_groups = read_limits_file(AT_FDCWD, "/etc/security/limits.conf", name, &rank, ret) < 0;
    if (open_directory_at(AT_FDCWD, "/etc/security/limits.d", &d) >= 0)
        while ((entry = readdir(d)))
            if (entry->d_name[0] != '.' && read_limits_file(dirfd(d), entry->d_name, name, &rank, ret) < 0)
                *ret_groups = true;
    return rank;
}

/* ---- systemd ---- */

bool limits_take_line(const char *text, const char *key, int64_t *ret) {
    size_t n = strlen(key);

    for (const char *line = text; line && *line; line += *line == '\n') {
        size_t end = strcspn(line, "\n");

        if (end > n + 1 && strncmp(line, key, n) == 0 && line[n] == '=') {
            char number[24] = "";
            uint64_t bytes;

            if (word_is(line + n + 1, end - n - 1, "infinity")) {
                *ret = LIMIT_INFINITE;
                return true;
            }
            if (end - n - 1 < sizeof(number))
                memcpy(number, line + n + 1, end - n - 1);
            if (parse_unsigned(number, 10, UINT64_MAX, &bytes) < 0)
                return false;
            *ret = bytes > INT64_MAX ? LIMIT_INFINITE : (int64_t) bytes;
            return true;
        }
        line += end;
    }
    return false;
}

/* An empty line separates blocks. */
int limits_take_units(const char *text, struct json_object *units) {
    for (const char *block = text; *block;) {
        const char *end = strstr(block, "\n\n");
        _cleanup_free_ char *one = strndup(block, end ? (size_t) (end - block) : strlen(block));
        const char *id = one ? strstr(one, "Id=") : NULL;
        int64_t bytes;

        if (!one)
            return -ENOMEM;
        if (id && (id == one || id[-1] == '\n') && limits_take_line(one, "LimitMEMLOCK", &bytes)) {
            _cleanup_free_ char *name = strndup(id + strlen("Id="), strcspn(id + strlen("Id="), "\n"));

            if (!name || json_add(units, name, json_object_new_int64(bytes)) < 0)
                return -ENOMEM;
        }
        block = end ? end + 2 : block + strlen(block);
    }
    return 0;
}

static char *ask(const char *name, const char *const *arguments) {
    _cleanup_free_ char *program = NULL;
    char *text = NULL;

    if (command_find(name, &program, NULL) < 0 || command_ask_with(program, arguments, &text) < 0)
        return NULL;
    return text;
}

/* ---- Names in rules ---- */

/* A pattern matches many names, and a unit that begins with '-' would be an option. */
static bool is_one_name(const char *name) {
    size_t n = strlen(name);

    return n > 0 && n <= NAME_LENGTH_MAX && name[0] != '-' && !strpbrk(name, "*?[]{}!\n ");
}

int memory_each_name(struct json_object *rule, const char *key, memory_name_t found, void *userdata) {
    struct json_object *value = json_member(json_member(rule, "who"), key);
    bool is_list = value && json_object_is_type(value, json_type_array);
    size_t n = is_list ? json_object_array_length(value) : value ? 1 : 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *item = is_list ? json_object_array_get_idx(value, i) : value;
        const char *name = item ? json_object_get_string(item) : NULL;
        int r = name && is_one_name(name) ? found(userdata, name) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

typedef struct Names {
    const char *items[NAMES_MAX + 8]; /* borrowed; options come first */
    size_t n;
} Names;

static int add_name(void *userdata, const char *name) {
    Names *names = userdata;

    for (size_t i = 0; i < names->n; i++)
        if (streq(names->items[i], name))
            return 0;
    if (names->n < ELEMENTSOF(names->items) - 1)
        names->items[names->n++] = name;
    return 0;
}

static void collect(struct json_object *rules, const char *key, Names *names) {
    for (size_t i = 0; i < json_object_array_length(rules); i++)
        (void) memory_each_name(json_object_array_get_idx(rules, i), key, add_name, names);
}

struct json_object *memory_read_rules(void) {
    static const char *const arguments[] = {"policy", "show", "--json", NULL};
    _cleanup_json_ struct json_object *result = NULL;
    _cleanup_free_ char *text = NULL;

    /* The name service may hang, so another process asks it. */
    if (command_ask_with("/proc/self/exe", arguments, &text) < 0)
        return NULL;
    result = json_tokener_parse(text);
    return json_object_get(json_list(result, "rules"));
}

static int read_units(struct json_object *rules, struct json_object *units) {
    Names names = {.items = {"show", "--no-pager", "--property=Id,LimitMEMLOCK", "--"}, .n = 4};
    _cleanup_free_ char *text = NULL;

    collect(rules, "unit", &names);
    if (names.n == 4)
        return 0;
    text = ask("systemctl", names.items);
    return text ? limits_take_units(text, units) : 0;
}

/* ---- Logins ---- */

typedef struct Logins {
    struct json_object *users, *groups, *sessions; /* borrowed */
    char *defaults;                                /* owned; the output of systemctl; NULL: unknown */
    Names of_systemd;                              /* users without a line in the limits of logins */
} Logins;

/* Users without a line get what systemd gives to services, such as those that handle logins. */
static int read_login(Logins *l, struct json_object *to, const char *key, const char *name) {
    int64_t bytes = 0;
    bool groups;
    int rank = read_login_limit(name, &bytes, &groups);

    if (rank != RANK_NAMED && groups)
        return 0; /* unknown */
    if (rank == 0 && to == l->users)
        (void) add_name(&l->of_systemd, key);
    if (rank == 0 && (!l->defaults || !limits_take_line(l->defaults, "DefaultLimitMEMLOCK", &bytes)))
        return 0;
    return json_add(to, key, json_object_new_int64(bytes)) < 0 ? -ENOMEM : 0;
}

static int read_logins(struct json_object *rules, Logins *l) {
    static const char *const arguments[] = {"show", "--property=DefaultLimitMEMLOCK", NULL};
    Names users = {}, groups = {};
    int r = 0;

    collect(rules, "user", &users);
    collect(rules, "group", &groups);
    if (users.n + groups.n > 0)
        l->defaults = ask("systemctl", arguments);
    for (size_t i = 0; i < users.n && r >= 0; i++)
        r = read_login(l, l->users, users.items[i], users.items[i]);
    for (size_t i = 0; i < groups.n && r >= 0; i++) {
        _cleanup_free_ char *domain = format_string("@%s", groups.items[i]);

        r = domain ? read_login(l, l->groups, groups.items[i], domain) : -ENOMEM;
    }
    return r;
}

bool limits_take_uid(const char *text, const char *name, char *ret, size_t size) {
    size_t n = strlen(name), n_digits;

    for (const char *line = text; *line; line += *line == '\n') {
        const char *uid = strncmp(line, name, n) == 0 && line[n] == ':' ? strchr(line + n + 1, ':') : NULL;

        n_digits = uid ? strspn(++uid, "0123456789") : 0;
        if (n_digits > 0 && n_digits < size && uid[n_digits] == ':') {
            memcpy(ret, uid, n_digits);
            ret[n_digits] = 0;
            return true;
        }
        line += strcspn(line, "\n");
    }
    return false;
}

/* Programs that systemd starts for a user, such as a desktop or the QEMU of their libvirt, have the limit of
 * user@UID.service. Its PAM also applies the limits of logins, which count more. So only users without such a
 * limit are listed here. */
static int read_sessions(Logins *l) {
    Names users = {.items = {"passwd"}, .n = 1};
    Names units = {.items = {"show", "--no-pager", "--property=Id,LimitMEMLOCK", "--"}, .n = 4};
    char names[NAMES_MAX][sizeof("user@4294967295.service")];
    _cleanup_json_ struct json_object *found = json_object_new_object();
    _cleanup_free_ char *passwd = NULL, *text = NULL;
    size_t n = MIN(l->of_systemd.n, (size_t) NAMES_MAX);

    if (!found)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        (void) add_name(&users, l->of_systemd.items[i]);
    passwd = n > 0 ? ask("getent", users.items) : NULL;
    for (size_t i = 0; i < n; i++) {
        char uid[sizeof("4294967295")] = "";

        names[i][0] = 0;
        if (!passwd || !limits_take_uid(passwd, l->of_systemd.items[i], uid, sizeof(uid)))
            continue;
        (void) snprintf(names[i], sizeof(names[i]), "user@%s.service", uid);
        (void) add_name(&units, names[i]);
    }
    text = units.n > 4 ? ask("systemctl", units.items) : NULL;
    if (text && limits_take_units(text, found) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct json_object *bytes = json_member(found, names[i]);

        if (bytes && json_add(l->sessions, l->of_systemd.items[i], json_object_get(bytes)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static struct json_object *add_object(struct json_object *to, const char *key) {
    struct json_object *object = json_object_new_object();

    return json_add(to, key, object) < 0 ? NULL : object;
}

struct json_object *memory_read_limits(struct json_object *rules) {
    _cleanup_json_ struct json_object *limits = json_object_new_object();
    struct json_object *units = add_object(limits, "units");
    Logins l = {.users = add_object(limits, "users"),
            .groups = add_object(limits, "groups"),
            .sessions = add_object(limits, "sessions")};
    int r = units && l.users && l.groups && l.sessions ? 0 : -ENOMEM;

    if (r >= 0 && rules)
        r = read_units(rules, units);
    if (r >= 0 && rules)
        r = read_logins(rules, &l);
    if (r >= 0)
        r = read_sessions(&l);
    free(l.defaults);
    return r < 0 ? NULL : TAKE_PTR(limits);
}
