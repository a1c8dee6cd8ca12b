//! DNS messages (RFC 1035), as far as they are shown: the header, the questions and the answers.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

pub const A: u16 = 1;
pub const AAAA: u16 = 28;

/// Pointers to earlier names that may follow each other in one name. More than a few occur in no honest message.
const MAX_POINTERS: usize = 10;
/// Bytes of a name, with the lengths of its labels.
const MAX_NAME: usize = 255;

/// A message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: u16,
    pub is_response: bool,
    pub is_truncated: bool,
    pub recursion_desired: bool,
    pub recursion_available: bool,
    /// How it went, for responses.
    pub rcode: u16,
    /// Type and name that were asked for first.
    pub question: Option<(u16, String)>,
    pub num_answers: u16,
    /// The addresses among the answers, with a comma between them.
    pub addresses: String,
}

/// Why bytes are no message.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

const TOO_SHORT: Malformed = Malformed("it ends too early");

/// The bytes of a message and how far they have been read.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(TOO_SHORT)?;
        let bytes = self.message.get(self.at..end).ok_or(TOO_SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.bytes(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name: each label is given to `label`.
    fn labels(&mut self, mut label: impl FnMut(&[u8])) -> Result<(), Malformed> {
        let (mut pointers, mut len, mut after) = (0, 0, None);
        loop {
            let length = self.byte()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    len += usize::from(length) + 1;
                    if len > MAX_NAME {
                        return Err(Malformed("a name is too long"));
                    }
                    label(self.bytes(usize::from(length))?);
                }
                // The rest of the name is somewhere else.
                3 => {
                    let low = self.byte()?;
                    after.get_or_insert(self.at);
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return Err(Malformed("a name has too many pointers"));
                    }
                    self.at = usize::from(length & 0x3f) << 8 | usize::from(low);
                }
                _ => return Err(Malformed("a label is of an unknown type")),
            }
        }
        if let Some(after) = after {
            self.at = after;
        }
        Ok(())
    }

    /// A name in the form of zone files, with the dot at its end.
    fn name(&mut self) -> Result<String, Malformed> {
        let mut name = String::new();
        self.labels(|label| {
            for byte in label {
                match byte {
                    b'.' | b'\\' => name.extend(['\\', char::from(*byte)]),
                    0x21..=0x7e => name.push(char::from(*byte)),
                    _ => _ = write!(name, "\\{byte:03}"),
                }
            }
            name.push('.');
        })?;
        if name.is_empty() {
            name.push('.');
        }
        Ok(name)
    }
}

impl Message {
    /// Reads a message up to the end of its answers.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { message: bytes, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let questions = reader.u16()?;
        let num_answers = reader.u16()?;
        // The other two sections.
        reader.bytes(4)?;
        let is_response = flags & 0x8000 != 0;
        let mut message = Self {
            id,
            is_response,
            is_truncated: flags & 0x0200 != 0,
            recursion_desired: flags & 0x0100 != 0,
            recursion_available: flags & 0x0080 != 0,
            rcode: if is_response { flags & 0xf } else { 0 },
            num_answers,
            ..Self::default()
        };
        for number in 0..questions {
            let name = match number {
                0 => Some(reader.name()?),
                _ => reader.labels(|_| ()).map(|()| None)?,
            };
            let qtype = reader.u16()?;
            // The class.
            reader.u16()?;
            message.question = name.map(|name| (qtype, name)).or(message.question);
        }
        for _ in 0..num_answers {
            message.answer(&mut reader)?;
        }
        Ok(message)
    }

    fn answer(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        reader.labels(|_| ())?;
        let rtype = reader.u16()?;
        // The class and how long it is valid.
        reader.bytes(6)?;
        let len = reader.u16()?;
        let data = reader.bytes(usize::from(len))?;
        const WRONG_LENGTH: Malformed = Malformed("an address has the wrong length");
        let address = match rtype {
            A => Ipv4Addr::from(<[u8; 4]>::try_from(data).map_err(|_| WRONG_LENGTH)?).to_string(),
            AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(data).map_err(|_| WRONG_LENGTH)?).to_string(),
            _ => return Ok(()),
        };
        if !self.addresses.is_empty() {
            self.addresses.push(',');
        }
        self.addresses.push_str(&address);
        Ok(())
    }
}

/// The name of a type that can be asked for.
pub fn type_name(qtype: u16) -> Option<&'static str> {
    Some(match qtype {
        A => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        11 => "WKS",
        12 => "PTR",
        13 => "HINFO",
        14 => "MINFO",
        15 => "MX",
        16 => "TXT",
        AAAA => "AAAA",
        33 => "SRV",
        41 => "OPT",
        252 => "AXFR",
        255 => "ALL",
        _ => return None,
    })
}

/// The name of a result.
pub fn rcode_name(rcode: u16) -> Option<&'static str> {
    Some(match rcode {
        0 => "Success",
        1 => "FormatError",
        2 => "ServerFailure",
        3 => "NameError",
        4 => "NotImplemented",
        5 => "Refused",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u16, questions: u16, answers: u16) -> Vec<u8> {
        let words = [0x1a2b, flags, questions, answers, 0, 0];
        words.into_iter().flat_map(u16::to_be_bytes).collect()
    }

    /// A question for `www.example.test`.
    const QUESTION: &[u8] = b"\x03www\x07example\x04test\0\0\x01\0\x01";

    #[test]
    fn a_query() {
        let message = [header(0x0100, 1, 0), QUESTION.to_vec()].concat();
        let expected = Message {
            id: 0x1a2b,
            recursion_desired: true,
            question: Some((A, "www.example.test.".to_string())),
            ..Message::default()
        };
        assert_eq!(Message::parse(&message), Ok(expected));
        // Wherever it ends too early: no panic.
        for end in 0..message.len() {
            assert_eq!(Message::parse(&message[..end]), Err(TOO_SHORT), "{end}");
        }
    }

    #[test]
    fn a_response_with_addresses_among_its_answers() {
        let mut message = [header(0x8383, 1, 3), QUESTION.to_vec()].concat();
        // An alias first, whose own name and value point to the question.
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10");
        message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x01\x02\x03");
        message.extend(b"\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10");
        message.extend(Ipv6Addr::LOCALHOST.octets());
        let parsed = Message::parse(&message).unwrap();
        assert_eq!(parsed.addresses, "10.1.2.3,::1");
        assert_eq!((parsed.num_answers, parsed.rcode), (3, 3));
        assert!(parsed.is_response && parsed.is_truncated && parsed.recursion_available && parsed.recursion_desired);
        for end in 0..message.len() {
            assert_eq!(Message::parse(&message[..end]), Err(TOO_SHORT), "{end}");
        }
        let wrong = [header(0x8180, 0, 1), b"\0\0\x01\0\x01\0\0\0\0\0\x03abc".to_vec()].concat();
        assert!(Message::parse(&wrong).unwrap_err().to_string().contains("wrong length"));
    }

    #[test]
    fn names_that_are_not_what_they_should_be() {
        let name = |bytes: &[u8]| {
            let message = [header(0, 1, 0), bytes.to_vec(), vec![0, 1, 0, 1]].concat();
            Message::parse(&message).map(|message| message.question.unwrap().1)
        };
        assert_eq!(name(b"\0").unwrap(), ".");
        assert_eq!(name(b"\x05a.b\\\n\0").unwrap(), "a\\.b\\\\\\010.");
        assert_eq!(name(b"\x02\xc3\xa4\0").unwrap(), "\\195\\164.");
        // To itself.
        assert!(name(b"\xc0\x0c").unwrap_err().to_string().contains("pointers"));
        assert!(name(b"\x3fx").is_err());
        assert!(name(b"\x41x\0").unwrap_err().to_string().contains("unknown type"));
        let long: Vec<u8> = [&[63; 64][..]; 4].concat();
        assert!(name(&[&long[..], b"\0"].concat()).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn only_the_first_question_is_shown() {
        let message = [header(0, 2, 0), QUESTION.to_vec(), b"\xc0\x10\0\x1c\0\x01".to_vec()].concat();
        assert_eq!(Message::parse(&message).unwrap().question, Some((A, "www.example.test.".to_string())));
        assert_eq!(Message::parse(&header(0, 0, 0)).unwrap().question, None);
    }

    #[test]
    fn numbers_with_names() {
        assert_eq!((type_name(28), type_name(255), type_name(65)), (Some("AAAA"), Some("ALL"), None));
        assert_eq!((rcode_name(3), rcode_name(6)), (Some("NameError"), None));
    }
}
