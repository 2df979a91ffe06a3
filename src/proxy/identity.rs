//! Who a client has proved to be, as endpoints are told.

use http::HeaderMap;

use crate::{config::ReservedFields, downstream::Client};

/// Takes off what a client says of itself under the names of verified facts, and puts the facts there: before anything
/// looks at the fields, so that a route may ask for them too.
pub(super) fn tell(fields: &mut HeaderMap, client: &Client, reserved: Option<&ReservedFields>) {
    let Some(reserved) = reserved else { return };
    reserved.strip(fields);
    let facts = client.tls.iter().flat_map(|tls| &tls.fields);
    for (name, value) in facts {
        fields.insert(name, value.clone());
    }
}
