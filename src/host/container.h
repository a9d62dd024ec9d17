/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is /dev/vfio/vfio? VFIO's own container, or, on a kernel with CONFIG_IOMMUFD_VFIO_CONTAINER, an
 * iommufd that also knows the container's questions. Only a question that the other does not know tells. */

#include "base/macro.h"

/* Of the opened file. */
bool container_file_is_iommufd(int fd);

/* Of the node, which is opened for a moment, once for each registration in the kernel. False also where
 * that cannot be told: without the node, without the right to open it, or while no module stands behind it,
 * which an open would load. */
bool container_is_iommufd(void);
