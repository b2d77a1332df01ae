//! The API's description: a document that a test holds against the routes.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Methods and paths of the router's source: `.route("/path", get(…).delete(…))`.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("routes.rs");
        let mut found = BTreeSet::new();
        for route in source.split(".route(").skip(1) {
            let mut quoted = route.split('"');
            let path = quoted.nth(1).unwrap();
            let rest = route.split_once(',').unwrap().1;
            let line = rest.split_once("\n        .").map_or(rest, |(line, _)| line);
            for method in ["get", "post", "put", "delete", "patch"] {
                if line.contains(&format!("{method}(")) {
                    found.insert((method.to_owned(), path.to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                documented.insert((method.clone(), path.clone()));
            }
        }
        assert_eq!(documented, routes());
    }

    #[test]
    fn what_the_document_refers_to_is_in_it() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let references = DOCUMENT.split("\"$ref\": \"#/components/schemas/").skip(1);
        for reference in references {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
