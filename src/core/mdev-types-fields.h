/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of one type, for the documents that have such a list. */

#include "core/document.h"
#include "core/mdev-types.h"

extern const FieldTable mdev_type_table;
