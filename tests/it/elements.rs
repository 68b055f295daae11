//! Requests that have few bytes on the wire and would take hundreds of times as many: they are refused before they are decoded, and the largest ones
//! that are allowed are not.

use loyaltyd::contract::v1::{self, purchase_result::Result as Judged};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use tonic::{Code, Request, Status};

use crate::support::{
    Refused, TestServer,
    access::{call, send},
    line, refused, sale, vnd,
};

const BATCH: &str = "/loyalty.v1.PurchaseService/BatchRecordPurchases";
const QUOTE: &str = "/loyalty.v1.PurchaseService/QuotePurchase";
const STREAM: &str = "/loyalty.v1.PurchaseService/StreamPurchases";
/// Of a quote.
const PURCHASE: u32 = 3;
/// Of a purchase.
const LINES: u32 = 5;

/// A field with these bytes in it.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

pub fn empty(number: u32, count: usize) -> Vec<u8> {
    field(number, &[]).repeat(count)
}

pub fn too_many() -> Refused {
    Refused { code: Code::InvalidArgument, reason: "TOO_MANY_ELEMENTS".into(), fields: Vec::new() }
}

fn said(status: &Status) {
    assert_eq!(refused(status), too_many(), "{status:?}");
    assert!(status.message().contains("in several requests"), "{status:?}");
}

#[tokio::test]
async fn lists_without_end_are_refused_before_they_are_decoded() {
    let server = TestServer::start().await;
    let record = field(1, &field(4, &empty(LINES, 20)));
    let group = [&[0xa3, 0x3f][..], &field(PURCHASE, &empty(LINES, 2)), &[0xa4, 0x3f]].concat();
    // What is in a message that ends before it.
    let beyond = [vec![0x0a, 5], field(4, &empty(LINES, 2_000_000))].concat();
    let cases = [
        ("2,000,000 purchases of nothing", BATCH, empty(1, 2_000_000)),
        ("2,000,000 lines of nothing", QUOTE, field(PURCHASE, &empty(LINES, 2_000_000))),
        ("80,000 purchases of 20 lines", BATCH, record.repeat(80_000)),
        ("behind what there is not", QUOTE, [empty(999, 10), group, field(PURCHASE, &empty(LINES, 2_000_000))].concat()),
        ("before what is no message", BATCH, [empty(1, 2_000_000), vec![7]].concat()),
        ("in what goes beyond its end", BATCH, beyond),
        ("2,000,000 labels", QUOTE, field(PURCHASE, &field(LINES, &empty(3, 2_000_000)))),
    ];
    for (name, path, message) in cases {
        assert!(message.len() <= 4 << 20, "{name}: {}", message.len());
        said(&call(&server.channel, path, None, message).await.expect_err(name));
    }
    // Of a stream the messages before are judged.
    let member = server.enroll("c-1").await;
    let good = v1::StreamPurchasesRequest { purchase: Some(sale(&member, "o-1", "10000")) };
    let many = field(1, &field(4, &empty(LINES, 2_000_000)));
    let messages = tokio_stream::iter([good.encode_to_vec(), many]);
    said(&send(&server.channel, STREAM, Request::new(messages)).await.expect_err("it ends"));
    assert_eq!(server.member(&member).await.last_sequence, 2, "it enrolled and bought");
    server.purchases().record_purchase(sale(&member, "o-2", "10000")).await.expect("it is served on");
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_as_large_as_it_may_be_is_recorded() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let purchases = (0..1_000).map(|number| {
        let mut request = sale(&member, &format!("o-{number}"), "1000");
        let purchase = request.purchase.as_mut().expect("a sale has one");
        let labels = || (0..20).map(|label| format!("label-{label}")).collect();
        purchase.lines = vec![v1::PurchaseLine { labels: labels(), ..line("rice", "100") }; 10];
        purchase.labels = labels();
        purchase.tenders = vec![v1::Tender { amount: vnd("50"), ..Default::default() }; 20];
        purchase.tenders.iter_mut().for_each(|tender| tender.set_kind(v1::tender::Kind::Cash));
        request
    });
    let request = v1::BatchRecordPurchasesRequest { purchases: purchases.collect() };
    let bytes = request.encoded_len();
    assert!((2 << 20..=4 << 20).contains(&bytes), "{bytes}");
    let answer = server.purchases().batch_record_purchases(request).await.expect("it is taken").into_inner();
    let recorded = answer.results.iter().filter(|result| matches!(result.result, Some(Judged::Recorded(_)))).count();
    assert_eq!(recorded, 1_000, "{:?}", answer.results.first());
    // One purchase more is too many for its own reason.
    let more = v1::BatchRecordPurchasesRequest { purchases: vec![sale(&member, "o-x", "1000"); 1_001] };
    let status = server.purchases().batch_record_purchases(more).await.expect_err("it is refused");
    assert_eq!(refused(&status).fields, ["purchases"], "{status:?}");
    server.stop().await;
}
