//! The commands of a page of the documentation, each of which some test types as it stands there.

/// What is left to be typed.
pub(crate) struct Page {
    text: &'static str,
    commands: Vec<String>,
    /// What stands on the page for what a test has, and that.
    instead: Vec<(&'static str, String)>,
}

impl Page {
    /// Reads a page: what follows `$ ` or `# ` in blocks of `console`, and the lines of blocks of `sh`.
    pub(crate) fn of(text: &'static str, instead: &[(&'static str, &str)]) -> Self {
        let instead = instead.iter().map(|(there, here)| (*there, (*here).to_owned())).collect();
        Self { text, commands: commands_of(text), instead }
    }

    /// Reads a section of a page.
    pub(crate) fn section(
        text: &'static str,
        title: &str,
        instead: &[(&'static str, &str)],
    ) -> Self {
        let section = text.split(&format!("\n## {title}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("the page has lost `{title}`"));
        Self::of(section.split("\n## ").next().unwrap(), instead)
    }

    /// Returns the next command, which begins so, as a test types it.
    #[track_caller]
    pub(crate) fn next(&mut self, begin: &str) -> String {
        assert!(!self.commands.is_empty(), "the page has no command after the last: {begin}");
        let command = self.commands.remove(0);
        assert!(command.starts_with(begin), "the page goes on with `{command}`, not `{begin}`");
        self.here(&command)
    }

    /// Returns the next command, whatever it is; nothing behind the last.
    pub(crate) fn next_of_all(&mut self) -> Option<String> {
        if self.commands.is_empty() {
            return None;
        }
        let command = self.commands.remove(0);
        Some(self.here(&command))
    }

    /// Returns the first block of a language that holds these words.
    #[track_caller]
    pub(crate) fn block(&self, language: &str, words: &str) -> String {
        let mut blocks = blocks(self.text, language);
        let block = blocks.find(|block| block.contains(words));
        self.here(&block.unwrap_or_else(|| panic!("the page has no {language} with `{words}`")))
    }

    /// Expects that everything was typed.
    #[track_caller]
    pub(crate) fn ends(self) {
        assert!(self.commands.is_empty(), "nobody has typed {:#?}", self.commands);
    }

    fn here(&self, text: &str) -> String {
        let put = |text: String, (there, here): &(&str, String)| text.replace(there, here);
        self.instead.iter().fold(text.to_owned(), put)
    }
}

fn blocks(text: &'static str, language: &str) -> impl Iterator<Item = String> {
    let begin = format!("```{language}\n");
    let blocks: Vec<&str> = text.split(&begin).skip(1).collect();
    blocks.into_iter().map(|rest| rest.split("```").next().unwrap().to_owned())
}

/// Returns the commands in order.
fn commands_of(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for block in text.split("```").skip(1).step_by(2) {
        let (language, lines) = block.split_once('\n').unwrap_or_default();
        let mut goes_on = false;
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let typed = match language {
                "console" => line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")),
                "sh" => Some(line),
                _ => None,
            };
            match (typed, commands.last_mut()) {
                (_, Some(before)) if goes_on => {
                    before.push('\n');
                    before.push_str(line);
                }
                (Some(typed), _) => commands.push(typed.to_owned()),
                (None, _) => continue,
            }
            goes_on = line.ends_with('\\');
        }
    }
    commands
}
