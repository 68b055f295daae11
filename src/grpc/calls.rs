//! Counts calls by method: how many of each code, how long they took, how many are under way. Calls that no handler ever sees are counted too,
//! be they refused before it or for a method that there is none of; such a one counts under a name of ours, whatever the caller wrote.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;

use super::{front::Deadline, health::CONTRACT, request_memory::Shape};
use crate::store::{Histogram, Seen, statistics::TIMES};

/// Codes are 0 to 16.
const CODES: usize = 17;
/// What calls are counted under whose method there is none of.
const UNKNOWN: &str = "unknown";

/// A method of the contract, or of the services that every server has.
#[derive(Debug)]
pub struct Method {
    pub service: String,
    pub name: String,
    /// As traces call it.
    pub full_name: String,
    /// The code comes at the end of what is streamed.
    answers_stream: bool,
    asks_stream: bool,
}

/// All methods that there are; the first stands for those that there are not.
struct Methods {
    list: Vec<Method>,
    places: HashMap<String, usize, RandomState>,
}

static METHODS: LazyLock<Methods> = LazyLock::new(|| {
    let mut methods = Methods { list: Vec::new(), places: HashMap::default() };
    let unknown = || UNKNOWN.to_owned();
    methods.list.push(Method { service: unknown(), name: unknown(), full_name: unknown(), answers_stream: false, asks_stream: false });
    let reflection = [tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET];
    for descriptors in [CONTRACT, tonic_health::pb::FILE_DESCRIPTOR_SET].into_iter().chain(reflection) {
        let files = FileDescriptorSet::decode(descriptors).expect("the build made the descriptors").file;
        for file in files {
            for service in &file.service {
                let service_name = format!("{}.{}", file.package(), service.name());
                methods.list.extend(service.method.iter().map(|method| Method {
                    service: service_name.clone(),
                    name: method.name().to_owned(),
                    full_name: format!("{service_name}/{}", method.name()),
                    answers_stream: method.server_streaming(),
                    asks_stream: method.client_streaming(),
                }));
            }
        }
    }
    methods.places = methods.list.iter().enumerate().skip(1).map(|(place, method)| (format!("/{}", method.full_name), place)).collect();
    methods
});

/// Where a path's method is among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    pub fn of(path: &str) -> Self {
        Self(METHODS.places.get(path).copied().unwrap_or(0))
    }

    pub fn method(self) -> &'static Method {
        &METHODS.list[self.0]
    }

    /// How many messages a request of it has.
    pub fn shape(self) -> Shape {
        if self.method().asks_stream { Shape::Stream } else { Shape::Unary }
    }

    pub fn answers_stream(self) -> bool {
        self.method().answers_stream
    }
}

/// Of a call's path, as the contract names it: whatever else a caller writes is not repeated.
pub(super) fn method_name(path: &str) -> &'static str {
    &Place::of(path).method().full_name
}

/// The counters of all methods.
#[derive(Debug)]
pub struct Calls(Box<[OfMethod]>);

#[derive(Debug)]
struct OfMethod {
    codes: [AtomicU64; CODES],
    durations: Histogram,
    under_way: AtomicU64,
}

/// How often a method was called, and how that ended.
#[derive(Debug, Clone)]
pub struct CallStatistics {
    pub service: &'static str,
    pub method: &'static str,
    pub under_way: u64,
    /// Of all codes.
    pub codes: Vec<(Code, u64)>,
    /// In nanoseconds, until the answer begins; of a stream, until its end.
    pub durations: Seen,
}

impl Default for Calls {
    fn default() -> Self {
        let of_method = |_| OfMethod {
            codes: std::array::from_fn(|_| AtomicU64::new(0)),
            durations: Histogram::new(TIMES),
            under_way: AtomicU64::new(0),
        };
        Self((0..METHODS.list.len()).map(of_method).collect())
    }
}

impl Calls {
    pub(super) fn begin(self: &Arc<Self>, place: Place, deadline: Option<Deadline>) -> Call {
        self.0[place.0].under_way.fetch_add(1, Ordering::Relaxed);
        let (to_answer, to_end) = deadline.map(|deadline| (deadline.to_answer, deadline.to_end)).unzip();
        Call { calls: Arc::clone(self), place, begun: Instant::now(), deadline: to_answer, to_end: to_end.flatten(), has_ended: false }
    }

    pub fn statistics(&self) -> Vec<CallStatistics> {
        let of = |(method, counted): (&'static Method, &OfMethod)| CallStatistics {
            service: &method.service,
            method: &method.name,
            under_way: counted.under_way.load(Ordering::Relaxed),
            codes: (0..).zip(&counted.codes).map(|(code, count)| (Code::from_i32(code), count.load(Ordering::Relaxed))).collect(),
            durations: counted.durations.seen(),
        };
        METHODS.list.iter().zip(&self.0).map(of).collect()
    }
}

/// A call that is counted when it ends. One that is given up, by its caller or by its deadline, is dropped without an answer.
#[derive(Debug)]
pub(super) struct Call {
    calls: Arc<Calls>,
    place: Place,
    begun: Instant,
    deadline: Option<Duration>,
    to_end: Option<Duration>,
    has_ended: bool,
}

impl Call {
    pub fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let counted = &self.calls.0[self.place.0];
        counted.under_way.fetch_sub(1, Ordering::Relaxed);
        counted.durations.observe_time(self.begun.elapsed());
        // Whatever it is, it is one of them.
        counted.codes[(code as usize).min(CODES - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// Of a stream: it goes on for as long as its caller reads it.
    pub fn answer_began(&mut self) {
        self.deadline = self.to_end;
    }

    /// The code of a call that is dropped.
    pub fn code_if_dropped(&self) -> Code {
        match self.deadline {
            Some(deadline) if self.begun.elapsed() >= deadline => Code::DeadlineExceeded,
            Some(_) | None => Code::Cancelled,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code_if_dropped();
        self.end(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_writes_is_counted_under_one_name() {
        for path in ["/", "", "/loyalty.v1.PurchaseService/Nothing", "/loyalty.v1.PurchaseService/RecordPurchase/", "/+84901234567/x"] {
            let method = Place::of(path).method();
            assert_eq!((method.service.as_str(), method.name.as_str()), (UNKNOWN, UNKNOWN), "{path}");
        }
        let method = Place::of("/loyalty.v1.PurchaseService/RecordPurchase").method();
        assert_eq!((method.service.as_str(), method.name.as_str()), ("loyalty.v1.PurchaseService", "RecordPurchase"));
        assert!(Place::of("/loyalty.v1.PurchaseService/StreamPurchases").answers_stream());
        assert_eq!(Place::of("/grpc.health.v1.Health/Check").method().name, "Check");
    }

    #[test]
    fn a_call_counts_once_and_one_that_is_dropped_as_given_up() {
        let calls = Arc::new(Calls::default());
        let place = Place::of("/loyalty.v1.MemberService/GetMember");
        let count = |code: Code| {
            let of_method = calls.statistics().into_iter().find(|one| one.method == "GetMember").expect("the method is there");
            (of_method.codes[code as usize].1, of_method.under_way, of_method.durations.count())
        };
        let mut call = calls.begin(place, None);
        assert_eq!(count(Code::Ok), (0, 1, 0));
        call.end(Code::Ok);
        drop(call);
        assert_eq!(count(Code::Ok), (1, 0, 1));
        let deadline = |to_answer, to_end| Some(Deadline { to_answer, to_end });
        drop(calls.begin(place, deadline(Duration::from_secs(3_600), None)));
        assert_eq!(count(Code::Cancelled), (1, 0, 2));
        let short = Duration::from_nanos(1);
        drop(calls.begin(place, deadline(short, None)));
        assert_eq!(count(Code::DeadlineExceeded), (1, 0, 3));
        // What the service allows for the answer is no bound of a stream; what its caller allows is.
        let mut stream = calls.begin(place, deadline(short, None));
        stream.answer_began();
        drop(stream);
        assert_eq!((count(Code::Cancelled), count(Code::DeadlineExceeded)), ((2, 0, 4), (1, 0, 4)));
        let mut stream = calls.begin(place, deadline(short, Some(short)));
        stream.answer_began();
        drop(stream);
        assert_eq!(count(Code::DeadlineExceeded), (2, 0, 5));
    }
}
