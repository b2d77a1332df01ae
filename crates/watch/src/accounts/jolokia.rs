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

/// One attribute of one bean, or a part of it.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    mbean: String,
    attribute: String,
    path: Option<String>,
}

impl Request {
    /// Of places `BEAN/ATTRIBUTE` or `BEAN/ATTRIBUTE/PATH`.
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
        for (value, answer) in values.iter_mut().zip(answers) {
            // A bean that is not there has a status and an error of its own.
            *value = answer.get("value").and_then(pointer::number);
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
                attribute: attribute.to_owned(),
                path: parts.next().map(str::to_owned),
            }),
            _ => Err(format!(
                "`{place}` is not BEAN/ATTRIBUTE[/PATH], such as java.lang:type=Memory/HeapMemoryUsage/used"
            )),
        }
    }

    fn json(&self) -> Value {
        let mut read = json!({"type": "read", "mbean": self.mbean, "attribute": self.attribute});
        if let Some(path) = &self.path {
            read["path"] = json!(path);
        }
        read
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
        assert!(Request::new(["/memory"].into_iter()).is_err());
    }
}
