/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the judgement share: doctor-judge.c judges host and daemon, doctor-users.c users and
 * their programs. */

#include "client/doctor.h"

/* Every finding above FINDING_OK needs .why and .fix, see finding_set(). With too many findings, the last one
 * is returned. */
_printf_(4, 5) Finding *finding_add(
        Findings *f, FindingLevel level, const char *subject, const char *format, ...);
_printf_(3, 4) void finding_set(Findings *f, char **text, const char *format, ...);

/* Is it this distribution, or derived from it? */
bool doctor_is_like(const DoctorFacts *facts, const char *distribution);

void doctor_judge_users(const DoctorFacts *facts, Findings *f);
