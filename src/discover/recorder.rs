//! Writes a transcript while the run goes on, and lets a run go on where an earlier one was cut.

use super::ask::Reply;
use super::transcript::{Event, Header, Recorded};
use crate::{Code, Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A transcript in the making. What an earlier run recorded is expected again, line by line, and not written twice.
pub struct Recorder<'w> {
    sink: Box<dyn Write + 'w>,
    recorded: Recorded,
    next: usize,
}

impl<'w> Recorder<'w> {
    /// A new transcript.
    pub fn new(sink: impl Write + 'w) -> Self {
        Recorder::resume(Recorded::default(), sink)
    }

    /// Goes on after `recorded`, whose lines `sink` must hold already.
    pub fn resume(recorded: Recorded, sink: impl Write + 'w) -> Self {
        Recorder { sink: Box::new(sink), recorded, next: 0 }
    }

    /// Opens or creates a transcript file, to go on where it ends. A half-written last line is cut off the file, and
    /// so are the failures of a proposer that ended the run. The text is what the user should know of that.
    ///
    /// # Errors
    /// [`Code::Io`] where the file cannot be read or written, or another run has it open, [`Code::Transcript`] where it is damaged.
    pub fn open(path: &Path) -> Result<(Recorder<'static>, Option<String>)> {
        let io = |what: &'static str| move |e: std::io::Error| Error::io(path, what, &e);
        let mut file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open the transcript"))?;
        // Two runs in one file would ruin it. Where the file system knows no locks, there is none.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::new(Code::Io, "another run is writing this transcript").at(path.display().to_string()));
        }
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).map_err(io("read the transcript"))?;
        let mut recorded = Recorded::read(&bytes).map_err(|e| e.at(path.display().to_string()))?;
        recorded.reopen();
        file.set_len(recorded.bytes()).map_err(io("cut the transcript"))?;
        file.seek(SeekFrom::End(0)).map_err(io("write the transcript"))?;
        let notice = recorded.notice.clone();
        Ok((Recorder::resume(recorded, file), notice))
    }

    /// Whether lines of the earlier run are left.
    pub fn is_replaying(&self) -> bool {
        self.next < self.recorded.lines.len()
    }

    /// Takes the next event: expected where the earlier run recorded one, else written and flushed.
    ///
    /// # Errors
    /// [`Code::Transcript`] where this run departs from the recorded one, [`Code::Io`] where it cannot be written.
    pub fn record(&mut self, event: &Event) -> Result<()> {
        let line = event.to_line()?;
        if let Some(before) = self.recorded.lines.get(self.next) {
            if before.trim_end() != line {
                return Err(self.departure(event, &line));
            }
            self.next += 1;
            return Ok(());
        }
        let written = self.sink.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.sink.flush());
        written.map_err(|e| Error::new(Code::Io, format!("cannot write the transcript: {e}")))
    }

    /// The run is over.
    ///
    /// # Errors
    /// [`Code::Transcript`] where the earlier run recorded more.
    pub fn finish(&self) -> Result<()> {
        if !self.is_replaying() {
            return Ok(());
        }
        let message = "this run is over, but the transcript goes on";
        Err(Error::new(Code::Transcript, message).at(format!("line {}", self.next + 1)))
    }

    /// What the proposer answered in the earlier run to the question recorded last; none where it was not reached.
    pub fn recorded_answer(&self) -> Option<std::result::Result<Reply, String>> {
        match self.recorded.events.get(self.next)? {
            Event::Reply(reply) => Some(Ok(reply.clone())),
            Event::Failure { message } => Some(Err(message.clone())),
            _ => None,
        }
    }

    fn departure(&self, event: &Event, line: &str) -> Error {
        let before = self.recorded.events.get(self.next);
        let what = match (event, before) {
            (Event::Header(now), Some(Event::Header(before))) => now.departs(before),
            _ => None,
        };
        let recorded = self.recorded.lines.get(self.next).map(String::as_str).unwrap_or_default();
        let what = what.unwrap_or_else(|| difference(recorded.trim_end(), line));
        Error::new(Code::Transcript, format!("this run departs from the transcript: {what}"))
            .at(format!("line {}", self.next + 1))
            .help("use the settings, model and samples of the recorded run, or start a new transcript")
    }
}

impl Header {
    /// In words, what this header says that `before` does not; none where they are equal.
    pub fn departs(&self, before: &Header) -> Option<String> {
        let text = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
        let (now_all, before_all) = (text(serde_json::to_value(self)), text(serde_json::to_value(before)));
        let flat = |value: &serde_json::Value| -> Vec<(String, String)> {
            let fields = |v: &serde_json::Value, prefix: &str| -> Vec<(String, String)> {
                v.as_object().into_iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v.to_string())).collect()
            };
            let inner = value.get("settings").map(|s| fields(s, "")).unwrap_or_default();
            fields(value, "").into_iter().filter(|(k, _)| k != "settings").chain(inner).collect()
        };
        let pairs = flat(&now_all).into_iter().zip(flat(&before_all));
        let differing = pairs.filter(|(now, before)| now != before);
        let words: Vec<String> =
            differing.map(|((name, now), (_, before))| format!("{name} was {before} and is {now}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// Both lines from shortly before the place where they part.
fn difference(before: &str, now: &str) -> String {
    let same = before.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let around = |line: &str| line.chars().skip(same.saturating_sub(30)).take(80).collect::<String>();
    format!("recorded is …{}…, now it is …{}…", around(before), around(now))
}
