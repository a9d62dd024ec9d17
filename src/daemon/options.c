/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/options.h"
#include "host/policy-files.h"

#define SECONDS_MAX (365ULL * 24 * 3600)

enum {
    ARG_VERSION = 256,
    ARG_BUS_INTROSPECT,
    ARG_POLICY_DIRECTORY,
    ARG_SHADOW_DIRECTORY,
    ARG_STATE_DIRECTORY,
    ARG_CDI_DIRECTORY,
    ARG_PASSWD,
    ARG_SIMULATE,
    ARG_EXIT_IDLE,
    ARG_WORKER_TIMEOUT,
    ARG_ASK_TIMEOUT,
    ARG_LOG_LEVEL,
};

static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, ARG_VERSION},
        {"bus-introspect", required_argument, NULL, ARG_BUS_INTROSPECT},
        {"policy-directory", required_argument, NULL, ARG_POLICY_DIRECTORY},
        {"shadow-directory", required_argument, NULL, ARG_SHADOW_DIRECTORY},
        {"state-directory", required_argument, NULL, ARG_STATE_DIRECTORY},
        {"cdi-directory", required_argument, NULL, ARG_CDI_DIRECTORY},
        {"passwd", required_argument, NULL, ARG_PASSWD},
        {"simulate", required_argument, NULL, ARG_SIMULATE},
        {"exit-idle", required_argument, NULL, ARG_EXIT_IDLE},
        {"worker-timeout", required_argument, NULL, ARG_WORKER_TIMEOUT},
        {"ask-timeout", required_argument, NULL, ARG_ASK_TIMEOUT},
        {"log-level", required_argument, NULL, ARG_LOG_LEVEL},
        {},
};

static int print_help(void) {
    printf("%s [OPTIONS...]\n\n"
           "Hand out VFIO devices to programs, as the operator's policy allows.\n\n"
           "  -h --help                   Show this help\n"
           "     --version                Show the version\n"
           "     --bus-introspect=PATH    Print the D-Bus interfaces of an object, without a bus\n"
           "     --policy-directory=DIR   Read the policy from here instead of the default\n"
           "                              places; may be given several times, the first wins\n"
           "     --shadow-directory=DIR   Likewise for the shadow policy\n"
           "     --state-directory=DIR    Keep records of claims here (default /run/vfiod)\n"
           "     --cdi-directory=DIR      Describe the nodes of claims to container engines\n"
           "                              here, if it exists (default: do not)\n"
           "     --passwd=FILE            Name users in messages as this file does (default\n"
           "                              /etc/passwd)\n"
           "     --simulate=HOST.json     Run on a recorded host ('vfioctl snapshot'), without\n"
           "                              touching this machine: nothing is handed out\n"
           "     --exit-idle=SECONDS      Exit after this time without claims and clients\n"
           "                              (default 30; \"infinity\": never)\n"
           "     --worker-timeout=SECONDS Give up when the kernel does not answer\n"
           "                              (default 60)\n"
           "     --ask-timeout=SECONDS    Deny when nobody has authenticated after this time\n"
           "                              (default 120)\n"
           "     --log-level=LEVEL        Drop messages below this: debug, info, notice,\n"
           "                              warning or err\n\n"
           "See the vfiod(8) man page.\n",
            program_invocation_short_name);
    return 0;
}

static int complain(const char *option, const char *value, const char *expected) {
    fprintf(stderr, "%s: --%s=%s: %s\n", program_invocation_short_name, option, value, expected);
    return -EINVAL;
}

static int parse_seconds(const char *option, const char *value, uint64_t *ret_usec) {
    uint64_t seconds;

    if (parse_unsigned(value, 10, SECONDS_MAX, &seconds) < 0 || seconds == 0)
        return complain(option, value, "a number of seconds is expected");
    *ret_usec = seconds * 1000 * 1000;
    return 0;
}

static int parse_level(const char *value) {
    static const char *const levels[] = {
            [LOG_ERR] = "err",
            [LOG_WARNING] = "warning",
            [LOG_NOTICE] = "notice",
            [LOG_INFO] = "info",
            [LOG_DEBUG] = "debug",
    };

    for (size_t i = 0; i < ELEMENTSOF(levels); i++)
        if (streq_ptr(levels[i], value)) {
            log_set_max_level((int) i);
            return 0;
        }
    return complain("log-level", value, "debug, info, notice, warning or err is expected");
}

static int add_directory(const char *option, const char *directory, const char ***list, size_t *n,
        const char *const **ret_used) {
    const char **grown;

    if (directory[0] != '/')
        return complain(option, directory, "an absolute path is expected");
    grown = reallocarray(*list, *n + 2, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    *list = grown;
    grown[(*n)++] = directory;
    grown[*n] = NULL;
    *ret_used = grown;
    return 0;
}

static int add_named_directory(Options *o, const char *directory) {
    return add_directory("policy-directory", directory, &o->policy_directories, &o->n_policy_directories,
            &o->manager.policy_directories);
}

/* With a policy from elsewhere, this host's default shadow policy is not used. */
static int add_policy_directory(Options *o, const char *directory) {
    static const char *const none[] = {NULL};

    if (o->n_shadow_directories == 0)
        o->manager.shadow_directories = none;
    return add_named_directory(o, directory);
}

static int take_option(Options *o, int c, const char *value) {
    switch (c) {
    case ARG_BUS_INTROSPECT:
        o->introspect = value;
        return 0;
    case ARG_POLICY_DIRECTORY:
        return add_policy_directory(o, value);
    case ARG_SHADOW_DIRECTORY:
        return add_directory("shadow-directory", value, &o->shadow_directories, &o->n_shadow_directories,
                &o->manager.shadow_directories);
    case ARG_CDI_DIRECTORY:
        if (value[0] != '/')
            return complain("cdi-directory", value, "an absolute path is expected");
        o->manager.cdi_directory = value;
        return 0;
    case ARG_PASSWD:
        if (value[0] != '/')
            return complain("passwd", value, "an absolute path is expected");
        o->manager.passwd = value;
        return 0;
    case ARG_STATE_DIRECTORY:
        if (value[0] != '/')
            return complain("state-directory", value, "an absolute path is expected");
        o->manager.state_directory = value;
        return 0;
    case ARG_SIMULATE:
        o->manager.simulate = value;
        return 0;
    case ARG_EXIT_IDLE:
        if (!streq(value, "infinity"))
            return parse_seconds("exit-idle", value, &o->manager.exit_idle_usec);
        o->manager.exit_idle_usec = EXIT_IDLE_NEVER;
        return 0;
    case ARG_WORKER_TIMEOUT:
        return parse_seconds("worker-timeout", value, &o->manager.worker_timeout_usec);
    case ARG_ASK_TIMEOUT:
        return parse_seconds("ask-timeout", value, &o->manager.ask_timeout_usec);
    case ARG_LOG_LEVEL:
        return parse_level(value);
    default:
        return -EINVAL; /* getopt has printed a message */
    }
}

static int add_credentials(Options *o) {
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    const char *const defaults[] = {POLICY_DIRECTORIES_WITH(directory)};
    bool named = o->n_policy_directories > 0;
    int r = 0;

    if (!directory || directory[0] != '/')
        return 0;
    o->manager.credentials_directory = directory;
    if (named)
        return add_named_directory(o, directory);
    for (size_t i = 0; i < ELEMENTSOF(defaults) && r >= 0; i++)
        r = add_named_directory(o, defaults[i]);
    return r;
}

int options_parse(int argc, char **argv, Options *ret) {
    static const char *const policy_directories[] = {POLICY_DIRECTORIES, NULL};
    static const char *const shadow_directories[] = {POLICY_SHADOW_DIRECTORIES, NULL};
    _cleanup_(options_done) Options o = {.manager = {
                                                 .policy_directories = policy_directories,
                                                 .shadow_directories = shadow_directories,
                                                 .state_directory = "/run/vfiod",
                                                 .passwd = "/etc/passwd",
                                                 .exit_idle_usec = 30ULL * 1000 * 1000,
                                                 .worker_timeout_usec = 60ULL * 1000 * 1000,
                                                 .ask_timeout_usec = 120ULL * 1000 * 1000,
                                         }};
    int c, r;

    while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0) {
        if (c == 'h')
            return print_help();
        if (c == ARG_VERSION) {
            printf("vfiod %s\n", VFIOD_VERSION);
            return 0;
        }
        r = take_option(&o, c, optarg);
        if (r < 0)
            return r;
    }
    if (optind < argc) {
        fprintf(stderr, "%s: no arguments are expected, only options\n", program_invocation_short_name);
        return -EINVAL;
    }
    r = add_credentials(&o);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(o, (Options){});
    return 1;
}

void options_done(Options *o) {
    free(o->policy_directories);
    free(o->shadow_directories);
    *o = (Options){};
}
