//! Progress bars: on standard error, when a terminal looks on.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pyrgos_protocol::client::Progress;

use super::output::Output;

/// Shows how far a transfer is.
pub struct Transfer {
    bar: ProgressBar,
}

impl Transfer {
    /// A transfer of `total` bytes, if that is known.
    pub fn new(output: Output, verb: &'static str, total: Option<u64>) -> Self {
        if output.json || output.quiet || !std::io::stderr().is_terminal() {
            return Transfer { bar: ProgressBar::hidden() };
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let template = match total {
            Some(_) => {
                "{prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta} {wide_msg}"
            }
            None => "{prefix} {spinner} {binary_bytes} {binary_bytes_per_sec} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(verb);
        bar.enable_steady_tick(Duration::from_millis(200));
        Transfer { bar }
    }

    /// Shows which file is being transferred.
    pub fn at(&self, name: &str) {
        self.bar.set_message(super::output::defused(name));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Transfer {
    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.finish();
    }
}
