/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The command line: one table of options, one table of verbs that says which of them a verb takes. Global
 * options may stand before or behind the verb. All errors are printed here, and nowhere else. */

#include "client/vfioctl.h"

#include <getopt.h>
#include <locale.h>
#include <stdio.h>

#include "base/str.h"
#include "client/convert.h"
#include "client/show.h"

static const char *const colour_mode_table[_COLOUR_MODE_MAX] = {
        [COLOUR_MODE_AUTO] = "auto",
        [COLOUR_MODE_ALWAYS] = "always",
        [COLOUR_MODE_NEVER] = "never",
};
DEFINE_STRING_TABLE(colour_mode, ColourMode);

typedef enum OptionFlag {
    OPTION_HELP = 1 << 0,
    OPTION_VERSION = 1 << 1,
    OPTION_JSON = 1 << 2,
    OPTION_NO_LEGEND = 1 << 3,
    OPTION_COLOUR = 1 << 4,
    OPTION_DEVICE = 1 << 5,
    OPTION_BACKEND = 1 << 6,
    OPTION_REASON = 1 << 7,
    OPTION_GROUPS = 1 << 8,
    OPTION_NO_WAIT = 1 << 9,
    OPTION_MEMLOCK = 1 << 10,
    OPTION_UNTAINTED = 1 << 11,
    OPTION_NO_ASK = 1 << 12,
} OptionFlag;

#define OPTIONS_GLOBAL (OPTION_HELP | OPTION_VERSION | OPTION_JSON | OPTION_NO_LEGEND | OPTION_COLOUR)
#define OPTIONS_REQUEST (OPTION_BACKEND | OPTION_REASON | OPTION_MEMLOCK | OPTION_UNTAINTED)
#define OPTIONS_CLAIM (OPTIONS_REQUEST | OPTION_NO_ASK)

/* val is the flag: short options are mapped to it. */
static const struct option long_options[] = {
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {"json", no_argument, NULL, OPTION_JSON},
        {"no-legend", no_argument, NULL, OPTION_NO_LEGEND},
        {"color", required_argument, NULL, OPTION_COLOUR},
        {"device", required_argument, NULL, OPTION_DEVICE},
        {"backend", required_argument, NULL, OPTION_BACKEND},
        {"reason", required_argument, NULL, OPTION_REASON},
        {"groups", no_argument, NULL, OPTION_GROUPS},
        {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
        {"memlock", required_argument, NULL, OPTION_MEMLOCK},
        {"untainted", no_argument, NULL, OPTION_UNTAINTED},
        {"no-ask-password", no_argument, NULL, OPTION_NO_ASK},
        {},
};
/* '+': stop at the first word that is no option; ':': tell a missing argument from an unknown option. */
#define SHORT_OPTIONS "hd:b:r:g"

typedef struct Verb {
    const char *name, *arguments, *summary;
    unsigned options;   /* mask of OptionFlag, beside the global ones */
    size_t min, max;    /* number of arguments */
    bool takes_command; /* options end with the first argument */
    int (*run)(const Options *o, VfiodErrorText *error);
} Verb;

static const Verb verbs[] = {
        {"list", "[--groups]", "Show devices, or the tree of IOMMU groups", OPTION_GROUPS, 0, 0, false,
                verb_list},
        {"status", "[DEVICE|CLAIM|group:N…]", "Show the daemon, or all about devices, claims and groups", 0,
                0, SIZE_MAX, false, verb_status},
        {"plan", "DEVICE…", "Show what a claim would do to every device concerned", OPTIONS_REQUEST, 1,
                SIZE_MAX, false, verb_plan},
        {"exec", "--device DEVICE… [--] COMMAND…", "Claim devices and run a command that gets their fds",
                OPTIONS_CLAIM | OPTION_DEVICE, 1, SIZE_MAX, true, verb_exec},
        {"hold", "DEVICE…", "Claim devices until interrupted", OPTIONS_CLAIM, 1, SIZE_MAX, false, verb_hold},
        {"release", "CLAIM|DEVICE…", "End claims and wait until the devices are given back", OPTION_NO_WAIT,
                1, SIZE_MAX, false, verb_release},
        {"monitor", "", "Follow what changes", 0, 0, 0, false, verb_monitor},
        {"taint", "", "Show what weakens this host, and since when", 0, 0, 0, false, verb_taint},
        {"reload", "", "Let the daemon read its policy files again", 0, 0, 0, false, verb_reload},
};

static void show_help(void) {
    printf("vfioctl [OPTION…] VERB [ARGUMENT…]\n\n"
           "Looks at VFIO devices and claims them from vfiod.\n\n"
           "Verbs:\n");
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        printf("  %s%s%s\n        %s\n", verbs[i].name, *verbs[i].arguments ? " " : "", verbs[i].arguments,
                verbs[i].summary);
    printf("\nOptions:\n"
           "      --json               Print JSON, for scripts; errors too\n"
           "      --no-legend          Print no headings\n"
           "      --color=WHEN         auto, always or never\n"
           "  -g, --groups             list: the tree of groups\n"
           "  -d, --device=DEVICE      exec: claim this device; may be given again\n"
           "  -b, --backend=BACKEND    exec, hold, plan: iommufd, group or noiommu\n"
           "  -r, --reason=TEXT        exec, hold, plan: what it is for, for the audit record\n"
           "      --memlock=SIZE       exec, hold, plan: raise the limit of locked memory\n"
           "      --untainted          exec, hold, plan: only while nothing weakens the host\n"
           "      --no-ask-password    exec, hold: ask nobody for a yes\n"
           "      --no-wait            release: do not wait until the claim is gone\n"
           "  -h, --help               Show this help\n"
           "      --version            Show the version\n\n"
           "See vfioctl(1).\n");
}

static const Verb *find_verb(const char *name) {
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        if (streq(verbs[i].name, name))
            return verbs + i;
    return NULL;
}

static int unknown_verb(const char *name, VfiodErrorText *error) {
    const char *names[ELEMENTSOF(verbs) + 1] = {}, *near;

    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        names[i] = verbs[i].name;
    near = nearest(name, names);
    return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "%s: unknown verb%s%s%s See vfioctl --help.", name,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : ".");
}

static unsigned flag_of_short(int c) {
    switch (c) {
    case 'h':
        return OPTION_HELP;
    case 'd':
        return OPTION_DEVICE;
    case 'b':
        return OPTION_BACKEND;
    case 'r':
        return OPTION_REASON;
    case 'g':
        return OPTION_GROUPS;
    default:
        return (unsigned) c;
    }
}

/* By its long name: argv[optind - 1] may be the option's argument. */
static const char *option_name(unsigned flag) {
    const struct option *option = long_options;

    while (option->name && option->val != (int) flag)
        option++;
    return option->name ? option->name : "?";
}

static int take_option(Options *o, unsigned flag, const char *value, VfiodErrorText *error) {
    switch (flag) {
    case OPTION_JSON:
        o->json = true;
        return 0;
    case OPTION_NO_LEGEND:
        o->legend = false;
        return 0;
    case OPTION_COLOUR:
        o->colour = colour_mode_from_string(value);
        if (o->colour < 0)
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "--color=%s: it takes auto, always or never.", value);
        return 0;
    case OPTION_DEVICE:
        o->devices[o->n_devices++] = value;
        return 0;
    case OPTION_BACKEND:
        o->backend = value;
        return 0;
    case OPTION_REASON:
        o->reason = value;
        return 0;
    case OPTION_MEMLOCK:
        if (parse_size(value, &o->memlock) < 0 || o->memlock == 0)
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                    "--memlock=%s: it takes bytes, or a size such as 16G.", value);
        return 0;
    case OPTION_UNTAINTED:
        o->untainted = true;
        return 0;
    case OPTION_NO_ASK:
        o->ask = false;
        return 0;
    case OPTION_GROUPS:
        o->groups = true;
        return 0;
    default:
        assert(flag == OPTION_NO_WAIT);
        o->wait = false;
        return 0;
    }
}

/* Parses options from argv[1] on, up to the first argument (stop) or all of them. Returns the index of the
 * first argument, or a negative errno. *ret_done: --help or --version was served. */
static int parse_options(int argc, char **argv, bool stop, unsigned allowed, Options *o, bool *ret_done,
        VfiodErrorText *error) {
    opterr = 0;
    optind = 0;
    for (;;) {
        int r, c = getopt_long(argc, argv, stop ? "+:" SHORT_OPTIONS : ":" SHORT_OPTIONS, long_options, NULL);
        unsigned flag = flag_of_short(c);

        if (c < 0)
            return optind;
        if (c == ':')
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "%s: the option needs an argument.", argv[optind - 1]);
        if (c == '?' && optopt > 0 && optopt < 128 && strchr(SHORT_OPTIONS, optopt) == NULL)
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "-%c: unknown option. See vfioctl --help.", optopt);
        if (c == '?')
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                    "%s: unknown option, or one that takes no argument. See vfioctl --help.",
                    argv[optind - 1]);
        if ((flag & allowed) == 0)
            return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                    "--%s: the option does not belong here. See vfioctl --help.", option_name(flag));
        if (flag == OPTION_HELP || flag == OPTION_VERSION) {
            if (flag == OPTION_HELP)
                show_help();
            else
                puts("vfioctl " VFIOD_VERSION);
            *ret_done = true;
            return optind;
        }
        r = take_option(o, flag, optarg, error);
        if (r < 0)
            return r;
    }
}

static int check_arguments(const Verb *verb, const Options *o, VfiodErrorText *error) {
    if (o->n_arguments < verb->min)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "Too few arguments: vfioctl %s %s", verb->name,
                verb->arguments);
    if (o->n_arguments > verb->max)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "Too many arguments: vfioctl %s %s",
                verb->name, verb->arguments);
    return 0;
}

static int run(int argc, char **argv, Options *o, VfiodErrorText *error) {
    const Verb *verb;
    bool done = false;
    int first, r;

    first = parse_options(argc, argv, /* stop= */ true, OPTIONS_GLOBAL, o, &done, error);
    if (first < 0 || done)
        return MIN(first, 0);
    if (first == argc)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "No verb. See vfioctl --help.");
    verb = find_verb(argv[first]);
    if (!verb)
        return unknown_verb(argv[first], error);
    argc -= first;
    argv += first;
    first = parse_options(argc, argv, verb->takes_command, OPTIONS_GLOBAL | verb->options, o, &done, error);
    if (first < 0 || done)
        return MIN(first, 0);
    o->arguments = argv + first;
    o->n_arguments = (size_t) (argc - first);
    r = check_arguments(verb, o, error);
    return r < 0 ? r : verb->run(o, error);
}

static void show_error(const Options *o, const VfiodErrorText *error) {
    _cleanup_json_ struct json_object *object = NULL;

    if (!o->json) {
        fprintf(stderr, "vfioctl: %s\n", error->message);
        return;
    }
    object = json_object_new_object();
    if (!object || json_add(object, "error", json_object_new_string(error->name)) < 0 ||
            json_add(object, "message", json_object_new_string(error->message)) < 0 ||
            show_json(stderr, object, /* pretty= */ false) < 0)
        fprintf(stderr, "vfioctl: %s\n", error->message);
}

/* An error in the options may come before --json was seen; look for it everywhere the user may have meant it.
 */
static bool json_is_wanted(int argc, char **argv) {
    for (int i = 1; i < argc && !streq(argv[i], "--"); i++)
        if (streq(argv[i], "--json"))
            return true;
    return false;
}

int main(int argc, char **argv) {
    _cleanup_free_ const char **devices = calloc((size_t) argc + 1, sizeof(char *));
    Options options = {.legend = true, .wait = true, .ask = true, .devices = devices};
    VfiodErrorText error = {.name = ERROR_NAME_FAILED, .message = "Out of memory"};
    int r = -ENOMEM;

    setlocale(LC_ALL, "");
    if (devices)
        r = run(argc, argv, &options, &error);
    if (r >= 0 && fflush(stdout) != 0)
        r = error_text_errno(&error, errno, "Cannot write");
    if (r >= 0)
        return r;
    if (streq(error.name, ERROR_NAME_USAGE))
        options.json = options.json || json_is_wanted(argc, argv);
    show_error(&options, &error);
    return exit_status_of(error.name);
}
