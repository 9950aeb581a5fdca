//! Every word a person sees, and every exit code.
//!
//! The rules for speaking to people:
//!
//! 1. stdout is data, stderr is talk. A run that goes well says nothing: the tool speaks.
//! 2. One error has one shape: `error:`, a `caused by:` line for each cause, `hint:` lines. Lower
//!    case, no full stop on one-liners, literals in backticks, no blame.
//! 3. Colour only repeats what the words say, on a terminal, unless `NO_COLOR` forbids it.
//! 4. Text from outside is escaped before a terminal sees it ([`printable`]).
//! 5. Every question has a flag that answers it, and without a terminal the answer is no.
//! 6. Progress appears on a terminal only, after a second, and leaves nothing behind.
//!
//! The crate knows nothing of tools or servers: programs bring the facts, this brings the form.

pub mod bar;
pub mod exit_code;
pub mod printable;
pub mod printer;
pub mod prompt;
pub mod qr;
pub mod report;
pub mod table;
