//! `loyaltyd key`: API keys.

use jiff::Timestamp;

use super::CliError;
use crate::grpc::access::key;

/// Make API keys
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a new API key: the key goes to standard output, and is kept nowhere; its line for the access file goes to standard error
    #[command(after_help = "\
The access file holds the key's hash alone. A principal has up to 8 keys at a time: to replace one, add the new one to the file, let its
callers change over, then remove the old one; the running service reads the file again by itself.

EXAMPLES
  loyaltyd key new --key-id 2026-11
  loyaltyd key new --key-id till-17 --expire-time 2027-01-01T00:00:00Z > till-17.key")]
    New {
        /// What the key is called in the access file [default: today's date]
        #[arg(long, value_name = "NAME")]
        key_id: Option<String>,
        /// When it ends, such as 2027-01-01T00:00:00Z; without it never
        #[arg(long, value_name = "INSTANT")]
        expire_time: Option<Timestamp>,
    },
}

pub fn run(args: Args) -> Result<(), CliError> {
    let What::New { key_id, expire_time } = args.what;
    let now = Timestamp::now();
    if let Some(end) = expire_time.filter(|end| *end <= now) {
        return Err(CliError::Usage(format!("--expire-time {end} is past: the key would never be taken")));
    }
    let key_id = key_id.unwrap_or_else(|| now.strftime("%Y-%m-%d").to_string());
    if key_id.is_empty()
        || key_id.chars().count() > 64
        || key_id.chars().any(|character| character.is_control() || character == '"' || character == '\\')
    {
        return Err(CliError::Usage("--key-id has 1 to 64 printable characters without quotes and backslashes".to_owned()));
    }
    let key = key::make().map_err(|error| CliError::Failed(format!("the system gives no randomness: {error}")))?;
    let end = expire_time.map_or_else(String::new, |end| format!(", expire_time: \"{end}\""));
    println!("{key}");
    eprintln!("The key is shown this once. For the principal's `api_keys` in the access file:");
    eprintln!("  - {{key_id: \"{key_id}\", hash: \"{}\"{end}}}", key::hash_text(&key));
    Ok(())
}
