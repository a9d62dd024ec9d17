/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Completion for every shell, from the tables of verbs and options: the scripts for bash, zsh and fish only
 * ask `vfioctl __complete -- WORD…`, whose last word is the one that is being written.
 *
 * Each line of the answer is a word, or a word, a tab and what it means. Words are not compared with what was
 * written: shells have their own ideas of that. A line that begins with ':' asks the shell for what it knows
 * better: ":files", ":users", ":groups", and ":command N", where a command line of its own begins with the
 * word N, counted from 0. */

#include <getopt.h>

#include "client/vfioctl.h"

/* The verbs in their order, NULL behind the last: "policy check". */
const char *grammar_verb(size_t i, const char **ret_summary);
bool grammar_takes_command(const char *verb);
/* The options; NULL behind the last. verb NULL: none yet. */
const struct option *grammar_option(size_t i);
const struct option *grammar_option_of_letter(char letter); /* NULL: there is none */
bool grammar_takes_option(const char *verb, const struct option *option);
const char *grammar_option_summary(const struct option *option);

int verb_complete(const Options *o, VfiodErrorText *error);
