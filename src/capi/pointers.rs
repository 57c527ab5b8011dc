//! What callers hand over, checked as far as it can be.

use std::{
    ffi::{CStr, c_char},
    mem::{MaybeUninit, size_of},
    path::Path,
    slice,
    sync::Arc,
};

use super::error::Failure;

/// A share in the object behind a handle, so that it lasts until the end of the call even if another
/// thread frees the handle in the meantime.
///
/// # Safety
/// The handle is null or comes from [`hand_out`] and has not been freed.
pub(super) unsafe fn share<T>(handle: *const T, name: &str) -> Result<Arc<T>, Failure> {
    check(handle, name)?;
    // SAFETY: the caller says that the pointer comes from `Arc::into_raw` and that the count it stands
    // for has not been given back; the one added here belongs to the new `Arc`.
    unsafe {
        Arc::increment_strong_count(handle);
        Ok(Arc::from_raw(handle))
    }
}

/// The object behind a handle, for questions that cannot fail.
///
/// # Safety
/// The handle is null or comes from [`hand_out`], and is not freed while the reference is used.
pub(super) unsafe fn peek<'a, T>(handle: *const T) -> Option<&'a T> {
    // SAFETY: as the caller says.
    if handle.is_aligned() { unsafe { handle.as_ref() } } else { None }
}

/// Makes a handle of an object.
pub(super) fn hand_out<T>(object: T) -> *mut T {
    Arc::into_raw(Arc::new(object)).cast_mut()
}

/// Gives a handle back; nothing happens if it is null.
///
/// # Safety
/// The handle is null or comes from [`hand_out`] and has not been freed.
pub(super) unsafe fn free<T>(handle: *mut T) {
    if handle.is_null() || !handle.is_aligned() {
        return;
    }
    // SAFETY: as the caller says, this gives back the count that the handle stands for.
    let object = unsafe { Arc::from_raw(handle.cast_const()) };
    // The object may do what can fail, such as to stop threads.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(object)));
}

/// `length` values to read. A null pointer is as good as any other for none.
///
/// # Safety
/// The pointer is null or points to `length` values that nobody changes while the slice is used.
pub(super) unsafe fn slice<'a, T>(
    data: *const T,
    length: usize,
    name: &str,
) -> Result<&'a [T], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    check_length(data, length, name)?;
    // SAFETY: not null, aligned, no longer than addresses go; the rest as the caller says.
    Ok(unsafe { slice::from_raw_parts(data, length) })
}

/// `length` values to write.
///
/// # Safety
/// The pointer is null or points to room for `length` values that nobody else uses meanwhile.
pub(super) unsafe fn slice_mut<'a, T>(
    data: *mut T,
    length: usize,
    name: &str,
) -> Result<&'a mut [T], Failure> {
    if length == 0 {
        return Ok(&mut []);
    }
    check_length(data, length, name)?;
    // SAFETY: not null, aligned, no longer than addresses go; the rest as the caller says.
    Ok(unsafe { slice::from_raw_parts_mut(data, length) })
}

/// A place for one result.
///
/// # Safety
/// The pointer is null or points to room for a value that nobody else uses meanwhile.
pub(super) unsafe fn place<'a, T>(
    place: *mut T,
    name: &str,
) -> Result<&'a mut MaybeUninit<T>, Failure> {
    check(place, name)?;
    // SAFETY: not null and aligned; the rest as the caller says. What is there now is not read.
    Ok(unsafe { &mut *place.cast::<MaybeUninit<T>>() })
}

/// A text in UTF-8.
///
/// # Safety
/// The pointer is null or points to bytes that end with a zero and that nobody changes meanwhile.
pub(super) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: as the caller says.
    let text = unsafe { bytes(text, name) }?;
    std::str::from_utf8(text).map_err(|_| {
        let found = String::from_utf8_lossy(text);
        Failure::argument(format!("{name} is '{found}', expected UTF-8"))
    })
}

/// A path: any bytes where paths are bytes, UTF-8 elsewhere.
///
/// # Safety
/// The pointer is null or points to bytes that end with a zero and that nobody changes meanwhile.
pub(super) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path, Failure> {
    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        // SAFETY: as the caller says.
        Ok(Path::new(OsStr::from_bytes(unsafe { bytes(path, "path") }?)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as the caller says.
        Ok(Path::new(unsafe { text(path, "path") }?))
    }
}

/// # Safety
/// As for [`text`].
unsafe fn bytes<'a>(text: *const c_char, name: &str) -> Result<&'a [u8], Failure> {
    check(text, name)?;
    // SAFETY: not null; the rest as the caller says.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

fn check_length<T>(data: *const T, length: usize, name: &str) -> Result<(), Failure> {
    check(data, name)?;
    let bytes = length.checked_mul(size_of::<T>());
    // A slice that ends beyond the last address is not one.
    match bytes.and_then(|bytes| data.addr().checked_add(bytes)) {
        Some(_) if bytes <= Some(isize::MAX as usize) => Ok(()),
        _ => Err(Failure::argument(format!(
            "{name} cannot have {length} values of {} bytes",
            size_of::<T>()
        ))),
    }
}

fn check<T>(pointer: *const T, name: &str) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!(
            "{name} is misaligned, expected an address that is a multiple of {}",
            align_of::<T>()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn null_is_refused_unless_nothing_is_there() {
        // SAFETY: null is allowed.
        unsafe {
            assert!(slice::<f32>(ptr::null(), 0, "input").unwrap().is_empty());
            assert!(slice_mut::<f32>(ptr::null_mut(), 0, "output").unwrap().is_empty());
            assert!(slice::<f32>(ptr::null(), 1, "input").is_err());
            assert!(slice_mut::<f32>(ptr::null_mut(), 1, "output").is_err());
            assert!(place::<usize>(ptr::null_mut(), "count").is_err());
            assert!(text(ptr::null(), "isa").is_err());
            assert!(path(ptr::null()).is_err());
            assert!(share::<u8>(ptr::null(), "model").is_err());
            assert!(peek::<u8>(ptr::null()).is_none());
            free::<u8>(ptr::null_mut());
        }
    }

    #[test]
    fn what_no_slice_can_be_is_refused() {
        let values = [1.0_f32, 2.0];
        let misaligned = ptr::from_ref(&values).wrapping_byte_add(1).cast::<f32>();
        // SAFETY: the pointers that reach memory reach `values`; the others are refused.
        unsafe {
            assert_eq!(slice(values.as_ptr(), 2, "input").unwrap(), values);
            assert!(slice(misaligned, 1, "input").is_err());
            for length in [usize::MAX, usize::MAX / 4, isize::MAX as usize] {
                assert!(slice(values.as_ptr(), length, "input").is_err());
            }
        }
    }

    #[test]
    fn a_shared_object_outlives_its_handle() {
        let object = Arc::new(String::from("here"));
        let handle = hand_out(Arc::clone(&object));
        // SAFETY: the handle has just been made, and is freed once.
        let shared = unsafe {
            let shared = share(handle, "object").unwrap();
            free(handle);
            shared
        };
        assert_eq!(**shared, "here");
        drop(shared);
        assert_eq!(Arc::strong_count(&object), 1);
    }
}
