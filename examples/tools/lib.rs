//! Nothing: a package needs a library or a program, and the examples are neither.
