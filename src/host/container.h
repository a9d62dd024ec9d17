/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is /dev/vfio/vfio? It is VFIO's own container, or, on a kernel with CONFIG_IOMMUFD_VFIO_CONTAINER, an
 * iommufd that also answers the container's questions. Only a question that the container does not know shows
 * which. */

#include "base/macro.h"

/* For an open file. */
bool container_file_is_iommufd(int fd);

/* For the node, which is opened for a moment, once for each registration in the kernel. Returns false if this
 * is unknown: there is no node, vfiod may not open it, or its module is not loaded, since an open would load
 * it. */
bool container_is_iommufd(void);
