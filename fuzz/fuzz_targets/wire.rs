//! Changes to Protocol Buffers messages that leave the lengths right: bytes changed at random hardly ever
//! give a message again once something is longer or shorter.
//!
//! Nothing is known of the schema. Bytes that read as a message are taken for one; where that is wrong
//! they are written back as they were.

/// How deep messages lie in each other at most.
const DEPTH: usize = 10;

/// Largest number of a field that is taken for one.
const MOST_FIELDS: u64 = 64;

#[derive(Clone, PartialEq)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
    Fixed32([u8; 4]),
}

#[derive(Clone, PartialEq)]
struct Field {
    number: u64,
    value: Value,
}

/// Changes the message in the first `size` bytes of `data` and returns its new length. Anything that is no
/// message, and now and then one that is, is changed as bytes by `mutate_bytes`, which has the same arguments.
pub(crate) fn mutate(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    mutate_bytes: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut random = Random(u64::from(seed) << 1 | 1);
    if random.below(8) > 0
        && let Some(mut message) = parse(&data[..size], DEPTH)
    {
        for _ in 0..=random.below(3) {
            change(&mut message, &mut random, mutate_bytes);
        }
        let mut bytes = Vec::new();
        write(&message, &mut bytes);
        if !bytes.is_empty() && bytes.len() <= most.min(data.len()) {
            data[..bytes.len()].copy_from_slice(&bytes);
            return bytes.len();
        }
    }
    mutate_bytes(data, size, most)
}

/// One change somewhere.
fn change(
    message: &mut Vec<Field>,
    random: &mut Random,
    mutate_bytes: fn(&mut [u8], usize, usize) -> usize,
) {
    let count = fields(message);
    if count == 0 {
        return;
    }
    let at = random.below(count);
    // What another field holds, to put it here.
    let other = pick(message, random.below(count)).cloned();
    let Some((list, index)) = find(message, at) else { return };
    match (random.below(6), &mut list[index].value) {
        (0, _) => {
            list.remove(index);
        }
        (1, _) => {
            let copy = list[index].clone();
            list.insert(random.below(list.len() + 1), copy);
        }
        (2, _) => {
            let second = random.below(list.len());
            list.swap(index, second);
        }
        (3, Value::Bytes(bytes)) => {
            if let Some(Field { value: Value::Bytes(others), .. }) = other {
                *bytes = others;
            }
        }
        (3, _) => {
            if let Some(other) = other {
                list.insert(index, other);
            }
        }
        (_, Value::Varint(number)) => {
            *number = match random.below(5) {
                0 => random.below(20) as u64,
                1 => number.wrapping_add(1),
                2 => number.wrapping_sub(1),
                3 => [u64::MAX, 1 << 63, i64::MAX as u64, 1 << 31, 1 << 32, 1 << 24, 1 << 20, 1000]
                    [random.below(8)],
                _ => *number ^ 1 << random.below(64),
            }
        }
        (_, Value::Bytes(bytes)) => {
            let size = bytes.len();
            let most = size + 16;
            bytes.resize(most, 0);
            let size = mutate_bytes(bytes, size, most);
            bytes.truncate(size);
        }
        (_, Value::Fixed32(bytes)) => bytes[random.below(4)] ^= 1 << random.below(8),
        (_, Value::Fixed64(bytes)) => bytes[random.below(8)] ^= 1 << random.below(8),
        (_, Value::Message(inner)) => {
            if let Some(other) = other {
                inner.push(other);
            }
        }
    }
}

/// Number of fields, those of messages within included.
fn fields(message: &[Field]) -> usize {
    let inside = |field: &Field| match &field.value {
        Value::Message(inner) => fields(inner),
        _ => 0,
    };
    message.iter().map(|field| 1 + inside(field)).sum()
}

/// The list that field `at`, counted as [`fields`] does, stands in, and its place there.
fn find(message: &mut Vec<Field>, mut at: usize) -> Option<(&mut Vec<Field>, usize)> {
    let mut index = 0;
    loop {
        if at == 0 {
            return Some((message, index));
        }
        at -= 1;
        let inside = match &message.get(index)?.value {
            Value::Message(inner) => fields(inner),
            _ => 0,
        };
        if at < inside {
            break;
        }
        at -= inside;
        index += 1;
        if index == message.len() {
            return None;
        }
    }
    match &mut message[index].value {
        Value::Message(inner) => find(inner, at),
        _ => None,
    }
}

fn pick(message: &mut Vec<Field>, at: usize) -> Option<&Field> {
    find(message, at).and_then(|(list, index)| list.get(index))
}

fn parse(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut message = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = key >> 3;
        if number == 0 || number > MOST_FIELDS {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(take(&mut bytes, 8)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, length)?;
                let message =
                    if depth == 0 || inner.is_empty() { None } else { parse(inner, depth - 1) };
                // Only where it comes out the same, byte for byte.
                let same = message.filter(|message| {
                    let mut again = Vec::new();
                    write(message, &mut again);
                    again == inner
                });
                same.map_or_else(|| Value::Bytes(inner.to_vec()), Value::Message)
            }
            5 => Value::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        message.push(Field { number, value });
    }
    Some(message)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes, 1)? else { return None };
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

fn write(message: &[Field], bytes: &mut Vec<u8>) {
    for Field { number, value } in message {
        let (kind, content) = match value {
            Value::Varint(_) => (0, &[][..]),
            Value::Fixed64(content) => (1, &content[..]),
            Value::Bytes(content) => (2, &content[..]),
            Value::Message(_) => (2, &[][..]),
            Value::Fixed32(content) => (5, &content[..]),
        };
        write_varint(number << 3 | kind, bytes);
        match value {
            Value::Varint(number) => write_varint(*number, bytes),
            Value::Message(inner) => {
                let mut content = Vec::new();
                write(inner, &mut content);
                write_varint(content.len() as u64, bytes);
                bytes.extend(content);
            }
            Value::Bytes(_) => {
                write_varint(content.len() as u64, bytes);
                bytes.extend(content);
            }
            _ => bytes.extend(content),
        }
    }
}

fn write_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}
