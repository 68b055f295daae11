//! Rule books: files, and the mistakes in them.
