//! A tracer: a library in C that has the thread-local symbol, as the compiler for the linker makes
//! it.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(unsafe_code, reason = "libraries are loaded by calls to libc")]

use std::ffi::{CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
pub const TEXT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;

/// A record, as OTEP 4947 has it. Other bytes follow the header.
#[repr(C, align(2))]
pub struct Record {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub valid: u8,
    pub flags: u8,
    pub attributes_len: [u8; 2],
    pub attributes: [u8; 6],
}

impl Record {
    pub fn new(trace: u128, span: u64, flags: u8) -> Box<Self> {
        Box::new(Self {
            trace: trace.to_be_bytes(),
            span: span.to_be_bytes(),
            valid: 1,
            flags,
            attributes_len: 6_u16.to_ne_bytes(),
            attributes: *b"\x00\x04/cart"[..6].first_chunk().unwrap(),
        })
    }
}

/// Compiles the tracer.
pub fn compile(dialect: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join(format!("tracer{dialect}-{}.so", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tracer.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source);
    if !dialect.is_empty() {
        cc.arg(dialect);
    }
    assert!(cc.status().unwrap().success());
    library
}

type Attach = unsafe extern "C" fn(*const Record) -> c_int;

/// A library that is loaded.
pub struct Tracer {
    handle: *mut c_void,
    attach: Attach,
}

// SAFETY: a handle and a function, which any thread may use.
unsafe impl Send for Tracer {}
// SAFETY: the same.
unsafe impl Sync for Tracer {}

impl Tracer {
    pub fn load(library: &Path) -> Self {
        let name = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: the library has no initializers.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        assert!(!handle.is_null());
        // SAFETY: the name ends with a zero.
        let attach = unsafe { libc::dlsym(handle, c"attach".as_ptr()) };
        assert!(!attach.is_null());
        // SAFETY: it is this function.
        let attach = unsafe { std::mem::transmute::<*mut c_void, Attach>(attach) };
        Self { handle, attach }
    }

    /// The tracer of all tests of a program.
    pub fn get() -> &'static Self {
        static TRACER: OnceLock<Tracer> = OnceLock::new();
        TRACER.get_or_init(|| {
            let library = compile("");
            let tracer = Self::load(&library);
            std::fs::remove_file(library).unwrap();
            tracer
        })
    }

    /// Makes a record that of this thread while `work` runs.
    pub fn in_span<T>(&self, record: &Record, work: impl FnOnce() -> T) -> T {
        // SAFETY: the record lives longer than it is attached. No work of these tests panics
        // without ending the test.
        unsafe { (self.attach)(record) };
        let result = work();
        // SAFETY: null is no record.
        unsafe { (self.attach)(std::ptr::null()) };
        result
    }

    /// Makes a record that of this thread for ever.
    pub fn attach(&self, record: &'static Record) {
        // SAFETY: the record lives for ever.
        unsafe { (self.attach)(record) };
    }

    /// Unloads the library, as far as nothing else needs it.
    pub fn close(self) {
        // SAFETY: nothing of these tests uses its function after that.
        assert_eq!(unsafe { libc::dlclose(self.handle) }, 0);
    }
}

/// Returns whether a library is loaded.
pub fn is_loaded(library: &Path) -> bool {
    let name = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: nothing is loaded that is not loaded yet.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    !handle.is_null()
}
