/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packet filters in the syntax of tcpdump.
 *
 * GADGET_PF(name) defines a stub into which the runtime puts the filter of the
 * parameter `pf-name` before it loads the program. Until then all packets
 * match. GADGET_PF() is for the parameter `pf`.
 */
#ifndef __GADGET_PACKETFILTER_H
#define __GADGET_PACKETFILTER_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_helpers.h>

/*
 * The filter finds the packet in the fourth and fifth argument and has the
 * first three registers to itself, which is why three arguments are unused.
 * The comparisons keep the compiler from dropping any of them.
 */
#define GADGET_PF(name)                                                       \
	static __noinline bool gadget_pf_##name(void *_skb, void *__skb,      \
						void *___skb, void *data,     \
						void *data_end)               \
	{                                                                     \
		return data != data_end && _skb == __skb && __skb == ___skb; \
	}

#define __GADGET_PF_CALL(function, skb, data, data_end) \
	function((void *)(skb), (void *)(skb), (void *)(skb), data, data_end)

#define __GADGET_PF_TOO_FEW(...)                                            \
	({                                                                  \
		_Static_assert(0, "gadget_pf_matches() takes ([name, ]skb, " \
				  "data, data_end)");                       \
		false;                                                      \
	})
#define __GADGET_PF_3(skb, data, data_end) \
	__GADGET_PF_CALL(gadget_pf_, skb, data, data_end)
#define __GADGET_PF_4(name, skb, data, data_end) \
	__GADGET_PF_CALL(gadget_pf_##name, skb, data, data_end)
#define __GADGET_PF_PICK(_1, _2, _3, _4, chosen, ...) chosen

/*
 * gadget_pf_matches(skb, data, data_end), or with the name first: whether the
 * packet is wanted.
 */
#define gadget_pf_matches(...)                                              \
	__GADGET_PF_PICK(__VA_ARGS__, __GADGET_PF_4, __GADGET_PF_3,         \
			 __GADGET_PF_TOO_FEW, __GADGET_PF_TOO_FEW,)         \
	(__VA_ARGS__)

#endif /* __GADGET_PACKETFILTER_H */
