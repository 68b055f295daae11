//! A rule book from a client of a newer contract: what it says that this version does not know is refused, not left out.

use loyaltyd::contract::v1;
use prost::Message as _;
use tonic::Code;

use crate::support::{Refused, TestServer, access::call, refused, rule_book};

const PUBLISH: &str = "/loyalty.v1.ProgramService/PublishProgram";

/// Field 1023 with a text, as a newer client writes it.
const UNKNOWN: &[u8] = &[0xfa, 0x3f, 4, b'm', b'o', b'r', b'e'];

/// A message in a field of a message, with something behind it.
fn with(field: u8, message: Vec<u8>, more: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    prost::encoding::encode_varint((message.len() + more.len()) as u64, &mut bytes);
    [bytes, message, more.to_vec()].concat()
}

fn number(message: &str, field: &str) -> u8 {
    let descriptor = crate::support::access::contract().get_message_by_name(&format!("loyalty.v1.{message}")).expect("a message");
    u8::try_from(descriptor.get_field_by_name(field).expect("a field").number()).expect("small")
}

#[tokio::test]
async fn a_rule_book_with_a_field_that_is_not_known_is_refused_with_its_place_and_changes_nothing() {
    let server = TestServer::start().await;
    let program = v1::Program { display_name: "Another name".into(), ..rule_book() };
    let in_request = number("PublishProgramRequest", "program");
    let rule = with(number("Program", "accrual_rules"), program.accrual_rules[0].encode_to_vec(), UNKNOWN);
    for validate_only in [false, true] {
        let request = v1::PublishProgramRequest { request_id: "p-1".into(), validate_only, ..Default::default() }.encode_to_vec();
        let cases = [
            ("1023", [request.clone(), with(in_request, program.encode_to_vec(), &[]), UNKNOWN.to_vec()].concat()),
            ("program.1023", [request.clone(), with(in_request, program.encode_to_vec(), UNKNOWN)].concat()),
            ("program.accrual_rules[1].1023", [request.clone(), with(in_request, program.encode_to_vec(), &rule)].concat()),
        ];
        for (place, message) in cases {
            let status = call(&server.channel, PUBLISH, None, message).await.expect_err(place);
            let expected = Refused { code: Code::InvalidArgument, reason: "UNKNOWN_FIELD".into(), fields: vec![place.to_owned()] };
            assert_eq!(refused(&status), expected, "{status:?}");
            assert!(status.message().contains("would be left out"), "{status:?}");
        }
    }
    let shown = v1::GetProgramRequest { program_id: program.program_id.clone(), version: 0 };
    let published = server.programs().get_program(shown).await.expect("it is there").into_inner().program.expect("a rule book");
    assert_eq!((published.version, published.display_name), (1, rule_book().display_name), "nothing was published");
    // The same without it is good, under the same request id.
    let request = v1::PublishProgramRequest { request_id: "p-1".into(), program: Some(program), ..Default::default() };
    let answer = server.programs().publish_program(request).await.expect("it is published").into_inner();
    assert!(answer.changed);
    // Of other requests what is not known is left out, as protobuf has it.
    let asked = [v1::GetProgramRequest { program_id: "vietnam".into(), version: 0 }.encode_to_vec(), UNKNOWN.to_vec()].concat();
    call(&server.channel, "/loyalty.v1.ProgramService/GetProgram", None, asked).await.expect("an answer");
    server.stop().await;
}
