//! Broken connections that must not look like the end of an answer.
//!
//! An answer without a length ends with its connection. The HTTP library takes a reset, or the end
//! of TLS without a word, for such an end, and so lets anybody on the way cut a listing short. Here
//! they become errors that it does not know.

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
        Ok(chained.map(Whole))
    }
}

/// A connection whose end is said, or is an error.
pub(super) struct Whole<T>(T);

impl<T: Transport> Transport for Whole<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        match self.0.await_input(timeout) {
            Err(ureq::Error::Io(source)) if is_break(&source) => {
                Err(ureq::Error::Io(io::Error::other(Failure::Reset { source })))
            }
            other => other,
        }
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
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
