/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Completion for all shells, from the tables of verbs and options. The scripts for bash, zsh and fish only
 * call `vfioctl __complete -- WORD…`, whose last word is the one being written.
 *
 * Each line of the answer is a word, optionally with a tab and a description. It is not compared with the
 * written word, because shells do that in their own ways. A line that begins with ':' makes the shell
 * complete: ":files", ":users", ":groups", and ":command N", where a command line begins with word N, counted
 * from 0. */

#include <getopt.h>

#include "client/vfioctl.h"

/* The verbs in order, NULL after the last: "policy check". */
const char *grammar_verb(size_t i, const char **ret_summary);
bool grammar_takes_command(const char *verb);
/* The options; NULL after the last. */
const struct option *grammar_option(size_t i);
const struct option *grammar_option_of_letter(char letter); /* NULL: there is none */
bool grammar_takes_option(const char *verb, const struct option *option);
const char *grammar_option_summary(const struct option *option);

int verb_complete(const Options *o, VfiodErrorText *error);
