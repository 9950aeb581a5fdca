//! Broken connections that must not look like the end of an answer.
//!
//! An answer without a length ends with its connection. The HTTP library takes a reset, or the end
//! of TLS without a word, for such an end, and so lets anybody on the way cut a listing short. Here
//! they become errors that it does not know. So does what follows an answer on a kept connection and
//! is no answer: a server that sends more than it announced has broken that connection, and another
//! one may still do.

use std::fmt;
use std::io;

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::error::Failure;

/// Wraps every connection.
#[derive(Debug)]
pub(super) struct WholeConnector;

impl<In: Transport> Connector<In> for WholeConnector {
    type Out = Whole<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| Whole { inner, asked: false, answered: false }))
    }
}

/// A connection whose end is said, or is an error.
pub(super) struct Whole<T> {
    inner: T,
    /// A document was asked for, and nothing has come since.
    asked: bool,
    /// An answer has come before.
    answered: bool,
}

impl<T: Transport> Whole<T> {
    /// Checks that what comes first after a request begins an answer, as far as it is there.
    fn check_beginning(&mut self) -> Result<(), ureq::Error> {
        const BEGINNING: &[u8] = b"HTTP/";
        let input = self.inner.buffers().input();
        if !self.asked || input.is_empty() {
            return Ok(());
        }
        let begins = input.starts_with(BEGINNING) || BEGINNING.starts_with(input);
        let is_left_over = self.answered && !begins;
        (self.asked, self.answered) = (false, true);
        if is_left_over {
            let source = io::Error::other("the answer is malformed: it does not begin as one");
            return Err(ureq::Error::Io(io::Error::other(Failure::Reset { source })));
        }
        Ok(())
    }
}

impl<T: Transport> Transport for Whole<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        // Through a tunnel something else than HTTP follows the answer.
        self.asked = self.inner.buffers().output().starts_with(b"GET ");
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        match self.inner.await_input(timeout) {
            Err(ureq::Error::Io(source)) if is_break(&source) => {
                Err(ureq::Error::Io(io::Error::other(Failure::Reset { source })))
            }
            Ok(has_input) => self.check_beginning().map(|()| has_input),
            other => other,
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// The kinds that the library takes for an end.
fn is_break(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionAborted | ConnectionReset)
}

impl<T> fmt::Debug for Whole<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Whole")
    }
}
