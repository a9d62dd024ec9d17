/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Variant drivers of the kernel: each is vfio-pci and more, for the devices that it names. Which of them this
 * kernel has, its modules say. This list is for kernels that lack one, so that the operator can be told what
 * to install, and for the names of drivers whose module is not loaded.
 *
 *   X(MODULE, DRIVER, GAIN, ONLY_VIRTUAL, VENDOR, FIRST, LAST)
 *
 * DRIVER is its name on the PCI bus; GAIN what a claim has of it; ONLY_VIRTUAL: it helps virtual functions
 * alone; FIRST to LAST are device ids. */

#define VARIANT_TABLE(X)                                                                                     \
    X("hisi_acc_vfio_pci", "hisi_acc_vfio_pci", "live migration", true, 0x19e5, 0xa251, 0xa251)              \
    X("hisi_acc_vfio_pci", "hisi_acc_vfio_pci", "live migration", true, 0x19e5, 0xa256, 0xa256)              \
    X("hisi_acc_vfio_pci", "hisi_acc_vfio_pci", "live migration", true, 0x19e5, 0xa259, 0xa259)              \
    X("ism_vfio_pci", "ism_vfio_pci", "stores of the size that it needs", false, 0x1014, 0x04ed, 0x04ed)     \
    X("mlx5_vfio_pci", "mlx5_vfio_pci", "live migration", true, 0x15b3, 0x101e, 0x101e)                      \
    X("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci", "the memory of the GPU", false, 0x10de, 0x2342,        \
            0x2342)                                                                                          \
    X("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci", "the memory of the GPU", false, 0x10de, 0x2345,        \
            0x2345)                                                                                          \
    X("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci", "the memory of the GPU", false, 0x10de, 0x2348,        \
            0x2348)                                                                                          \
    X("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci", "the memory of the GPU", false, 0x10de, 0x2941,        \
            0x2941)                                                                                          \
    X("nvgrace_gpu_vfio_pci", "nvgrace_gpu_vfio_pci", "the memory of the GPU", false, 0x10de, 0x31c2,        \
            0x31c2)                                                                                          \
    X("pds_vfio_pci", "pds_vfio_pci", "live migration", true, 0x1dd8, 0x1003, 0x1003)                        \
    X("qat_vfio_pci", "qat_vfio_pci", "live migration", true, 0x8086, 0x4941, 0x4941)                        \
    X("qat_vfio_pci", "qat_vfio_pci", "live migration", true, 0x8086, 0x4943, 0x4943)                        \
    X("qat_vfio_pci", "qat_vfio_pci", "live migration", true, 0x8086, 0x4945, 0x4945)                        \
    X("qat_vfio_pci", "qat_vfio_pci", "live migration", true, 0x8086, 0x4949, 0x4949)                        \
    X("virtio_vfio_pci", "virtio_vfio_pci", "live migration", true, 0x1af4, 0x1041, 0x1042)                  \
    X("xe_vfio_pci", "xe-vfio-pci", "live migration", true, 0x8086, 0xb080, 0xb0b0)                          \
    X("xe_vfio_pci", "xe-vfio-pci", "live migration", true, 0x8086, 0xe200, 0xe223)                          \
    X("xe_vfio_pci", "xe-vfio-pci", "live migration", true, 0x8086, 0xfd80, 0xfd81)
