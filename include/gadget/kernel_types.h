/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel types for headers that work with either source of them: vmlinux.h, or
 * the kernel's user-space headers when the gadget has included those first
 * (the two cannot be mixed).
 */
#ifndef __GADGET_KERNEL_TYPES_H
#define __GADGET_KERNEL_TYPES_H

#ifndef __VMLINUX_H__
#ifdef _LINUX_TYPES_H
#include <linux/bpf.h>
#include <stdbool.h>
#else
#include <vmlinux.h>
#endif
#endif

#endif /* __GADGET_KERNEL_TYPES_H */
