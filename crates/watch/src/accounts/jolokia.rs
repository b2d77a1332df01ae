//! A JVM's management beans through Jolokia: all of them in one request.
//!
//! <https://jolokia.org/reference/html/manual/jolokia_protocol.html>, "bulk requests".

use serde_json::{Value, json};

use super::pointer;

/// What is asked for, again and again.
#[derive(Debug)]
pub(super) struct Request {
    body: String,
    reads: Vec<Read>,
}

/// One attribute of one bean, or what one of its operations answers, or a part of that.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    mbean: String,
    what: What,
    path: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Attribute(String),
    Operation { name: String, argument: String },
}

impl Request {
    /// Of places `BEAN/ATTRIBUTE` or `BEAN/ATTRIBUTE/PATH`; `OPERATION(ARGUMENT)` takes the place of an attribute.
    pub(super) fn new<'a>(places: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let reads = places.map(Read::parse).collect::<Result<Vec<_>, _>>()?;
        let body: Vec<Value> = reads.iter().map(Read::json).collect();
        Ok(Self { body: Value::from(body).to_string(), reads })
    }

    /// The request's body.
    pub(super) fn body(&self) -> &str {
        &self.body
    }

    /// Reads the figures of an answer, which has one for each read, in their order.
    pub(super) fn read(&self, body: &[u8], values: &mut [Option<f64>]) -> Result<(), String> {
        let document: Value = serde_json::from_slice(body)
            .map_err(|error| format!("answers with what is not JSON: {error}"))?;
        let Value::Array(answers) = &document else {
            return Err("answers with what is not a list: is it Jolokia?".into());
        };
        for ((value, answer), read) in values.iter_mut().zip(answers).zip(&self.reads) {
            // A bean that is not there has a status and an error of its own.
            *value = answer.get("value").and_then(|said| read.part(said)).and_then(pointer::number);
        }
        let first_error = answers.iter().find_map(|answer| answer.get("error")?.as_str());
        match first_error {
            Some(error) if values.iter().all(Option::is_none) => Err(format!("answers: {error}")),
            _ => pointer::found(values, self.reads.iter().map(|read| read.mbean.as_str())),
        }
    }
}

impl Read {
    fn parse(place: &str) -> Result<Self, String> {
        let mut parts = place.splitn(3, '/');
        let (mbean, attribute) = (parts.next().unwrap_or_default(), parts.next());
        match attribute {
            Some(attribute) if mbean.contains(':') && !attribute.is_empty() => Ok(Self {
                mbean: mbean.to_owned(),
                what: What::parse(attribute),
                path: parts.next().map(str::to_owned),
            }),
            _ => Err(format!(
                "`{place}` is not BEAN/ATTRIBUTE[/PATH] or BEAN/OPERATION(ARGUMENT)[/PATH], such as java.lang:type=Memory/HeapMemoryUsage/used"
            )),
        }
    }

    fn json(&self) -> Value {
        let (mbean, path) = (&self.mbean, &self.path);
        match (&self.what, path) {
            (What::Attribute(name), None) => {
                json!({"type": "read", "mbean": mbean, "attribute": name})
            }
            (What::Attribute(name), Some(path)) => {
                json!({"type": "read", "mbean": mbean, "attribute": name, "path": path})
            }
            (What::Operation { name, argument }, _) => {
                json!({"type": "exec", "mbean": mbean, "operation": name, "arguments": [argument]})
            }
        }
    }

    /// The part that is meant: of an attribute Jolokia has taken it, of an operation's answer it is taken here.
    fn part<'a>(&self, said: &'a Value) -> Option<&'a Value> {
        match (&self.what, &self.path) {
            (What::Operation { .. }, Some(path)) => said.pointer(&format!("/{path}")),
            _ => Some(said),
        }
    }
}

impl What {
    fn parse(text: &str) -> Self {
        match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((name, argument)) => {
                Self::Operation { name: name.to_owned(), argument: argument.to_owned() }
            }
            None => Self::Attribute(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beans_are_asked_for_together() {
        let places = [
            "java.lang:type=Memory/HeapMemoryUsage/used",
            "java.nio:type=BufferPool,name=direct/MemoryUsed",
        ];
        let request = Request::new(places.into_iter()).unwrap();
        let body: Value = serde_json::from_str(request.body()).unwrap();
        assert_eq!(
            body,
            json!([
                {"type": "read", "mbean": "java.lang:type=Memory", "attribute": "HeapMemoryUsage", "path": "used"},
                {"type": "read", "mbean": "java.nio:type=BufferPool,name=direct", "attribute": "MemoryUsed"},
            ])
        );
        let mut values = [None, None];
        let answer =
            br#"[{"status": 200, "value": 1234}, {"status": 404, "error": "no such bean"}]"#;
        request.read(answer, &mut values).unwrap();
        assert_eq!(values, [Some(1234.0), None]);
        let refused = br#"[{"status": 403, "error": "forbidden"}, {"status": 403}]"#;
        let error = request.read(refused, &mut [None, None]).unwrap_err();
        assert_eq!(error, "answers: forbidden");
        assert!(request.read(b"{}", &mut [None, None]).is_err());
    }

    #[test]
    fn an_operation_is_asked_for_an_option_of_the_machine() {
        let place =
            "com.sun.management:type=HotSpotDiagnostic/getVMOption(MaxDirectMemorySize)/value";
        let request = Request::new([place].into_iter()).unwrap();
        let body: Value = serde_json::from_str(request.body()).unwrap();
        assert_eq!(
            body,
            json!([{"type": "exec", "mbean": "com.sun.management:type=HotSpotDiagnostic",
                "operation": "getVMOption", "arguments": ["MaxDirectMemorySize"]}])
        );
        let answer = br#"[{"status": 200, "value": {"name": "MaxDirectMemorySize", "value": "100663296", "origin": "VM_CREATION"}}]"#;
        let mut values = [None];
        request.read(answer, &mut values).unwrap();
        assert_eq!(values, [Some(100_663_296.0)]);
        assert!(Request::new(["/memory"].into_iter()).is_err());
    }
}
