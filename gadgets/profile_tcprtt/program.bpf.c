// SPDX-License-Identifier: GPL-2.0-only
/*
 * profile_tcprtt: the smoothed round-trip time of TCP connections whenever a
 * packet comes in, as a histogram.
 *
 * tcp_probe is the tracepoint at the place where others put a kprobe:
 * the beginning of tcp_rcv_established().
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <gadget/bits.bpf.h>
#include <gadget/macros.h>
#include <gadget/maps.bpf.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10
#define MAX_SLOTS 27

/* In network byte order, as the ports of sockets are. */
const volatile __u16 targ_sport = 0;
GADGET_PARAM(targ_sport);

const volatile __u16 targ_dport = 0;
GADGET_PARAM(targ_dport);

const volatile bool targ_ms = false;
GADGET_PARAM(targ_ms);

struct hist_key {
	__u8 unused;
};

struct hist_value {
	gadget_histogram_slot__u32 latency[MAX_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct hist_key);
	__type(value, struct hist_value);
} hists SEC(".maps");
GADGET_MAPITER(tcprtt, hists);

static const struct hist_value empty;

SEC("raw_tp/tcp_probe")
int ig_tcprtt(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	struct hist_key key = {};
	struct hist_value *hist;
	__u16 family, sport, dport;
	__u64 slot;
	__u32 rtt;

	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	sport = BPF_CORE_READ((struct inet_sock *)sk, inet_sport);
	dport = BPF_CORE_READ(sk, __sk_common.skc_dport);
	if ((targ_sport && targ_sport != sport) ||
	    (targ_dport && targ_dport != dport))
		return 0;

	hist = bpf_map_lookup_or_try_init(&hists, &key, &empty);
	if (!hist)
		return 0;
	/* The kernel keeps eighths of microseconds. */
	rtt = BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3;
	if (targ_ms)
		rtt /= 1000;
	slot = get_slot_idx(rtt);
	if (slot >= MAX_SLOTS)
		slot = MAX_SLOTS - 1;
	__sync_fetch_and_add(&hist->latency[slot], 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
