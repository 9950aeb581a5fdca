//! The goals, one after another.

mod catalog;
pub(crate) mod counts;
mod far;
pub(crate) mod felt;
mod install;
mod offline;
mod online;
mod outage;
mod signed_in;

use dbt_bench::Fault;
use dbt_bench::report::Row;

use crate::bench::Bench;

/// Measures a goal.
type Measure = fn(&Bench) -> Result<Vec<Row>, Fault>;

/// Every goal that is measured here. (What signed metadata costs comes with it.)
pub(crate) const ALL: &[(&str, Measure)] = &[
    ("P1", offline::overhead_ed25519),
    ("P2", offline::overhead_rsa),
    ("P3", offline::sha256),
    ("P4", offline::sha512),
    ("P5", online::warm),
    ("P6", far::warm),
    ("P7", counts::rounds),
    ("P8", far::cold),
    ("P9", install::cold),
    ("P10", counts::peak_memory),
    ("P11", catalog::by_listing),
    ("P12", catalog::in_one_document),
    ("P13", counts::system_calls),
    ("P14", counts::size),
    ("P15", online::secure),
    ("P17", outage::black_hole),
    ("P18", signed_in::warm),
    ("P19", online::built_in),
];
