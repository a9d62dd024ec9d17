/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/complete.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/calls.h"
#include "client/hardware-names.h"
#include "client/show.h"
#include "rehearsal/rehearsal.h"

/* a completion must not take longer */
#define ALARM_SECONDS 5

typedef enum Source {
    SOURCE_DEVICES = 1 << 0,
    SOURCE_GROUPS = 1 << 1, /* of devices */
    SOURCE_CLAIMS = 1 << 2,
    SOURCE_FILES = 1 << 3,
    SOURCE_USERS = 1 << 4,
    SOURCE_USER_GROUPS = 1 << 5,
    SOURCE_VERBS = 1 << 6,
    SOURCE_FILTERS = 1 << 7,
    SOURCE_POLICY_FILES = 1 << 8,
} Source;

typedef struct Values {
    const char *of;    /* an option or a verb, whose arguments these are */
    const char *words; /* separated by spaces; NULL: none */
    unsigned sources;  /* mask of Source */
} Values;

static const Values option_values[] = {
        {"color", "auto always never"},
        {"output", "text wide name json"},
        {"device", .sources = SOURCE_DEVICES},
        {"backend", "iommufd group compat vhost-vdpa noiommu"},
        {"grant", "fd node none"},
        {"tether", "lifeline process connection unit explicit"},
        {"require",
                "pasid migration dirty-tracking dma-logging dma-buf coherency enforced-coherency "
                "interrupt-remapping"},
        {"for", "15m 1h 8h 24h"},
        {"network", "mac= vlan= spoofchk=on spoofchk=off trust=on trust=off"},
        {"memlock", "1G 4G 16G 64G"},
        {"ram", "1G 4G 16G 64G"},
        {"viommu", "emulated nested"},
        {"autoprobe", "yes no"},
        {"driver", "vfio-pci none"},
        {"namespace", "host other"},
        {"host", .sources = SOURCE_FILES},
        {"policy", .sources = SOURCE_FILES},
        {"test", .sources = SOURCE_FILES},
        {"hotplug", .sources = SOURCE_FILES},
        {"user", .sources = SOURCE_USERS},
        {"group", .sources = SOURCE_USER_GROUPS},
        {"claim", .sources = SOURCE_CLAIMS},
};

static const Values verb_arguments[] = {
        {"list", .sources = SOURCE_FILTERS},
        {"watch", .sources = SOURCE_FILTERS},
        {"status", .sources = SOURCE_DEVICES | SOURCE_GROUPS | SOURCE_CLAIMS},
        {"topology", .sources = SOURCE_DEVICES | SOURCE_GROUPS | SOURCE_CLAIMS},
        {"plan", .sources = SOURCE_DEVICES},
        {"setup", .sources = SOURCE_DEVICES},
        {"hold", .sources = SOURCE_DEVICES},
        {"reserve", "class:ethernet class:nvme class:display class: tag: template:", SOURCE_DEVICES},
        {"release", .sources = SOURCE_DEVICES | SOURCE_CLAIMS},
        {"transfer", .sources = SOURCE_DEVICES | SOURCE_CLAIMS},
        {"quarantine", "list retry clear", SOURCE_DEVICES},
        {"evict", .sources = SOURCE_DEVICES | SOURCE_CLAIMS},
        {"vf", .sources = SOURCE_DEVICES},
        {"pin", .sources = SOURCE_DEVICES},
        {"import", .sources = SOURCE_FILES},
        {"unpin", .sources = SOURCE_DEVICES},
        {"caps", .sources = SOURCE_DEVICES},
        {"selftest", .sources = SOURCE_DEVICES},
        {"virt", "start attach detach follow", SOURCE_DEVICES},
        {"edit", .sources = SOURCE_POLICY_FILES},
        {"policy check", .sources = SOURCE_FILES},
        {"policy show", .sources = SOURCE_FILES},
        {"policy explain", .sources = SOURCE_DEVICES},
        {"policy test", .sources = SOURCE_FILES},
        {"policy diff", .sources = SOURCE_FILES},
        {"help", .sources = SOURCE_VERBS},
};

static const Values *find_values(const Values *values, size_t n, const char *of) {
    for (size_t i = 0; i < n; i++)
        if (streq(values[i].of, of))
            return &values[i];
    return NULL;
}

static void offer(const char *prefix, const char *word, const char *meaning) {
    _cleanup_free_ char *safe = meaning ? sanitize(meaning, 120) : NULL;

    printf("%s%s%s%s\n", prefix, word, safe && *safe ? "\t" : "", safe ? safe : "");
}

static void offer_words(const char *prefix, const char *words) {
    for (const char *p = words; p && *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");

        printf("%s%.*s\n", prefix, (int) n, p);
        p += n;
    }
}

/* ---- Objects of the daemon ---- */

/* Addresses without the kind, if the user has begun to write one. */
static const char *spelled(const char *name, const char *current) {
    const char *address = startswith(name, "pci:");

    return address && *current >= '0' && *current <= '9' ? address : name;
}

static void offer_device(
        const char *prefix, const Object *device, HardwareNames *names, const char *current) {
    struct json_object *d = device->properties;
    _cleanup_free_ char *model = NULL, *meaning = NULL;
    const char *vendor, *name;
    char class[24];

    hardware_names_find(names, d, &vendor, &name);
    model = hardware_short_name(vendor, name);
    meaning = format_string("%s%s%s, %s",
            is_pci(d) ? class_word((uint32_t) json_number(d, "class"), class, sizeof(class)) : "device",
            model ? ", " : "", model ? model : "", json_text(d, "state"));
    offer(prefix, spelled(device->name, current), meaning);
}

static void offer_claim(const char *prefix, const Object *claim) {
    _cleanup_free_ char *devices = json_list_text(claim->properties, "devices");
    _cleanup_free_ char *owner = show_owner(json_number(claim->properties, "uid"));
    _cleanup_free_ char *meaning = format_string("%s, %s", owner ? owner : "-", devices ? devices : "-");

    offer(prefix, claim->name, meaning);
}

/* Offers nothing when the daemon does not answer: errors cannot be shown here. */
static void offer_objects(const char *prefix, unsigned sources, const char *current) {
    _cleanup_names_ HardwareNames *names = hardware_names_new();
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_objects_ Objects objects = {};

    if (vfiod_connection_new(&c, NULL) < 0 || call_get_objects(c, &objects, NULL) < 0)
        return;
    for (size_t i = 0; i < objects.n_items; i++) {
        const Object *object = &objects.items[i];

        if (object->kind == OBJECT_DEVICE && sources & SOURCE_DEVICES)
            offer_device(prefix, object, names, current);
        else if (object->kind == OBJECT_GROUP && sources & SOURCE_GROUPS)
            printf("%sgroup:%s\n", prefix, object->name);
        else if (object->kind == OBJECT_CLAIM && sources & SOURCE_CLAIMS)
            offer_claim(prefix, object);
    }
}

/* ---- Words ---- */

/* group: "policy", or NULL. */
static void offer_verbs(const char *group) {
    const char *name, *summary, *last = "";

    for (size_t i = 0; (name = grammar_verb(i, &summary)); i++) {
        const char *rest = group ? startswith(name, group) : NULL, *space = strchr(name, ' ');

        if (rest && *rest == ' ')
            offer("", rest + 1, summary);
        else if (!group && !space)
            offer("", name, summary);
        else if (!group && strncmp(last, name, (size_t) (space - name)) != 0)
            printf("%.*s\tTry, show and explain policies\n", (int) (space - name), name);
        last = name;
    }
}

static void offer_filters(const char *current) {
    static const Values columns[] = {
            {"state=", "free claimed quarantined"},
            {"class=", "display network storage multimedia usb accelerator bridge"},
            {"driver="},
            {"group="},
            {"ids="},
            {"model="},
            {"name="},
            {"node="},
            {"claim="},
            {"access=", "allow ask deny unknown"},
            {"numa="},
            {"host-use="},
            {"tag="},
    };

    for (size_t i = 0; i < ELEMENTSOF(columns); i++)
        if (startswith(current, columns[i].of)) {
            offer_words(columns[i].of, columns[i].words);
            return;
        }
    for (size_t i = 0; i < ELEMENTSOF(columns); i++)
        puts(columns[i].of);
}

/* From the directory in which files are edited. */
static void offer_policy_files(void) {
    _cleanup_closedir_ DIR *directory = NULL;
    const struct dirent *entry;

    if (open_directory_at(AT_FDCWD, rehearsal_directories()[0], &directory) < 0)
        return;
    while ((entry = readdir(directory))) {
        size_t n = strlen(entry->d_name);

        if (entry->d_name[0] != '.' && n > strlen(".json") &&
                streq(entry->d_name + n - strlen(".json"), ".json"))
            offer("", entry->d_name, NULL);
    }
}

static void offer_options(const char *verb) {
    const struct option *option;

    for (size_t i = 0; (option = grammar_option(i)); i++)
        if (grammar_takes_option(verb, option))
            offer("--", option->name, grammar_option_summary(option));
}

static void offer_values(const char *prefix, const Values *values, const char *current) {
    if (!values)
        return;
    offer_words(prefix, values->words);
    if (values->sources & (SOURCE_DEVICES | SOURCE_GROUPS | SOURCE_CLAIMS))
        offer_objects(prefix, values->sources, current);
    if (values->sources & SOURCE_FILES)
        puts(":files");
    if (values->sources & SOURCE_POLICY_FILES)
        offer_policy_files();
    if (values->sources & SOURCE_USERS)
        puts(":users");
    if (values->sources & SOURCE_USER_GROUPS)
        puts(":groups");
    if (values->sources & SOURCE_VERBS)
        offer_verbs(NULL);
    if (values->sources & SOURCE_FILTERS)
        offer_filters(current);
}

/* ---- The command line so far ---- */

typedef struct Written {
    const char *group; /* "policy" */
    char *verb;        /* owned; NULL: none yet; "": an unknown one */
    size_t n_arguments;
    bool ended;                    /* after "--": no options follow */
    const struct option *value_of; /* the next word is its value */
    size_t command;                /* index of the word where a command begins; SIZE_MAX: none */
} Written;

/* The option that a word names, NULL: none. *ret_value: the word contains its value. */
static const struct option *find_option(const char *word, bool *ret_value) {
    size_t n = strcspn(word, "=");
    const struct option *option;

    *ret_value = word[n] == '=';
    if (word[1] != '-') {
        *ret_value = word[2] != '\0';
        return grammar_option_of_letter(word[1]);
    }
    for (size_t i = 0; (option = grammar_option(i)); i++)
        if (strlen(option->name) == n - 2 && strncmp(word + 2, option->name, n - 2) == 0)
            return option;
    return NULL;
}

static int take_verb(Written *w, const char *word) {
    const char *name;

    if (!w->group && streq(word, "policy")) {
        w->group = "policy";
        return 0;
    }
    w->verb = w->group ? format_string("%s %s", w->group, word) : strdup(word);
    if (!w->verb)
        return -ENOMEM;
    for (size_t i = 0; (name = grammar_verb(i, NULL)); i++)
        if (streq(name, w->verb))
            return 0;
    *w->verb = '\0';
    return 0;
}

static int take_word(Written *w, const char *word, size_t i) {
    bool has_value;

    if (w->value_of) {
        w->value_of = NULL;
        return 0;
    }
    if (!w->ended && streq(word, "--")) {
        w->ended = true;
        if (w->verb && grammar_takes_command(w->verb))
            w->command = i + 1;
        return 0;
    }
    if (!w->ended && word[0] == '-' && word[1]) {
        const struct option *option = find_option(word, &has_value);

        w->value_of = option && option->has_arg == required_argument && !has_value ? option : NULL;
        return 0;
    }
    if (!w->verb)
        return take_verb(w, word);
    if (grammar_takes_command(w->verb))
        w->command = i;
    w->n_arguments++;
    return 0;
}

static void offer_argument(const Written *w, const char *current, size_t i) {
    const Values *values = find_values(verb_arguments, ELEMENTSOF(verb_arguments), w->verb);

    if (grammar_takes_command(w->verb))
        printf(":command %zu\n", i);
    else if (streq(w->verb, "help") && w->group)
        offer_verbs(w->group);
    else if (values && values->words) { /* the first of these, then the others */
        if (w->n_arguments == 0)
            offer_words("", values->words);
        else if (w->n_arguments >= 2)
            offer_objects("", values->sources, current);
    } else
        offer_values("", values, current);
}

static void complete(const Written *w, const char *current, size_t i) {
    const struct option *option;
    bool has_value;

    if (w->command != SIZE_MAX)
        printf(":command %zu\n", w->command);
    else if (w->value_of)
        offer_values("", find_values(option_values, ELEMENTSOF(option_values), w->value_of->name), current);
    else if (*current == '-' && !w->ended) {
        option = strchr(current, '=') ? find_option(current, &has_value) : NULL;
        if (option) {
            _cleanup_free_ char *prefix = format_string("--%s=", option->name);

            if (prefix)
                offer_values(prefix, find_values(option_values, ELEMENTSOF(option_values), option->name),
                        strchr(current, '=') + 1);
        } else
            offer_options(w->verb);
    } else if (!w->verb)
        offer_verbs(w->group);
    else
        offer_argument(w, current, i);
}

int verb_complete(const Options *o, VfiodErrorText *error) {
    Written w = {.command = SIZE_MAX};
    int r = 0;

    (void) alarm(ALARM_SECONDS);
    for (size_t i = 0; i + 1 < o->n_arguments && w.command == SIZE_MAX && r >= 0; i++) {
        r = take_word(&w, o->arguments[i], i);
        if (w.verb && streq(w.verb, "help") && streq(o->arguments[i], "policy"))
            w.group = "policy";
    }
    if (r >= 0)
        complete(&w, o->arguments[o->n_arguments - 1], o->n_arguments - 1);
    free(w.verb);
    return r < 0 ? error_text_errno(error, r, "Cannot complete") : 0;
}
