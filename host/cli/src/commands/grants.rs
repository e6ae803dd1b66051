//! `minisnap grants`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use minisnap_host::Grant;
use minisnap_host::grants::Grants as GrantsFile;
use minisnap_host::remote::Remote;
use serde_json::{Value, json};

use crate::failure::{Failure, plain};
use crate::output::print;
use crate::table;

const EXAMPLE: &str = "Example:
  minisnap grants check minisnap.toml --json | jq '.components[].directory'";

/// Check a grants file, which maps components to directories
#[derive(Args)]
pub struct Grants {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Check(Check),
}

/// Report mistakes in a grants file, or print what each component gets
///
/// The last line, `*`, applies to components that the file does not name.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
struct Check {
    /// The grants file [default: that of MINISNAP_CONFIG, if it is set]
    #[arg(env = "MINISNAP_CONFIG", hide_env = true)]
    file: PathBuf,
    /// Print {"root":DIR, "logs":DIR|null, "components":[...], "defaults":{...}}, of which each component is {"name":NAME,
    /// "directory":DIR, "url":URL|null, "digest":"sha256:..."|null, "access":"read-write"|"read-only"|"none",
    /// "layout":"pair"|"numbered", "keep":N|null, "must-exist":BOOL, "log":DIR|null, "max-state":BYTES, "max-total":BYTES|null,
    /// "stores":N, "max-instances":N|null, "max-memory":BYTES|null, "deadline":DURATION}, and the defaults are the same
    /// without name, directory and digest; without "keep", 5 generations are kept, and all that another program wrote
    #[arg(long)]
    json: bool,
}

impl Grants {
    pub fn run(self) -> Result<(), Failure> {
        let Verb::Check(Check { file, json }) = self.verb;
        let grants = GrantsFile::load(&file).map_err(Failure::diagnostic)?;
        let text = if json { json_of(&grants) } else { table_of(&grants) };
        print(text.as_bytes())
    }
}

fn json_of(grants: &GrantsFile) -> String {
    let components = grants.terms().map(|of| {
        let mut value = terms(&of.grant);
        value["directory"] = shown(&of.directory).into();
        value["digest"] = of.digest.map(|digest| digest.to_string()).into();
        value["name"] = of.name.into();
        value
    });
    let components: Vec<Value> = components.collect();
    let value = json!({
        "root": shown(grants.root()),
        "logs": grants.logs().map(shown),
        "components": components,
        "defaults": terms(grants.defaults()),
    });
    format!("{value}\n")
}

/// As the file has it, without the directory.
fn terms(grant: &Grant) -> Value {
    json!({
        "url": grant.remote.as_ref().map(Remote::url),
        "access": grant.access.to_string(),
        "layout": grant.layout.to_string(),
        "keep": grant.keep,
        "must-exist": grant.must_exist,
        "log": grant.log_dir().map(shown),
        "max-state": grant.max_state,
        "max-total": grant.max_total,
        "stores": grant.stores,
        "max-instances": grant.max_instances,
        "max-memory": grant.max_memory,
        "deadline": humantime::format_duration(grant.deadline).to_string(),
    })
}

/// A line for each component, and one for all others.
fn table_of(grants: &GrantsFile) -> String {
    let head =
        ["component", "access", "layout", "keep", "max-state", "max-total", "stores", "log", "directory"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(grants.terms().map(|of| row(of.name, &of.directory, &of.grant)));
    let mut defaults = grants.defaults().clone();
    if let Some(remote) = &mut defaults.remote {
        remote.name = "NAME".to_owned();
    }
    rows.push(row("*".to_owned(), &grants.root().join("NAME"), &defaults));
    table::aligned(&rows, &[3, 4, 5, 6])
}

fn row(name: String, directory: &Path, grant: &Grant) -> Vec<String> {
    vec![
        name,
        grant.access.to_string(),
        grant.layout.to_string(),
        grant.keep.map_or_else(|| "default".to_owned(), |keep| keep.to_string()),
        table::size(grant.max_state),
        grant.max_total.map_or_else(|| "none".to_owned(), table::size),
        grant.stores.to_string(),
        if grant.log_dir().is_some() { "yes" } else { "no" }.to_owned(),
        match &grant.remote {
            Some(remote) => plain(&remote.url()).into_owned(),
            None => plain(&shown(directory)).into_owned(),
        },
    ]
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
