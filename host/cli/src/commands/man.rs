//! `minisnap man`

use clap::{Args, Command};
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output::{Output, Unwritten};

const EXAMPLE: &str = "Examples:
  minisnap man > minisnap.1
  minisnap man create > minisnap-create.1";

/// Print a manual page, of minisnap or of a verb
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct ManPage {
    /// The verb
    verb: Option<String>,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
}

impl ManPage {
    /// Of the command line as it is declared.
    pub fn run(self, mut command: Command) -> Result<(), Failure> {
        command.build();
        let of = match &self.verb {
            None => command,
            Some(verb) => match command.find_subcommand(verb) {
                Some(of) => of.clone(),
                None => {
                    let what = format!("`{}` is no verb", crate::failure::plain(verb));
                    return Err(Failure::refused(2, what, "see which there are: minisnap --help"));
                }
            },
        };
        Output::find(None, None)?.write(|to| Man::new(of).render(to).map_err(Unwritten::Output))?;
        Ok(())
    }
}
