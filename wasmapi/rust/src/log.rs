//! The gadget's log.

use crate::helpers::string_to_buf_ptr;
use crate::host;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// Something failed.
    Error = 0,
    /// Something is not as it should be.
    Warn = 1,
    /// What users want to know.
    Info = 2,
    /// What helps to find a mistake; shown with `-v`.
    Debug = 3,
    /// Even more.
    Trace = 4,
}

/// Writes a message to the log.
pub fn log(level: LogLevel, message: &str) {
    host::gadget_log(level as u32, string_to_buf_ptr(message).0);
}

/// Whether messages of that level are shown, so that others need not be made.
pub fn should_log(level: LogLevel) -> bool {
    host::gadget_should_log(level as u32) == 1
}

/// Logs some texts, with a space between them.
#[macro_export]
macro_rules! log {
    ($level:expr, $($part:expr),+ $(,)?) => {
        if $crate::log::should_log($level) {
            $crate::log::log($level, &[$(&*$part),+].join(" "));
        }
    };
}

/// Logs a formatted text.
#[macro_export]
macro_rules! logf {
    ($level:expr, $($arg:tt)+) => {
        if $crate::log::should_log($level) {
            $crate::log::log($level, &::std::format!($($arg)+));
        }
    };
}

macro_rules! level_macros {
    ($dollar:tt $($level:ident: $plain:ident, $formatted:ident;)*) => {$(
        #[doc = concat!("Logs something that can be shown at level `", stringify!($level), "`.")]
        #[macro_export]
        macro_rules! $plain {
            ($dollar message:expr) => {
                $crate::logf!($crate::log::LogLevel::$level, "{}", $dollar message)
            };
        }

        #[doc = concat!("Logs a formatted text at level `", stringify!($level), "`.")]
        #[macro_export]
        macro_rules! $formatted {
            ($dollar ($dollar arg:tt)+) => {
                $crate::logf!($crate::log::LogLevel::$level, $dollar ($dollar arg)+)
            };
        }
    )*};
}

level_macros! { $
    Error: error, errorf;
    Warn: warn, warnf;
    Info: info, infof;
    Debug: debug, debugf;
    Trace: trace, tracef;
}
