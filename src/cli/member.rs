//! `loyaltyd member`: exports all that is stored of a member.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use tonic::Streaming;

use super::{CliError, client};
use crate::contract::{
    json::to_json,
    v1::{self, export_member_response::Part, identifier::Kind, member_ref::Ref, member_service_client::MemberServiceClient},
};

const EXAMPLES: &str = "\
It is one JSON document in UTF-8: programId, memberId, requestedMemberId, exportTime, lastSequence, erased, member, and the lists lots, \
pendingLots, holds, vouchers, offers, purchases and entries, whose items are messages of the contract in their JSON form \
(proto/loyalty/v1/export.proto). A file is readable for its owner alone, takes the place of an older one, and is there only once it \
is whole. What is printed is whole if the exit code is 0.

EXAMPLES
  loyaltyd member export --program vietnam --member-id 0192f0c1-2f3a-7c2e-8a44-1f2d3c4b5a69 --to member.json
  loyaltyd member export --program vietnam --identifier phone:+84901234567 --to member.json";

/// What is stored of a member
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write all that is stored of a member, for who asks what is known of them
    #[command(after_help = EXAMPLES)]
    Export {
        /// The programme
        #[arg(long, value_name = "PROGRAM")]
        program: String,

        #[command(flatten)]
        who: Who,

        /// The file to write; without it the document is printed
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,

        #[command(flatten)]
        server: client::ServerArgs,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// The member's id
    #[arg(long, value_name = "ID")]
    member_id: Option<String>,

    /// What finds the member: card, phone, email or external-id, a colon, and the value
    #[arg(long, value_name = "KIND:VALUE")]
    identifier: Option<String>,
}

/// Not by the flags' own parser, which would repeat it: messages end up in logs.
fn identifier(text: &str) -> Result<v1::Identifier, CliError> {
    let mistake = || CliError::Usage("--identifier: is not a kind (card, phone, email or external-id), a colon and a value".to_owned());
    let (kind, value) = text.split_once(':').ok_or_else(mistake)?;
    let kind = match kind {
        "card" => Kind::Card,
        "phone" => Kind::Phone,
        "email" => Kind::Email,
        "external-id" => Kind::ExternalId,
        _ => return Err(mistake()),
    };
    Ok(v1::Identifier { kind: kind.into(), value: value.to_owned() })
}

pub async fn run(args: Args) -> Result<(), CliError> {
    let What::Export { program, who, to, server } = args.what;
    let reference = match (who.member_id, who.identifier) {
        (Some(id), _) => Ref::MemberId(id),
        (None, Some(text)) => Ref::Identifier(identifier(&text)?),
        (None, None) => return Err(CliError::Usage("name the member with --member-id or --identifier".to_owned())),
    };
    let request = v1::ExportMemberRequest { program_id: program, member: Some(v1::MemberRef { r#ref: Some(reference) }) };
    // One item can have 16 MiB.
    let mut client = MemberServiceClient::new(server.connect().await?).max_decoding_message_size(64 << 20);
    let parts = client.export_member(request).await.map_err(|status| client::failed(&status))?.into_inner();
    match to {
        Some(file) => into_file(parts, &file).await,
        None => {
            write(parts, io::stdout().lock()).await?;
            Ok(())
        }
    }
}

/// Beside the file first, so that a file of this name is whole.
async fn into_file(parts: Streaming<v1::ExportMemberResponse>, path: &Path) -> Result<(), CliError> {
    let failed = |doing: &str| {
        let what = format!("{doing} {}", path.display());
        move |error: io::Error| CliError::Failed(format!("{what}: {error}"))
    };
    let name = path.file_name().ok_or_else(|| CliError::Usage(format!("--to {} names no file", path.display())))?;
    let unfinished = path.with_file_name(format!("{}.unfinished-{}", name.to_string_lossy(), std::process::id()));
    let opened = File::options().write(true).create_new(true).mode(0o600).open(&unfinished);
    let file = opened.map_err(failed("creating a file beside"))?;
    let written = write(parts, &file).await;
    let done = written.and_then(|counted| {
        file.sync_all().and_then(|()| fs::rename(&unfinished, path)).map_err(failed("writing"))?;
        Ok(counted)
    });
    match done {
        Ok(v1::ExportEnd { purchases, entries }) => {
            println!("{}: {entries} entries, {purchases} of them purchases", path.display());
            Ok(())
        }
        Err(error) => {
            // What is left of it is no use, and personal.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// The lists of the document, in their order.
const LISTS: [&str; 7] = ["lots", "pendingLots", "holds", "vouchers", "offers", "purchases", "entries"];

/// Writes the document as its parts come.
async fn write(mut parts: Streaming<v1::ExportMemberResponse>, to: impl Write) -> Result<v1::ExportEnd, CliError> {
    let mut document = Document { to: BufWriter::new(to), lists: 0, items: 0 };
    loop {
        let answer = parts.message().await.map_err(|status| client::failed(&status))?;
        let Some(part) = answer.and_then(|answer| answer.part) else {
            return Err(CliError::Failed("the server ended before all was sent; run it again".to_owned()));
        };
        let written = match part {
            Part::Start(start) => document.start(&start),
            Part::Member(member) => document.member(&member),
            Part::Lots(part) => document.list(0, part.lots.iter().map(|one| to_json("Lot", one))),
            Part::PendingLots(part) => document.list(1, part.pending_lots.iter().map(|one| to_json("PendingLot", one))),
            Part::Holds(part) => document.list(2, part.holds.iter().map(|one| to_json("Hold", one))),
            Part::Vouchers(part) => document.list(3, part.vouchers.iter().map(|one| to_json("Voucher", one))),
            Part::Offers(part) => document.list(4, part.offers.iter().map(|one| to_json("ListedOffer", one))),
            Part::Purchases(part) => document.list(5, part.purchases.iter().map(|one| to_json("ExportedPurchase", one))),
            Part::Entries(part) => document.list(6, part.entries.iter().map(|one| to_json("ExportedEntry", one))),
            Part::End(end) => {
                return document.end().map(|()| end).map_err(|error| CliError::Failed(format!("cannot write: {error}")));
            }
        };
        written.map_err(|error| CliError::Failed(format!("cannot write: {error}")))?;
    }
}

struct Document<W: Write> {
    to: BufWriter<W>,
    /// Those that are begun, of which the last is open.
    lists: usize,
    /// Of the open one.
    items: usize,
}

impl<W: Write> Document<W> {
    /// The fields of the first part are those of the document.
    fn start(&mut self, start: &v1::ExportStart) -> io::Result<()> {
        let fields = to_json("ExportStart", start);
        write!(self.to, "{}", fields.trim_end_matches('}'))
    }

    fn member(&mut self, member: &v1::Member) -> io::Result<()> {
        write!(self.to, ",\n\"member\":{}", to_json("Member", member))
    }

    /// Also those before it are there, if only empty.
    fn list(&mut self, place: usize, items: impl Iterator<Item = String>) -> io::Result<()> {
        self.open(place + 1)?;
        if self.lists > place + 1 {
            return Err(io::Error::other("the server sent the parts in another order than it says; is it of this version?"));
        }
        for item in items {
            let comma = if self.items == 0 { "" } else { "," };
            write!(self.to, "{comma}\n{item}")?;
            self.items += 1;
        }
        Ok(())
    }

    fn open(&mut self, lists: usize) -> io::Result<()> {
        while self.lists < lists {
            let end = if self.lists == 0 { "" } else { "]" };
            write!(self.to, "{end},\n\"{}\":[", LISTS[self.lists])?;
            (self.lists, self.items) = (self.lists + 1, 0);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.open(LISTS.len())?;
        writeln!(self.to, "]\n}}")?;
        self.to.flush()
    }
}
