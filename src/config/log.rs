//! `[log]` and `[access_log]`.

use std::path::PathBuf;

use super::{
    problem::{Wrong, nearest},
    reader::{Table, Value},
    template::check_template,
    write::Entries,
};

/// `[log]`: what the process says of itself, on standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info }
    }
}

impl Log {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            level: table.choice("level", Self::default().level, &LEVELS),
        }
    }

    pub(super) fn write(&self) -> String {
        let mut entries = Entries::default();
        entries.changed_choice("level", &self.level, &Self::default().level, &LEVELS);
        entries.section("[log]")
    }
}

/// `[access_log]`: one line per request.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    pub output: AccessLogOutput,
    pub format: AccessLogFormat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogOutput {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogFormat {
    Json,
    /// A text template: `{name}` stands for a field of the record, anything else for itself.
    Text(String),
}

/// The fields of an access log record, in the order in which JSON has them. Times of `..._ms` are milliseconds, `bytes`
/// are those of the response's body.
pub const ACCESS_LOG_FIELDS: [&str; 21] = [
    "time",
    "client",
    "listener",
    "method",
    "host",
    "path",
    "protocol",
    "status",
    "bytes",
    "bytes_up",
    "route",
    "cluster",
    "endpoint",
    "reused",
    "connect_ms",
    "wait_ms",
    "first_byte_ms",
    "total_ms",
    "reason",
    "user_agent",
    "grpc_status",
];

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            output: AccessLogOutput::Off,
            format: AccessLogFormat::Json,
        }
    }
}

impl AccessLog {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        Self {
            output: table.or("output", default.output, read_output),
            format: table.or("format", default.format, |value| {
                value.parse("\"json\", or a text such as \"{status} {path}\"", parse_format)
            }),
        }
    }

    pub(super) fn write(&self) -> String {
        let default = Self::default();
        let mut entries = Entries::default();
        match &self.output {
            output if *output == default.output => {}
            AccessLogOutput::Off => entries.put("output", "off"),
            AccessLogOutput::Stdout => entries.put("output", "stdout"),
            AccessLogOutput::Stderr => entries.put("output", "stderr"),
            AccessLogOutput::File(path) => entries.put("output", path.as_path()),
        }
        if let AccessLogFormat::Text(template) = &self.format {
            entries.put("format", template);
        }
        entries.section("[access_log]")
    }
}

fn read_output(value: Value<'_>) -> Option<AccessLogOutput> {
    let context = value.context();
    value.parse(
        "\"off\", \"stdout\", \"stderr\" or the path of a file",
        |text| match text {
            "off" => Ok(AccessLogOutput::Off),
            "stdout" => Ok(AccessLogOutput::Stdout),
            "stderr" => Ok(AccessLogOutput::Stderr),
            "" => Err(Wrong::new("`output` is empty").help("write \"off\" for no access log")),
            _ => match nearest(text, ["off", "stdout", "stderr"].into_iter()) {
                Some(word) => {
                    let help = format!(
                        "did you mean `{word}`? A file of that name is written {:?}",
                        format!("./{text}")
                    );
                    Err(Wrong::new(format!("{text:?} looks like a slip of the pen")).help(help))
                }
                None => Ok(AccessLogOutput::File(context.resolve(text))),
            },
        },
    )
}

fn parse_format(text: &str) -> Result<AccessLogFormat, Wrong> {
    if text == "json" {
        return Ok(AccessLogFormat::Json);
    }
    if !text.contains('{') {
        let wrong = Wrong::new("the format has no field in it");
        return Err(wrong.help("write \"json\", or fields in braces: \"{time} {client} {method} {path} {status}\""));
    }
    check_template(text, &ACCESS_LOG_FIELDS)?;
    if text.contains(|c: char| c.is_control() && c != '\t') {
        let wrong = Wrong::new("the format has a control character in it");
        return Err(wrong.help("leave it out: each request is one line, which the proxy ends"));
    }
    Ok(AccessLogFormat::Text(text.to_owned()))
}
