//! The tile registers of AMX: products of small matrices of bytes.
//!
//! A tile register holds up to 16 rows of 64 bytes. `tdpbssd` multiplies the rows of one (here 64 values of the
//! input for each of up to 16 pixels) with the columns of another (64 weights for each of 16 output channels) and adds
//! the products to a third (a sum of 32 bits for each pixel and channel), exactly. Rust has no stable functions for
//! these instructions, so they are written in assembly; no other code uses the registers.
//!
//! Programs have to ask the operating system for the registers once. [`Amx::detect`] does so, and computes a product
//! that is known before it says that they work: wherever anything is missing, AMX is just not there.

use std::{arch::asm, sync::OnceLock};

/// Most pixels of a tile: rows of a register.
pub(crate) const PIXELS: usize = 16;

/// Output channels of a tile.
pub(crate) const CHANNELS: usize = 16;

/// Bytes of a window that one step multiplies: a row of a register.
pub(crate) const STEP: usize = 64;

/// Bytes of weights of one step: a register.
pub(crate) const WEIGHTS: usize = STEP * CHANNELS;

/// Where the tiles of a layer find their inputs and put their sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// The input.
    pub(crate) map: &'a [i8],
    /// Pixels of a tile, 1 to [`PIXELS`].
    pub(crate) pixels: usize,
    /// Bytes from the window of a pixel to that of the next.
    pub(crate) stride: usize,
    /// Bytes from the start of a window to the [`STEP`] bytes of each step.
    pub(crate) offsets: &'a [usize],
    /// The largest of them.
    pub(crate) reach: usize,
    /// Sums from a pixel to the next.
    pub(crate) sum_stride: usize,
}

impl Tile<'_> {
    /// Whether all that the tile at `window` reads of the map is there.
    fn fits_map(&self, window: usize) -> bool {
        window + self.reach + (self.pixels - 1) * self.stride + STEP <= self.map.len()
    }

    /// Whether the sums of `channels` channels from `place` on fit into so many.
    fn fits_sums(&self, place: usize, channels: usize, sums: usize) -> bool {
        place + (self.pixels - 1) * self.sum_stride + channels <= sums
    }
}

/// Multiplies tiles. Weights are `[steps][STEP / 4][CHANNELS][4]`.
pub(crate) trait TileUnit: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// Prepares for tiles of so many pixels, until the value is dropped.
    type Prepared;

    /// Makes ready for [`TileUnit::single`] and [`TileUnit::quad`] with tiles of so many pixels.
    fn prepare(self, pixels: usize) -> Self::Prepared;

    /// Computes the sums of the pixels from `window` on and of [`CHANNELS`] channels, from `place` on.
    ///
    /// # Panics
    /// If anything lies outside of its slice.
    fn single(
        self,
        prepared: &Self::Prepared,
        tile: &Tile<'_>,
        window: usize,
        weights: &[i8],
        place: usize,
        sums: &mut [i32],
    );

    /// As [`TileUnit::single`] for two tiles of pixels, each with its place, and twice the channels, whose weights follow each
    /// other.
    ///
    /// # Panics
    /// If anything lies outside of its slice.
    fn quad(
        self,
        prepared: &Self::Prepared,
        tile: &Tile<'_>,
        windows: [usize; 2],
        weights: &[i8],
        places: [usize; 2],
        sums: &mut [i32],
    ) {
        let blocks = weights.split_at(tile.offsets.len() * WEIGHTS);
        for (window, place) in windows.into_iter().zip(places) {
            self.single(prepared, tile, window, blocks.0, place, sums);
            self.single(prepared, tile, window, blocks.1, place + CHANNELS, sums);
        }
    }
}

/// What tiles compute, in plain Rust: what the processor is compared with, and in its place for tests where there is no AMX.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

impl TileUnit for Portable {
    type Prepared = ();

    fn prepare(self, _pixels: usize) {}

    fn single(
        self,
        _prepared: &(),
        tile: &Tile<'_>,
        window: usize,
        weights: &[i8],
        place: usize,
        sums: &mut [i32],
    ) {
        assert!(tile.fits_map(window) && tile.fits_sums(place, CHANNELS, sums.len()), "tile");
        for pixel in 0..tile.pixels {
            let sums = &mut sums[place + pixel * tile.sum_stride..][..CHANNELS];
            sums.fill(0);
            for (offset, weights) in tile.offsets.iter().zip(weights.chunks_exact(WEIGHTS)) {
                let values = &tile.map[window + pixel * tile.stride + offset..][..STEP];
                for (values, weights) in values.chunks(4).zip(weights.chunks(4 * CHANNELS)) {
                    for (sum, weights) in sums.iter_mut().zip(weights.chunks(4)) {
                        let products = values.iter().zip(weights);
                        *sum += products.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum::<i32>();
                    }
                }
            }
        }
    }
}

/// Proof that the tile registers may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amx(());

impl Amx {
    /// The proof, if the processor has AMX for bytes, the operating system lets this process use it, and it
    /// computes what it should. Asks the operating system on the first call only.
    pub(crate) fn detect() -> Option<Self> {
        static WORKS: OnceLock<bool> = OnceLock::new();
        WORKS.get_or_init(|| present() && permitted() && Self(()).works()).then_some(Self(()))
    }

    /// Compares products of all sizes with those in plain Rust.
    fn works(self) -> bool {
        let mut noise = 1_u32;
        let mut bytes = |count: usize| -> Vec<i8> {
            let byte = |_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as i8
            };
            (0..count).map(byte).collect()
        };
        let (map, weights) = (bytes(40 * 70 + 3 * STEP), bytes(2 * 3 * WEIGHTS));
        (1..=PIXELS).all(|pixels| {
            let (stride, sum_stride) = (70, 40);
            let offsets = [0, 128, 64];
            let tile =
                Tile { map: &map, pixels, stride, offsets: &offsets, reach: 128, sum_stride };
            let (windows, places) = ([3, 16 * 70], [1, 16 * 40]);
            let mut found = vec![0; 40 * 40];
            let mut expected = found.clone();
            let prepared = self.prepare(pixels);
            self.quad(&prepared, &tile, windows, &weights, places, &mut found);
            drop(prepared);
            Portable.quad(&(), &tile, windows, &weights, places, &mut expected);
            let same = found == expected;
            let prepared = self.prepare(pixels);
            let weights = &weights[3 * WEIGHTS..];
            self.single(&prepared, &tile, windows[1], weights, places[1], &mut found);
            Portable.single(&(), &tile, windows[1], weights, places[1], &mut expected);
            same && found == expected
        })
    }
}

/// Whether the processor has tiles and products of bytes, and the operating system keeps them when it switches threads.
pub(crate) fn present() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const OSXSAVE: u32 = 1 << 27;
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    // Tile configuration and tile data (Intel 64 manual, volume 1, section 13.1).
    const STATE: u32 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    if __cpuid_count(7, 0).edx & (AMX_TILE | AMX_INT8) != AMX_TILE | AMX_INT8 {
        return false;
    }
    let enabled: u32;
    // SAFETY: the processor has the instruction: OSXSAVE is set. It writes two registers.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack));
    }
    enabled & STATE == STATE
}

/// Asks the operating system for the tile registers.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    // Numbers of Linux (asm/unistd_64.h, asm/prctl.h): the call, the request, the state of the tiles.
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let answer: i64;
    // SAFETY: a call of the system with two numbers, which reads and writes no memory of ours; it changes the registers
    // that are named.
    unsafe {
        asm!(
            "syscall",
            inout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    answer == 0
}

/// Other systems are not asked: nobody has tried.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Sizes of the tile registers, as `ldtilecfg` reads them (Intel 64 manual, volume 2, LDTILECFG).
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The registers are configured as long as this lives: sums in 0 to 3, inputs in 4 and 5, weights in 6 and 7.
#[derive(Debug)]
pub(crate) struct Configured {
    pixels: usize,
    /// Registers belong to a thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: `prepare` was called with the proof that the instruction is there. Registers that hold nothing cost nothing
        // when threads are switched.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// What the assembly reads when the sums are complete.
#[repr(C)]
struct Places {
    first: *mut i32,
    second: *mut i32,
    /// Bytes from the sums of a pixel to those of the next.
    stride: usize,
}

impl TileUnit for Amx {
    type Prepared = Configured;

    fn prepare(self, pixels: usize) -> Configured {
        assert!((1..=PIXELS).contains(&pixels), "pixels of a tile");
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        row_bytes[..8].fill(STEP as u16);
        rows[..6].fill(pixels as u8);
        rows[6..8].fill((STEP / 4) as u8);
        let configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows };
        // SAFETY: the proof says that the instruction is there; it reads the 64 bytes of a configuration that is valid:
        // palette 1 has eight registers of up to 16 rows of 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly));
        }
        Configured { pixels, _thread: std::marker::PhantomData }
    }

    fn single(
        self,
        prepared: &Configured,
        tile: &Tile<'_>,
        window: usize,
        weights: &[i8],
        place: usize,
        sums: &mut [i32],
    ) {
        let steps = tile.offsets.len();
        assert!(prepared.pixels == tile.pixels && steps > 0, "a tile that was prepared");
        assert!(weights.len() >= steps * WEIGHTS, "weights of a block");
        assert!(tile.fits_map(window), "the windows lie in the map");
        assert!(tile.fits_sums(place, CHANNELS, sums.len()), "room for the sums");
        debug_assert!(tile.offsets.iter().all(|&offset| offset <= tile.reach));
        // SAFETY: the proof says that the instructions are there, and the registers are configured for these tiles. All reads lie
        // in the map (which `Tile::fits_map` has said of the largest offset), the offsets and the weights, all writes in the
        // sums.
        unsafe {
            asm!(
                "tilezero tmm0",
                "2:",
                "mov {at}, [{offsets}]",
                "add {at}, {map}",
                "tileloadd tmm6, [{weights} + {step}]",
                "tileloadd tmm4, [{at} + {stride}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "add {offsets}, 8",
                "add {weights}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {sum_stride}], tmm0",
                offsets = inout(reg) tile.offsets.as_ptr() => _,
                map = in(reg) tile.map.as_ptr().add(window),
                weights = inout(reg) weights.as_ptr() => _,
                step = in(reg) STEP,
                stride = in(reg) tile.stride,
                steps = inout(reg) steps => _,
                at = out(reg) _,
                sums = in(reg) sums.as_mut_ptr().add(place),
                sum_stride = in(reg) tile.sum_stride * size_of::<i32>(),
                options(nostack)
            );
        }
    }

    fn quad(
        self,
        prepared: &Configured,
        tile: &Tile<'_>,
        windows: [usize; 2],
        weights: &[i8],
        places: [usize; 2],
        sums: &mut [i32],
    ) {
        let steps = tile.offsets.len();
        assert!(prepared.pixels == tile.pixels && steps > 0, "a tile that was prepared");
        assert!(weights.len() >= 2 * steps * WEIGHTS, "weights of two blocks");
        for (window, place) in windows.into_iter().zip(places) {
            assert!(tile.fits_map(window), "the windows lie in the map");
            assert!(tile.fits_sums(place, 2 * CHANNELS, sums.len()), "room for the sums");
        }
        debug_assert!(tile.offsets.iter().all(|&offset| offset <= tile.reach));
        // SAFETY: as in `single`, for two tiles of the map and two blocks of weights, the second of which starts `steps` registers
        // after the first; `places` lives until the end.
        unsafe {
            let sums = sums.as_mut_ptr();
            let places = Places {
                first: sums.add(places[0]),
                second: sums.add(places[1]),
                stride: tile.sum_stride * size_of::<i32>(),
            };
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {at}, [{offsets}]",
                "lea {below}, [{second} + {at}]",
                "add {at}, {first}",
                "tileloadd tmm6, [{weights} + {step}]",
                "tileloadd tmm4, [{at} + {stride}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{below} + {stride}]",
                "tdpbssd tmm2, tmm5, tmm6",
                "tileloadd tmm7, [{further} + {step}]",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm3, tmm5, tmm7",
                "add {offsets}, 8",
                "add {weights}, 1024",
                "add {further}, 1024",
                "dec {steps}",
                "jnz 2b",
                "mov {at}, [{places}]",
                "mov {below}, [{places} + 8]",
                "mov {steps}, [{places} + 16]",
                "tilestored [{at} + {steps}], tmm0",
                "tilestored [{at} + {steps} + 64], tmm1",
                "tilestored [{below} + {steps}], tmm2",
                "tilestored [{below} + {steps} + 64], tmm3",
                offsets = inout(reg) tile.offsets.as_ptr() => _,
                first = in(reg) tile.map.as_ptr().add(windows[0]),
                second = in(reg) tile.map.as_ptr().add(windows[1]),
                weights = inout(reg) weights.as_ptr() => _,
                further = inout(reg) weights.as_ptr().add(steps * WEIGHTS) => _,
                step = in(reg) STEP,
                stride = in(reg) tile.stride,
                steps = inout(reg) steps => _,
                places = in(reg) &raw const places,
                at = out(reg) _,
                below = out(reg) _,
                options(nostack)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_is_quiet_and_says_the_same_twice() {
        let found = Amx::detect().is_some();
        assert_eq!(Amx::detect().is_some(), found);
        assert!(present() || !found);
    }

    #[test]
    fn configurations_have_the_size_that_the_processor_reads() {
        assert_eq!((size_of::<Configuration>(), align_of::<Configuration>()), (64, 64));
        assert_eq!(std::mem::offset_of!(Configuration, row_bytes), 16);
        assert_eq!(std::mem::offset_of!(Configuration, rows), 48);
    }

    #[test]
    fn tiles_multiply_bytes() {
        // Two pixels of one step, of which only the first and the last value count.
        let mut map = vec![9; 2 * STEP + 5];
        (map[5], map[5 + 63], map[5 + 64], map[5 + 127]) = (1, -2, 3, 127);
        let mut weights = vec![0; WEIGHTS];
        // Channel 4: the first value; channel 15: the last one, [15][channel][3].
        (weights[4 * 4], weights[15 * 64 + 15 * 4 + 3]) = (-128, 127);
        let offsets = [5];
        let tile = Tile {
            map: &map,
            pixels: 2,
            stride: STEP,
            offsets: &offsets,
            reach: 5,
            sum_stride: 20,
        };
        let mut sums = vec![7; 36];
        Portable.single(&(), &tile, 0, &weights, 0, &mut sums);
        let mut expected = vec![0; 36];
        (expected[4], expected[15], expected[24], expected[35]) = (-128, -254, -384, 127 * 127);
        expected[16..20].fill(7);
        assert_eq!(sums, expected);
    }
}
