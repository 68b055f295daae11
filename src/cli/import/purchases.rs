//! `loyaltyd import purchases`.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::{
    Common,
    basket::{self, Basket, PurchaseField, Settings},
    delivery::{Confirmed, Delivery},
    enroll,
    file::Table,
    mapping::{Pair, parse_pair},
    report::{Acknowledged, Counts, Progress},
    time::TimeReader,
};
use crate::{
    cli::{CliError, client},
    contract::v1::{self, purchase_service_client::PurchaseServiceClient},
};

/// Baskets that are read ahead.
const READ_AHEAD: usize = 64;

const HELP: &str = "\
FIELDS
  order     the till's number of the sale; rows of one sale must be adjacent       required
  member    the customer's id, kept as the member's external id                    required
  time      when it happened: 2026-01-31, 2026-01-31T18:05:00, or with an offset   required
  amount    of the line, all units together, before `discount`                     required
  store     else --store                                                           required
  quantity, sku, category, discount, tax, channel                                  optional
A field that is not mapped is taken from the column of its own name, if the file has it.

The request ids come from programme, store and order, so an import that was stopped can be run
again: what is there is not counted twice. An order whose rows are not adjacent, or that comes
again with other content, is refused (REQUEST_ID_REUSED). An order that comes again in the same
words, but not adjacent, is counted as \"repeated in file\" (remembered are the first 3,500,000
purchases). Adjacent rows of one order are its lines even if they are identical: a row that is
there twice by mistake, side by side, counts twice in the sale. \"Already there\" in the summary
means recorded before this run began, by the clocks of the server and of this machine.

EXIT CODE
  0 everything is recorded   1 it failed, was stopped, or rows were refused   2 the command line is wrong

EXAMPLES
  loyaltyd import purchases sales.csv --program corner-shop --store main --enroll \\
      --map order=order_id --map member=customer_id --map time=date --map amount=amount_usd --map quantity=units

  loyaltyd import purchases lines.csv --program grocery --map order=basket_id --map member=household_id \\
      --map time=transaction_timestamp --map store=store_id --map sku=product_id --map category=department \\
      --map quantity=quantity --map amount=sales_value --map discount=coupon_disc --limit-discount-to-amount --enroll";

/// Purchases from a CSV file with a header, through the gRPC API of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Which column holds which field (any number of times)
    #[arg(long = "map", value_name = "FIELD=COLUMN", value_parser = parse_pair::<PurchaseField>)]
    map: Vec<Pair<PurchaseField>>,
    /// The store of rows that name none
    #[arg(long, value_name = "STORE_ID")]
    store: Option<String>,
    /// The channel of rows that name none, such as pos or web
    #[arg(long)]
    channel: Option<String>,
    /// The currency of all amounts [default: the programme's]
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// The zone of times without an offset, such as America/New_York [default: the programme's]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// How times are written, in strftime's letters, such as %d/%m/%Y [default: ISO 8601]
    #[arg(long, value_name = "FORMAT")]
    time_format: Option<String>,
    /// Amounts are with the tax already inside
    #[arg(long)]
    prices_include_tax: bool,
    /// Lower a discount that is more than its line's amount to the amount, and count such rows in the summary
    #[arg(long)]
    limit_discount_to_amount: bool,
    /// Enrol members that the file names and the service does not know
    #[arg(long)]
    enroll: bool,
    /// Append the order id of each purchase to this file as soon as the server has confirmed it
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Purchases that may wait for their answers
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
}

pub async fn run(args: Args) -> Result<(), CliError> {
    use PurchaseField::{Amount, Member, Order, Time};
    let common = &args.common;
    let table = Table::open(&common.file, common.format(), &args.map, &[Order, Member, Time, Amount])?;
    if !table.columns.has(PurchaseField::Store) && args.store.is_none() {
        return Err(CliError::Usage("no column holds store: add --map store=COLUMN or --store STORE_ID".into()));
    }
    let channel = common.server.channel()?;
    let settings = args.settings(&common.program(channel.clone()).await?)?;
    let since = super::now();
    let mut delivery = Delivery {
        client: PurchaseServiceClient::new(channel.clone()),
        window: usize::from(args.in_flight),
        retry_for: common.retry_for,
        since,
        rejects: common.rejects(&table.header)?,
        acknowledged: args.acknowledged.as_deref().map(Acknowledged::open).transpose()?,
        progress: Progress::new(table.size),
        counts: Counts::default(),
        confirmed: Confirmed::default(),
    };
    let ended = deliver(&args, table, settings, channel, &mut delivery).await;
    delivery.progress.finish();
    let Delivery { rejects, mut counts, .. } = delivery;
    let rejects = rejects.finish()?;
    counts.enrolled = *ended.as_ref().unwrap_or(&0);
    print_summary(&args, &counts);
    match ended {
        Ok(_) => super::verdict(&counts, &rejects),
        Err(error) => Err(super::incomplete(&error)),
    }
}

/// Reads, enrols if asked to, and sends, all at the same time. Returns how many members were enrolled.
async fn deliver(
    args: &Args,
    table: Table<PurchaseField>,
    settings: Settings,
    channel: client::ApiChannel,
    delivery: &mut Delivery,
) -> Result<u64, CliError> {
    let stop = client::stop_signal()?;
    let (sender, baskets) = mpsc::channel::<Basket>(READ_AHEAD);
    let program = settings.program.clone();
    let reader = tokio::task::spawn_blocking(move || basket::read(table, &settings, &sender));
    let sending = async {
        if !args.enroll {
            return delivery.run(baskets).await.map(|()| 0);
        }
        let since = delivery.since;
        let (ready, enrolled) = mpsc::channel(READ_AHEAD);
        let enrolling = enroll::before_purchases(channel, program, args.common.retry_for, since, baskets, ready);
        tokio::try_join!(delivery.run(enrolled), enrolling).map(|((), count)| count)
    };
    let count = tokio::select! {
        count = sending => count?,
        signal = stop => return Err(CliError::Failed(format!("{signal}: stopped"))),
    };
    reader.await.expect("reading does not panic")?;
    Ok(count)
}

impl Args {
    fn settings(&self, program: &v1::Program) -> Result<Settings, CliError> {
        let zone = self.time_zone.as_deref().unwrap_or(&program.time_zone);
        let zone = TimeZone::get(zone).map_err(|_| CliError::Usage(format!("--time-zone: {zone} is not an IANA time zone")))?;
        Ok(Settings {
            program: self.common.program.clone(),
            currency: self.currency.clone().unwrap_or_else(|| program.currency_code.clone()),
            store: self.store.clone(),
            channel: self.channel.clone(),
            prices_include_tax: self.prices_include_tax,
            limit_discount: self.limit_discount_to_amount,
            time: TimeReader { zone, format: self.time_format.clone() },
        })
    }
}

fn print_summary(args: &Args, counts: &Counts) {
    println!("rows read           {:>10}", counts.rows);
    println!("purchases read      {:>10}", counts.read);
    println!("  recorded          {:>10}", counts.recorded);
    println!("  already there     {:>10}", counts.already_there);
    println!("  repeated in file  {:>10}", counts.repeated);
    println!("  refused           {:>10}", counts.refused);
    if args.enroll {
        println!("members enrolled    {:>10}", counts.enrolled);
    }
    if args.limit_discount_to_amount {
        println!("discounts limited   {:>10}", counts.limited);
    }
}
