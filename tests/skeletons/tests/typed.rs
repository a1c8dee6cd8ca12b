//! Gadgets through their skeletons: variables are set and maps are read with the types that the C source declares. This is how the headers
//! behave under plain libbpf, without `ig`.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use gadget_skeletons::{count_calls, kinds, params};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, ProgramInput, ProgramMut, RingBufferBuilder};

/// The value of type `T` whose bytes these are.
///
/// # Safety
///
/// Any bytes are a `T`.
unsafe fn typed<T: Copy>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: as many bytes as a `T` has, of which the caller says that any are one.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// Runs `program` once and returns the records that it sends to `map`.
fn records(program: &ProgramMut<'_>, map: &dyn MapCore) -> Vec<Vec<u8>> {
    let records = RefCell::new(Vec::new());
    let mut builder = RingBufferBuilder::new();
    builder
        .add(map, |record| {
            records.borrow_mut().push(record.to_vec());
            0
        })
        .expect("a ring buffer");
    let buffer = builder.build().expect("a ring buffer");
    let output = program.test_run(ProgramInput::default()).expect("it can be run");
    assert_eq!(output.return_value, 0);
    buffer.consume().expect("it can be read");
    drop(buffer);
    records.into_inner()
}

#[test]
fn parameters_are_constants_of_the_program() {
    let mut storage = MaybeUninit::uninit();
    let mut open = params::ProgramSkelBuilder::default()
        .open(&mut storage)
        .expect("an object");
    let constants = open.maps.rodata_data.as_deref_mut().expect("constants");
    assert_eq!((constants.small, constants.medium, constants.far_below), (1, 2, -5));
    constants.medium = 60_000;
    constants.far_below = i64::MIN;
    constants.word = b"changed\0".map(|byte| byte.cast_signed());
    let skeleton = open.load().expect("the kernel takes it");
    let records = records(&skeleton.progs.once, &skeleton.maps.events);
    assert_eq!(records.len(), 1);
    // SAFETY: numbers, of which none is a bool: that is checked first.
    let event: params::types::event = unsafe { typed(&records[0]) };
    assert_eq!((event.small, event.medium, event.far_below), (1, 60_000, i64::MIN));
    assert_eq!(event.word.map(|byte| byte.cast_unsigned()), *b"changed\0");
}

#[test]
fn members_of_every_kind_are_where_the_types_say() {
    let mut storage = MaybeUninit::uninit();
    let open = kinds::ProgramSkelBuilder::default()
        .open(&mut storage)
        .expect("an object");
    let skeleton = open.load().expect("the kernel takes it");
    let records = records(&skeleton.progs.once, &skeleton.maps.events);
    // SAFETY: as above.
    let event: kinds::types::event = unsafe { typed(&records[0]) };
    assert_eq!((event.u16, event.s64), (60_000, -9_000_000_000_000_000_000));
    assert_eq!((event.f32, event.f64), (1.5, -0.25));
    assert_eq!(event.numbers, [1, 0, 3]);
    assert_eq!(event.inner.number, 513);
}

#[test]
fn entries_of_maps_have_the_types_of_keys_and_values() {
    let mut storage = MaybeUninit::uninit();
    let mut open = count_calls::ProgramSkelBuilder::default()
        .open(&mut storage)
        .expect("an object");
    open.maps.rodata_data.as_deref_mut().expect("constants").first_fd = 7_654_321;
    open.maps.calls.set_max_entries(1024).expect("not loaded yet");
    let mut skeleton = open.load().expect("the kernel takes it");
    skeleton.attach().expect("a tracepoint");
    for _ in 0..3 {
        // SAFETY: nobody has this descriptor. It is counted all the same.
        unsafe { libc::close(7_654_400) };
    }
    let calls = &skeleton.maps.calls;
    let ours = calls.keys().find(|key| {
        // SAFETY: numbers only.
        let call: count_calls::types::call = unsafe { typed(key) };
        call.pid == std::process::id() && call.fd == 7_654_400
    });
    let value = calls.lookup(&ours.expect("an entry"), MapFlags::ANY);
    // SAFETY: numbers only.
    let count: count_calls::types::count = unsafe { typed(&value.expect("it can be read").expect("nobody deletes")) };
    assert_eq!(count.calls, 3);
}
