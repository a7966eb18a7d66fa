//! Against a server of a few lines in this process.

use super::*;
use crate::llm::ReplyGrammar;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

const SECRET: &str = "sk-test-0123456789";
const OK: &str = r#"{"choices":[{"message":{"role":"assistant","content":"Thought: t\nFormula: f"},
    "finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7}}"#;

/// What the stub does with the next connection.
#[derive(Clone)]
enum Act {
    Say(u16, &'static str, String),
    Hang,
    Hangup,
}

fn say(status: u16, body: &str) -> Act {
    Act::Say(status, "", body.to_owned())
}

struct Stub {
    base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Serves the acts in order, one connection each, and keeps what it was sent.
fn stub(acts: Vec<Act>) -> Stub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut kept = vec![];
        for act in acts {
            let Ok((stream, _)) = listener.accept() else { return };
            log.lock().unwrap().push(receive(&stream));
            match act {
                Act::Say(status, headers, body) => answer(&stream, status, headers, &body),
                Act::Hang => kept.push(stream),
                Act::Hangup => {}
            }
        }
        std::thread::sleep(Duration::from_secs(3));
    });
    Stub { base, seen }
}

fn receive(stream: &TcpStream) -> String {
    let (mut reader, mut text, mut length) = (BufReader::new(stream), String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text + "\n" + &String::from_utf8(body).unwrap()
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    // The client may have gone: it stops reading what is too long.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

impl Stub {
    fn server(&self) -> Server {
        let settings = Settings {
            total: Duration::from_millis(800),
            retry: Retry { first: Duration::from_millis(2), ..Retry::default() },
            ..Settings::new("some-model", &self.base)
        };
        self.with(settings)
    }

    fn with(&self, settings: Settings) -> Server {
        Server::with_environment(settings, |name| (name == KEY_VARIABLE).then(|| SECRET.to_owned())).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn body(&self, at: usize) -> Value {
        serde_json::from_str(self.requests()[at].rsplit('\n').next().unwrap()).unwrap()
    }
}

fn chat() -> Vec<Message> {
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    vec![message("system", "be brief"), message("user", "a formula")]
}

fn ask(server: &Server) -> Result<(String, u64)> {
    server.ask(&chat(), &Sampling { seed: 5, ..Sampling::default() })
}

fn ask_with_grammar(server: &Server) -> Result<(String, u64)> {
    let grammar = ReplyGrammar { lark: String::new(), gbnf: Some("formula ::= \"x\"".to_owned()) };
    server.ask(&chat(), &Sampling { grammar: Some(grammar), ..Sampling::default() })
}

fn said() -> (String, u64) {
    ("Thought: t\nFormula: f".to_owned(), 18)
}

#[test]
fn a_question_carries_everything_and_a_reply_is_read() {
    let stub = stub(vec![say(200, OK)]);
    assert_eq!(ask(&stub.server()).unwrap(), said());
    let request = &stub.requests()[0];
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.to_ascii_lowercase().contains(&format!("authorization: bearer {SECRET}\r\n")), "{request}");
    let want = json!({
        "model": "some-model",
        "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "a formula" }],
        "temperature": 0.9, "top_p": 0.95, "max_tokens": 160, "seed": 5, "stop": ["<|im_end|>"],
    });
    assert_eq!(stub.body(0), want);
    assert!(request.contains("\"temperature\":0.9,"), "{request}");
}

#[test]
fn too_many_requests_are_repeated_when_the_server_says() {
    let stub = stub(vec![Act::Say(429, "Retry-After: 0.2\r\n", "{}".to_owned()), say(200, OK)]);
    let start = std::time::Instant::now();
    assert_eq!(ask(&stub.server()).unwrap(), said());
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(stub.requests().len(), 2);
}

#[test]
fn a_server_that_keeps_failing_is_given_up_after_five_tries() {
    let stub = stub(vec![say(500, r#"{"error":{"message":"out of memory"}}"#); 9]);
    let error = ask(&stub.server()).unwrap_err();
    assert_eq!(error.code(), Code::Proposer);
    assert!(error.message().ends_with("answered 500: out of memory, after 5 tries"), "{error}");
    assert_eq!(stub.requests().len(), 5);
}

#[test]
fn a_lost_connection_is_repeated() {
    let stub = stub(vec![Act::Hangup, say(503, ""), say(200, OK)]);
    assert_eq!(ask(&stub.server()).unwrap(), said());
}

#[test]
fn a_server_that_hangs_twice_is_given_up() {
    let stub = stub(vec![Act::Hang, Act::Hang, say(200, OK)]);
    let server = stub.with(Settings { total: Duration::from_millis(150), ..stub.server().settings });
    let error = ask(&server).unwrap_err();
    assert!(error.message().starts_with("no answer within 0.15 s, after 2 tries"), "{error}");
}

#[test]
fn what_is_no_answer_is_not_repeated() {
    for (body, want) in [
        ("<html>hello</html>", "is not that of a chat: expected value at line 1 column 1; it begins `<html>hello"),
        ("{\"choices\":[]}", "holds no choice"),
        ("{}", "missing field `choices`"),
        (
            r#"{"choices":[{"message":{"content":null},"finish_reason":"length"}]}"#,
            "holds no text (finish_reason length)",
        ),
    ] {
        let stub = stub(vec![say(200, body)]);
        let error = ask(&stub.server()).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains(&stub.base), "{error}");
    }
}

#[test]
fn an_endless_answer_is_cut() {
    let stub = stub(vec![say(200, &"x".repeat(3 << 20))]);
    let error = ask(&stub.server()).unwrap_err();
    assert_eq!(error.message(), "the answer is longer than 1048576 bytes");
}

#[test]
fn a_refused_connection_says_what_to_start() {
    let base = stub(vec![]).base.replace("/v1", "");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::new(Settings::new("m", format!("http://127.0.0.1:{port}/v1"))).unwrap();
    let start = std::time::Instant::now();
    let error = ask(&server).unwrap_err();
    assert_eq!(error.message(), "nothing listens there");
    assert!(error.to_string().contains(&format!("http://127.0.0.1:{port}/v1: ")), "{error}");
    assert!(error.advice().unwrap().contains("llama-server"), "{error}");
    assert!(start.elapsed() < Duration::from_millis(400), "asked again though nothing was ever there");
    assert!(base.starts_with("http"));
}

#[test]
fn a_wrong_key_names_the_variable_and_a_wrong_model_itself() {
    let echo = format!(r#"{{"error":{{"message":"Incorrect API key provided: {SECRET}"}}}}"#);
    let wrong = stub(vec![say(401, &echo)]);
    let error = ask(&wrong.server()).unwrap_err().to_string();
    assert!(error.contains("answered 401: Incorrect API key provided: ***"), "{error}");
    assert!(error.contains("OPENAI_API_KEY"), "{error}");
    let missing = stub(vec![say(404, r#"{"detail":"no such model"}"#)]);
    let error = ask(&missing.server()).unwrap_err().to_string();
    assert!(error.contains("`some-model`") && error.contains("no such model"), "{error}");
}

#[test]
fn the_key_is_in_no_error_and_no_debug() {
    let texts = [format!("{SECRET} <"), format!("{{\"error\":\"{SECRET}\"}}"), format!("{{\"{SECRET}\":1}}")];
    for (status, body) in
        [200, 302, 400, 401, 403, 404, 413, 500].iter().flat_map(|s| texts.iter().map(move |t| (s, t)))
    {
        let stub = stub(vec![say(*status, body); 5]);
        let server = stub.server();
        let error = ask(&server).unwrap_err();
        let all = format!("{error}\n{error:?}\n{server:?}\n{:?}", server.settings);
        assert!(!all.contains(SECRET), "{status}: {all}");
        assert!(stub.requests()[0].contains(SECRET));
    }
}

#[test]
fn each_dialect_gets_the_grammar_in_its_own_field() {
    let models = |owner: &str| say(200, &json!({ "data": [{ "id": "m", "owned_by": owner }] }).to_string());
    let want = "root ::= \"Thought: \" thought \"\\nFormula: \" formula\nthought ::= [^\\n]{8,120}\nformula ::= \"x\"";
    let llama = stub(vec![models("llamacpp"), say(200, OK), say(200, OK)]);
    let server = llama.server();
    ask_with_grammar(&server).unwrap();
    ask_with_grammar(&server).unwrap();
    assert!(llama.requests()[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
    assert_eq!(llama.requests().len(), 3);
    assert_eq!(llama.body(1)["grammar"], want);
    let vllm = stub(vec![models("vllm"), say(200, OK)]);
    ask_with_grammar(&vllm.server()).unwrap();
    assert_eq!(vllm.body(1)["structured_outputs"]["grammar"], want);
    for plain in [models("openai"), say(404, "{}")] {
        let other = stub(vec![plain, say(200, OK)]);
        ask_with_grammar(&other.server()).unwrap();
        assert!(other.body(1).get("grammar").is_none() && other.body(1).get("structured_outputs").is_none());
    }
    let schema = stub(vec![models("library"), say(200, OK)]);
    ask_with_grammar(&schema.server()).unwrap();
    let format = &schema.body(1)["response_format"]["json_schema"];
    assert_eq!(format["schema"]["required"], json!(["thought", "formula"]));
    let forced = |grammar: GrammarUse, acts: Vec<Act>| {
        let stub = stub(acts);
        let settings = Settings { grammar, ..stub.server().settings };
        ask_with_grammar(&stub.with(settings)).unwrap();
        stub.body(stub.requests().len() - 1)
    };
    assert_eq!(forced(GrammarUse::Gbnf, vec![models("somebody"), say(200, OK)])["grammar"], want);
    let vllm = forced(GrammarUse::Gbnf, vec![models("vllm"), say(200, OK)]);
    assert_eq!(vllm["structured_outputs"]["grammar"], want);
    assert_eq!(forced(GrammarUse::JsonSchema, vec![say(200, OK)])["response_format"]["type"], "json_schema");
    let off = stub(vec![say(200, OK)]);
    let settings = Settings { grammar: GrammarUse::Off, ..off.server().settings };
    ask_with_grammar(&off.with(settings)).unwrap();
    assert!(off.body(0).get("grammar").is_none());
}

#[test]
fn a_refused_grammar_is_left_out_and_not_sent_again() {
    let models = say(200, r#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#);
    let bad = say(400, r#"{"error":{"message":"failed to parse grammar"}}"#);
    let stub = stub(vec![models, bad, say(200, OK), say(200, OK)]);
    let server = stub.server();
    assert_eq!(ask_with_grammar(&server).unwrap(), said());
    assert_eq!(ask_with_grammar(&server).unwrap(), said());
    let had: Vec<bool> = (1..4).map(|at| stub.body(at).get("grammar").is_some()).collect();
    assert_eq!(had, [true, false, false]);
}

#[test]
fn a_refused_schema_falls_back_to_plain_text() {
    let models = say(200, r#"{"data":[{"id":"m","owned_by":"library"}]}"#);
    let bad = say(400, r#"{"error":{"message":"response_format is not supported"}}"#);
    let stub = stub(vec![models, bad, say(200, OK)]);
    assert_eq!(ask_with_grammar(&stub.server()).unwrap(), said());
    assert!(stub.body(1).get("response_format").is_some() && stub.body(2).get("response_format").is_none());
}

#[test]
fn the_grammar_of_the_proxy_language_reaches_the_server() {
    let models = say(200, r#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#);
    let stub = stub(vec![models, say(200, OK)]);
    let features: Vec<_> = ["params", "w_err"].iter().filter_map(|n| crate::proxy::feature(n)).collect();
    let grammar = ReplyGrammar { lark: String::new(), gbnf: Some(crate::proxy::gbnf(&features)) };
    stub.server().ask(&chat(), &Sampling { grammar: Some(grammar), ..Sampling::default() }).unwrap();
    let sent = stub.body(1)["grammar"].as_str().unwrap().to_owned();
    assert!(sent.starts_with("root ::= \"Thought: \" thought"), "{sent}");
    assert!(
        sent.contains("\nformula ::= sum | product \" if \" condition") && sent.contains("\nfeature ::= "),
        "{sent}"
    );
}

#[test]
fn fields_that_a_model_refuses_are_left_out_one_by_one() {
    let limit = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
    let warm = "Unsupported value: 'temperature' does not support 0.9 with this model.";
    let refuse = |m: &str| say(400, &json!({ "error": { "message": m } }).to_string());
    let stub = stub(vec![refuse(limit), refuse(warm), say(200, OK), refuse("bad prompt")]);
    let server = stub.server();
    assert_eq!(ask(&server).unwrap(), said());
    let last = stub.body(2);
    assert_eq!(last["max_completion_tokens"], 160);
    assert!(last.get("max_tokens").is_none() && last.get("temperature").is_none() && last["top_p"] == 0.95);
    let error = ask(&server).unwrap_err();
    assert_eq!(error.message(), "the server answered 400: bad prompt");
}
