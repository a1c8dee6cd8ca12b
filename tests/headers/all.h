/* SPDX-License-Identifier: GPL-2.0-only */
/* All headers in one object; the socket lookup is chosen on the command line. */
#include <vmlinux.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/filter.h>
#include <gadget/bits.bpf.h>
#include <gadget/fnv1a.h>
#include <gadget/maps.bpf.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/user_stack_map.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/filesystem.h>
#include <gadget/packetfilter.h>
#include <gadget/sockets-map.h>
#define GPU_BRIDGE_WANT_ALL
#include <gadget/gpu_types.h>
#include <gadget/gpu_bridge_maps.h>
