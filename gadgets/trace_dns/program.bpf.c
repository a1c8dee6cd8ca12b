// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_dns: one event for each DNS message in a UDP datagram or at the
 * beginning of a TCP segment, with the packet behind it. Parsing it is left to
 * the gadget's wasm module.
 *
 * Packets are seen in whatever context the kernel is in, so the process is that
 * which the runtime remembers as the owner of the local socket.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define GADGET_TYPE_NETWORKING
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/sockets-map.h>
#include <gadget/types.h>

#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define UDP_HLEN 8
/* Where a TCP header has its length, in its upper half in units of 4 bytes. */
#define TCP_DATA_OFFSET 12
/* A message over TCP has its length before it. */
#define TCP_PREFIX_LEN 2
#define DNS_HLEN 12
#define DNS_QR 0x80

#define PATH_LEN 512
#define MAX_PORTS 16
/* Records of perf buffers have less than 64 KiB. */
#define MAX_PACKET 32768
/* Who still waits for an answer then has asked again, under another id. */
#define MAX_WAIT_NS (60 * 1000000000ULL)

/* The kernel's numbers. */
enum pkt_type_t : u8 {
	HOST = 0,
	BROADCAST = 1,
	MULTICAST = 2,
	OTHERHOST = 3,
	OUTGOING = 4,
	LOOPBACK = 5,
	USER = 6,
	KERNEL = 7,
};

struct event_t {
	gadget_timestamp timestamp_raw;
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	struct gadget_l3endpoint_t nameserver;
	gadget_netns_id netns_id;
	struct gadget_process proc;
	char cwd[PATH_LEN];
	char exepath[PATH_LEN];
	enum pkt_type_t pkt_type_raw;
	gadget_duration latency_ns_raw;
	/* Where in the packet the message begins. */
	__u16 dns_off;
	/* How much of the packet follows this struct. */
	__u32 data_len;
};

const volatile __u16 ports[MAX_PORTS] = { 53, 5353 };
const volatile __u16 ports_len = 2;

const volatile bool paths = false;
GADGET_PARAM(paths);

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

GADGET_TRACER(dns, events, event_t);

/* An event is too big for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_t);
} tmp_events SEC(".maps");

struct query_key_t {
	__u64 pid_tgid;
	__u16 id;
	__u16 pad[3];
};

/*
 * When queries that wait for their answer were sent. Some never get one, so
 * that the oldest have to make room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct query_key_t);
	__type(value, __u64);
} query_map SEC(".maps");

static __always_inline bool is_dns_port(__u16 port)
{
	int i;

#pragma unroll
	for (i = 0; i < MAX_PORTS; i++)
		if (i < ports_len && ports[i] == port)
			return true;
	return false;
}

/*
 * Addresses and protocol of a packet, and where the header behind that of IP
 * is; 0 if there is none that could have ports.
 */
static __always_inline __u32 parse_ip(struct __sk_buff *skb,
				      struct event_t *event)
{
	__u32 off = ETH_HLEN;
	__u8 version, proto;
	__u16 word;
	__u8 byte;

	if (bpf_skb_load_bytes(skb, ETH_HLEN - sizeof(word), &word,
			       sizeof(word)))
		return 0;
	switch (bpf_ntohs(word)) {
	case ETH_P_IP:
		version = 4;
		/* Only the first fragment has ports. */
		if (bpf_skb_load_bytes(skb, off + 6, &word, sizeof(word)) ||
		    (bpf_ntohs(word) & 0x1fff) ||
		    bpf_skb_load_bytes(skb, off + 9, &proto, sizeof(proto)) ||
		    bpf_skb_load_bytes(skb, off + 12, &event->src.addr_raw.v4,
				       4) ||
		    bpf_skb_load_bytes(skb, off + 16, &event->dst.addr_raw.v4,
				       4) ||
		    bpf_skb_load_bytes(skb, off, &byte, sizeof(byte)))
			return 0;
		off += 4 * (__u32)(byte & 0xf);
		break;
	case ETH_P_IPV6:
		version = 6;
		if (bpf_skb_load_bytes(skb, off + 6, &proto, sizeof(proto)) ||
		    bpf_skb_load_bytes(skb, off + 8, event->src.addr_raw.v6,
				       16) ||
		    bpf_skb_load_bytes(skb, off + 24, event->dst.addr_raw.v6,
				       16))
			return 0;
		off = __gadget_skip_ipv6_extensions(
			skb, off + GADGET_SE_IPV6_HLEN, &proto);
		break;
	default:
		return 0;
	}
	event->src.version = event->dst.version = version;
	event->src.proto_raw = event->dst.proto_raw = proto;
	return off;
}

/* Where the message begins, given where UDP or TCP does; 0 if there is none. */
static __always_inline __u32 find_message(struct __sk_buff *skb, __u16 proto,
					  __u32 off)
{
	__u8 length;

	switch (proto) {
	case GADGET_SE_NEXTHDR_UDP:
		off += UDP_HLEN;
		break;
	case GADGET_SE_NEXTHDR_TCP:
		if (bpf_skb_load_bytes(skb, off + TCP_DATA_OFFSET, &length,
				       sizeof(length)))
			return 0;
		off += 4 * (__u32)(length >> 4) + TCP_PREFIX_LEN;
		break;
	default:
		return 0;
	}
	return off + DNS_HLEN <= skb->len ? off : 0;
}

static __always_inline void copy_paths(struct event_t *event,
				       struct gadget_socket_value *owner)
{
	__u32 size;

	/* Linux 5.4 does not have the helper. */
	if (!bpf_core_enum_value_exists(enum bpf_func_id,
					BPF_FUNC_probe_read_kernel_str))
		return;
	if (bpf_core_field_exists(owner->cwd)) {
		size = bpf_core_field_size(owner->cwd);
		bpf_probe_read_kernel_str(event->cwd,
					  size < PATH_LEN ? size : PATH_LEN,
					  owner->cwd);
	}
	if (bpf_core_field_exists(owner->exepath)) {
		size = bpf_core_field_size(owner->exepath);
		bpf_probe_read_kernel_str(event->exepath,
					  size < PATH_LEN ? size : PATH_LEN,
					  owner->exepath);
	}
}

/*
 * Time since the query that this is the answer to. Both are taken where the
 * one who asks is; a query that is sent again counts from the first time.
 */
static __always_inline __u64 latency(struct gadget_socket_value *owner,
				     enum pkt_type_t type, bool is_response,
				     __u16 id, __u64 now)
{
	struct query_key_t key = { .pid_tgid = owner->pid_tgid, .id = id };
	__u64 *asked, elapsed;

	if (!is_response && type == OUTGOING) {
		asked = bpf_map_lookup_elem(&query_map, &key);
		if (!asked || now - *asked > MAX_WAIT_NS)
			bpf_map_update_elem(&query_map, &key, &now, BPF_ANY);
	} else if (is_response && type == HOST) {
		asked = bpf_map_lookup_elem(&query_map, &key);
		if (asked) {
			elapsed = now > *asked ? now - *asked : 0;
			bpf_map_delete_elem(&query_map, &key);
			return elapsed;
		}
	}
	return 0;
}

SEC("socket1")
int ig_trace_dns(struct __sk_buff *skb)
{
	struct gadget_socket_value *owner;
	__u32 off, message, zero = 0;
	struct event_t *event;
	__u16 words[2];
	/* The id, and the first half of the flags. */
	__u8 header[3];
	bool is_response;
	__u64 len;

	event = bpf_map_lookup_elem(&tmp_events, &zero);
	if (!event)
		return 0;
	__builtin_memset(event, 0, offsetof(struct event_t, cwd));

	off = parse_ip(skb, event);
	if (!off || (event->src.proto_raw != GADGET_SE_NEXTHDR_UDP &&
		     event->src.proto_raw != GADGET_SE_NEXTHDR_TCP))
		return 0;
	if (bpf_skb_load_bytes(skb, off, words, sizeof(words)))
		return 0;
	event->src.port = bpf_ntohs(words[0]);
	event->dst.port = bpf_ntohs(words[1]);
	if (!is_dns_port(event->src.port) && !is_dns_port(event->dst.port))
		return 0;
	message = find_message(skb, event->src.proto_raw, off);
	if (!message ||
	    bpf_skb_load_bytes(skb, message, header, sizeof(header)))
		return 0;

	owner = gadget_socket_lookup(skb);
	if (gadget_should_discard_data_by_skb(owner))
		return 0;

	is_response = header[2] & DNS_QR;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->netns_id = skb->cb[0];
	event->pkt_type_raw = skb->pkt_type;
	event->dns_off = message;
	event->latency_ns_raw = 0;
	if (is_response) {
		event->nameserver.addr_raw = event->src.addr_raw;
		event->nameserver.version = event->src.version;
	} else {
		event->nameserver.addr_raw = event->dst.addr_raw;
		event->nameserver.version = event->dst.version;
	}

	/* Nothing of an earlier event. */
	if (paths) {
		__builtin_memset(event->cwd, 0, sizeof(event->cwd));
		__builtin_memset(event->exepath, 0, sizeof(event->exepath));
	}
	if (owner) {
		gadget_process_populate_from_socket(owner, &event->proc);
		if (paths)
			copy_paths(event, owner);
		event->latency_ns_raw = latency(
			owner, event->pkt_type_raw, is_response,
			(__u16)header[0] << 8 | header[1],
			event->timestamp_raw);
	}

	len = skb->len;
	if (len > MAX_PACKET)
		len = MAX_PACKET;
	event->data_len = len;
	bpf_perf_event_output(skb, &events, len << 32 | BPF_F_CURRENT_CPU,
			      event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
