//! What the broker says that we may do: DescribeTopics and DescribeConsumerGroups with authorized operations.
//!
//! Owns the calls of librdkafka's admin API that rdkafka has no form of. Contract: bounded in time; an answer that does
//! not come is [`Answer::Silent`], never an error.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::bindings as c;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafka;

use super::{Answer, Finding, Need, Operation, Resource};
use crate::source::identity::supplied::Native;

/// How far each of `needs` is met, as the broker of `client` says. Transactional ids it cannot be asked about.
pub fn findings<T: Native>(client: &T, needs: Vec<Need>, bound: Duration) -> Vec<Finding> {
    let named = |resource: Resource| {
        let all = needs.iter().filter(move |need| need.resource == resource);
        all.map(|need| need.name.clone()).collect::<Vec<_>>()
    };
    let question = Question { client: client.native(), bound };
    let answers = [Resource::Topic, Resource::Group].map(|resource| {
        let names = named(resource);
        (resource, if names.is_empty() { Ok(BTreeMap::new()) } else { question.ask_until(resource, &names) })
    });
    let answer = |need: &Need| {
        let (_, answers) = answers.iter().find(|(resource, _)| *resource == need.resource)?;
        match answers {
            Ok(answers) => answers.get(&need.name).cloned(),
            Err(why) => Some(Answer::Silent(why.clone())),
        }
    };
    let silent = || Answer::Silent("only a try can tell".to_owned());
    needs
        .iter()
        .map(|need| Finding { answer: answer(need).unwrap_or_else(silent), need: need.clone() })
        .collect()
}

/// What the broker says of each name, or why it does not.
type Answers = BTreeMap<String, Result<Answer, RDKafkaErrorCode>>;

/// A question to the broker.
struct Question {
    client: *mut RDKafka,
    bound: Duration,
}

/// Ends with a value what librdkafka gave us to keep.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the function that this one is the counterpart of, and is ended once.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Between two questions.
const AGAIN: Duration = Duration::from_millis(200);

impl Question {
    /// [`ask`](Question::ask), again while a coordinator is just being chosen, as it is of the first group ever.
    fn ask_until(&self, resource: Resource, names: &[String]) -> Result<BTreeMap<String, Answer>, String> {
        use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
        let until = Instant::now() + self.bound;
        loop {
            let answers = self.ask(resource, names)?;
            let moving = |answer: &Result<Answer, _>| {
                matches!(answer, Err(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator))
            };
            if !answers.values().any(moving) || Instant::now() >= until {
                let told = |answer: Result<Answer, RDKafkaErrorCode>| {
                    answer.unwrap_or_else(|code| Answer::Silent(code.to_string()))
                };
                return Ok(answers.into_iter().map(|(name, answer)| (name, told(answer))).collect());
            }
            std::thread::park_timeout(AGAIN);
        }
    }

    /// The answers about `names`, by name.
    fn ask(&self, resource: Resource, names: &[String]) -> Result<Answers, String> {
        let texts: Vec<CString> = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
        let mut list: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        let bound = i32::try_from(self.bound.as_millis()).unwrap_or(i32::MAX);
        let kind = match resource {
            Resource::Topic => c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            Resource::Group => c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            Resource::TransactionalId => return Ok(BTreeMap::new()),
        };
        let mut words = [0; 256];
        // SAFETY: the client outlives this call, as whoever asks holds it. Options, queue, collection and event are
        // ours, and each is ended by its counterpart when it goes out of scope, the event before the queue that it
        // came from. The list and its texts are alive during the calls, which copy them.
        unsafe {
            let options =
                Owned(c::rd_kafka_AdminOptions_new(self.client, kind), c::rd_kafka_AdminOptions_destroy);
            c::rd_kafka_AdminOptions_set_request_timeout(options.0, bound, words.as_mut_ptr(), words.len());
            let refused = Owned(
                c::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1),
                c::rd_kafka_error_destroy,
            );
            if !refused.0.is_null() {
                return Err("librdkafka does not ask for it".to_owned());
            }
            let queue = Owned(c::rd_kafka_queue_new(self.client), c::rd_kafka_queue_destroy);
            if resource == Resource::Topic {
                let topics = Owned(
                    c::rd_kafka_TopicCollection_of_topic_names(list.as_mut_ptr(), list.len()),
                    c::rd_kafka_TopicCollection_destroy,
                );
                c::rd_kafka_DescribeTopics(self.client, topics.0, options.0, queue.0);
            } else {
                c::rd_kafka_DescribeConsumerGroups(
                    self.client,
                    list.as_mut_ptr(),
                    list.len(),
                    options.0,
                    queue.0,
                );
            }
            // It ends by itself within its bound; a little more, so that it is its own words that are told.
            let event =
                Owned(c::rd_kafka_queue_poll(queue.0, bound.saturating_add(1000)), c::rd_kafka_event_destroy);
            if event.0.is_null() {
                return Err(format!("no answer within {:?}", self.bound));
            }
            if c::rd_kafka_event_error(event.0) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text(c::rd_kafka_event_error_string(event.0)));
            }
            Ok(if resource == Resource::Topic { topics(event.0) } else { groups(event.0) })
        }
    }
}

/// # Safety
/// `event` is alive and the answer to DescribeTopics.
unsafe fn topics(event: *mut c::rd_kafka_event_t) -> Answers {
    // SAFETY: what librdkafka gives belongs to the event, which is alive.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return BTreeMap::new();
        }
        let mut count = 0;
        let all = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let described = slice(all.cast_const(), count).iter().map(|&topic| {
            let mut count = 0;
            let allowed = c::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
            let error = c::rd_kafka_TopicDescription_error(topic);
            (text(c::rd_kafka_TopicDescription_name(topic)), answer(error, allowed, count))
        });
        described.collect()
    }
}

/// # Safety
/// `event` is alive and the answer to DescribeConsumerGroups.
unsafe fn groups(event: *mut c::rd_kafka_event_t) -> Answers {
    // SAFETY: what librdkafka gives belongs to the event, which is alive.
    unsafe {
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(event);
        if result.is_null() {
            return BTreeMap::new();
        }
        let mut count = 0;
        let all = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let described = slice(all.cast_const(), count).iter().map(|&group| {
            let mut count = 0;
            let allowed = c::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &mut count);
            let error = c::rd_kafka_ConsumerGroupDescription_error(group);
            (text(c::rd_kafka_ConsumerGroupDescription_group_id(group)), answer(error, allowed, count))
        });
        described.collect()
    }
}

/// # Safety
/// `error` is null or alive, and `allowed` null or `count` operations.
unsafe fn answer(
    error: *const c::rd_kafka_error_t,
    allowed: *const c::rd_kafka_AclOperation_t,
    count: usize,
) -> Result<Answer, RDKafkaErrorCode> {
    // SAFETY: as the caller promises.
    let (code, allowed) = unsafe {
        let code = if error.is_null() {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        } else {
            c::rd_kafka_error_code(error)
        };
        // A newer librdkafka may know more operations than this one's list of them.
        (code, (!allowed.is_null()).then(|| slice(allowed.cast::<u32>(), count)))
    };
    match (RDKafkaErrorCode::from(code), allowed) {
        (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed, _) => {
            Ok(Answer::Closed)
        }
        (RDKafkaErrorCode::NoError, Some(allowed)) => {
            Ok(Answer::Allowed(allowed.iter().copied().filter_map(operation).collect()))
        }
        (RDKafkaErrorCode::NoError, None) => Ok(Answer::Silent("the broker does not tell".to_owned())),
        (code, _) => Err(code),
    }
}

fn operation(number: u32) -> Option<Operation> {
    use c::rd_kafka_AclOperation_t as Native;
    [
        (Native::RD_KAFKA_ACL_OPERATION_READ, Operation::Read),
        (Native::RD_KAFKA_ACL_OPERATION_WRITE, Operation::Write),
        (Native::RD_KAFKA_ACL_OPERATION_DESCRIBE, Operation::Describe),
        (Native::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS, Operation::DescribeConfigs),
    ]
    .into_iter()
    .find(|(native, _)| *native as u32 == number)
    .map(|(_, operation)| operation)
}

/// # Safety
/// `start` is null or `count` values that outlive the result.
unsafe fn slice<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(start, count) }
}

/// # Safety
/// `start` is null or a text that ends with a zero byte.
unsafe fn text(start: *const c_char) -> String {
    if ptr::eq(start, ptr::null()) {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}
