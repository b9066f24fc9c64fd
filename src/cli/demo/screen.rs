//! The terminal: a screen of its own while the demo runs, and the person's own screen back afterwards.
//!
//! Contract: each picture is one write, so that nothing flickers; the cursor and the screen come back however the
//! demo ends. Log lines go to [`LastWarning`] meanwhile, as on stderr they would tear the picture.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use tracing_subscriber::fmt::MakeWriter;

/// Whether there is a terminal that can be drawn on: one without a size has no place for a picture.
pub fn is_for_people() -> bool {
    let term = Term::stdout();
    term.features().is_attended()
        && term.size_checked().is_some_and(|(rows, columns)| rows > 0 && columns > 0)
}

/// A screen of its own.
pub struct Screen {
    term: Term,
    drawn: Option<Instant>,
}

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn open() -> std::io::Result<Screen> {
        let term = Term::buffered_stdout();
        let mut screen = Screen { term, drawn: None };
        screen.write("\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(screen)
    }

    /// Whether it is time for another picture.
    pub fn is_due(&self, now: Instant, frame: Duration) -> bool {
        self.drawn.is_none_or(|drawn| now >= drawn + frame)
    }

    /// Draws the lines that `picture` makes for the width and height there is now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, picture: impl FnOnce(usize, usize) -> Vec<String>) -> std::io::Result<()> {
        let (rows, columns) = self.term.size();
        let (width, height) = (usize::from(columns), usize::from(rows));
        let lines = picture(width, height);
        // Between these two, terminals that know them show nothing: an update is seen as a whole.
        let mut text = String::from("\x1b[?2026h\x1b[H");
        for (row, line) in lines.iter().take(height).enumerate() {
            if row > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&console::truncate_str(line, width, ""));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J\x1b[?2026l");
        self.drawn = Some(Instant::now());
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.term.write_all(text.as_bytes())?;
        self.term.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = self.write("\x1b[?25h\x1b[?1049l");
    }
}

/// The last log line, for a corner of the picture.
#[derive(Clone, Debug, Default)]
pub struct LastWarning(Arc<Mutex<String>>);

impl LastWarning {
    /// From now on log lines of `warn` and above come here.
    pub fn listen(&self) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .with_writer(self.clone());
        // Only a second demo in one process could have come first.
        let _ = subscriber.try_init();
    }

    /// The line; `None` when all was well.
    pub fn text(&self) -> Option<String> {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!text.is_empty()).then(|| text.trim().to_owned())
    }
}

/// Collects one event.
pub struct Event(Arc<Mutex<String>>);

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // The formatter writes each event with one call.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(bytes).into_owned();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LastWarning {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event(Arc::clone(&self.0))
    }
}
