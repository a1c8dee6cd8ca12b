//! IP protocol numbers and their keywords.

/// Keywords by number; empty where none is assigned.
#[rustfmt::skip]
const KEYWORDS: [&str; 256] = [
    "HOPOPT", "ICMP", "IGMP", "GGP", "IPv4", "ST", "TCP", "CBT", "EGP", "IGP", "BBN-RCC-MON", "NVP-II", "PUP",
    "ARGUS", "EMCON", "XNET", "CHAOS", "UDP", "MUX", "DCN-MEAS", "HMP", "PRM", "XNS-IDP", "TRUNK-1", "TRUNK-2",
    "LEAF-1", "LEAF-2", "RDP", "IRTP", "ISO-TP4", "NETBLT", "MFE-NSP", "MERIT-INP", "DCCP", "3PC", "IDPR", "XTP",
    "DDP", "IDPR-CMTP", "TP++", "IL", "IPv6", "SDRP", "IPv6-Route", "IPv6-Frag", "IDRP", "RSVP", "GRE", "DSR", "BNA",
    "ESP", "AH", "I-NLSP", "SWIPE", "NARP", "MOBILE", "TLSP", "SKIP", "IPv6-ICMP", "IPv6-NoNxt", "IPv6-Opts",
    "internal", "CFTP", "local", "SAT-EXPAK", "KRYPTOLAN", "RVD", "IPPC", "distributed", "SAT-MON", "VISA", "IPCU",
    "CPNX", "CPHB", "WSN", "PVP", "BR-SAT-MON", "SUN-ND", "WB-MON", "WB-EXPAK", "ISO-IP", "VMTP", "SECURE-VMTP",
    "VINES", "TTP", "NSFNET-IGP", "DGP", "TCF", "EIGRP", "OSPFIGP", "Sprite-RPC", "LARP", "MTP", "AX.25", "IPIP",
    "MICP", "SCC-SP", "ETHERIP", "ENCAP", "private", "GMTP", "IFMP", "PNNI", "PIM", "ARIS", "SCPS", "QNX", "A/N",
    "IPComp", "SNP", "Compaq-Peer", "IPX-in-IP", "VRRP", "PGM", "0-hop", "L2TP", "DDX", "IATP", "STP", "SRP", "UTI",
    "SMP", "SM", "PTP", "ISIS over IPv4", "FIRE", "CRTP", "CRUDP", "SSCOPMCE", "IPLT", "SPS", "PIPE", "SCTP", "FC",
    "RSVP-E2E-IGNORE", "Mobility Header", "UDPLite", "MPLS-in-IP", "manet", "HIP", "Shim6", "WESP", "ROHC",
    "Ethernet", "AGGFRAG", "NSH", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "",
    "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "",
    "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "",
    "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "",
    "", "", "experimentation", "experimentation", "reserved",
];

/// Appends the keyword of protocol `number`, `proto#N` for what has none.
pub(super) fn append(number: u64, out: &mut Vec<u8>) {
    match usize::try_from(number).ok().and_then(|number| KEYWORDS.get(number)) {
        Some(keyword) if !keyword.is_empty() => out.extend_from_slice(keyword.as_bytes()),
        _ => {
            out.extend_from_slice(b"proto#");
            crate::output::number::append_u64(number, out);
        }
    }
}
