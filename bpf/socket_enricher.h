/* SPDX-License-Identifier: GPL-2.0 */
/* What the socket enricher and user space agree on. */
#ifndef __SOCKET_ENRICHER_H
#define __SOCKET_ENRICHER_H

/* Where the optional members of a value are, and how many bytes they have; 0 if they are not wanted. */
struct socket_config {
	__u32 cwd_offset;
	__u32 cwd_size;
	__u32 exepath_offset;
	__u32 exepath_size;
	/* Whether some program sees sockets being released, so that an entry is nobody else's as long as it is there. */
	__u32 sees_release;
};

#endif
