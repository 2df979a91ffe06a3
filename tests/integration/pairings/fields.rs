//! Fields: those that end at a connection, and those at the border of what a field may be.

use crate::support::{
    h2::{END_STREAM, H2Client, get},
    pairing::{Ask, Fields, Length, Protocol, on_each},
};

/// What neither protocol carries from one connection to the next (RFC 9110 7.6.1, RFC 9113 8.2.2).
const OF_A_CONNECTION: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "x-nominated",
];

#[test]
fn what_belongs_to_the_clients_connection_ends_there() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let mut ask = Ask::get("/").with("x-kept", "1");
        if pairing.client == Protocol::Http1 {
            ask = ask
                .with("connection", "x-nominated, keep-alive, te")
                .with("x-nominated", "secret")
                .with("keep-alive", "timeout=5")
                .with("proxy-connection", "keep-alive")
                .with("te", "gzip;q=0.5, deflate");
        }
        assert_eq!(pairing.call(&proxy, &ask, b"").status, 200);
        let fields = service.last().fields;
        for name in OF_A_CONNECTION.iter().chain(&["te"]) {
            assert!(!fields.has(name), "{name} in {fields:?}");
        }
        assert!(fields.has("x-kept"));
    });
}

#[test]
fn fields_of_a_connection_are_no_http_2() {
    on_each(|pairing| {
        if pairing.client == Protocol::Http1 {
            return;
        }
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let mut client = H2Client::connect(proxy.address());
        for field in [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
        ] {
            let [method, scheme, authority, path] = get("/");
            let stream = client.open(&[method, scheme, authority, path, field], END_STREAM);
            let answer = client.answer(stream);
            assert!(answer.reset.is_some() || answer.status == 400, "{field:?}: {answer:?}");
        }
        // RFC 9113 8.1.1: an error of the stream, not of the connection.
        assert_eq!(client.get("/").status, 200);
        assert_eq!(service.seen().len(), 1);
    });
}

#[test]
fn what_belongs_to_the_endpoints_connection_ends_there() {
    on_each(|pairing| {
        let http1 = pairing.endpoint == Protocol::Http1;
        let service = pairing.service(move |call| {
            let mut fields = vec![("x-kept", "1")];
            if http1 {
                fields.extend([
                    ("connection", "x-nominated, keep-alive"),
                    ("x-nominated", "secret"),
                    ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"),
                    ("upgrade", "h2c"),
                ]);
            }
            call.respond(200, &fields, "x");
        });
        let proxy = pairing.proxy(&service);
        let answer = pairing.call(&proxy, &Ask::get("/"), b"");
        assert_eq!(answer.status, 200);
        for name in OF_A_CONNECTION {
            assert!(!answer.fields.has(name), "{name} in {answer:?}");
        }
        assert!(answer.fields.has("x-kept"));
    });
}

#[test]
fn te_trailers_goes_on_and_nothing_else_of_it() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        caller.call(&Ask::get("/").with("te", "trailers"), b"");
        assert_eq!(service.last().fields.one("te").as_deref(), Some("trailers"));
        let connection = service.last().fields.one("connection");
        // RFC 9110 10.1.4: over HTTP/1.1 it is a matter of the connection, and says so; RFC 9113 8.2.2.
        let expected = (pairing.endpoint == Protocol::Http1).then_some("te");
        assert_eq!(connection.as_deref(), expected);
        if pairing.client == Protocol::Http1 {
            caller.call(&Ask::get("/").with("te", "gzip, Trailers"), b"");
            assert_eq!(service.last().fields.one("te").as_deref(), Some("trailers"));
            caller.call(&Ask::get("/").with("te", "gzip, xtrailers"), b"");
            assert!(!service.last().fields.has("te"));
        }
    });
}

#[test]
fn crumbs_of_a_cookie_are_joined() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let fields = [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2, c=3")];
            call.respond(200, &fields, "");
        });
        let proxy = pairing.proxy(&service);
        let ask = match pairing.client {
            Protocol::Http1 => Ask::get("/").with("cookie", "a=1; b=2; c=3"),
            Protocol::Http2 => Ask::get("/")
                .with("cookie", "a=1")
                .with("x-between", "1")
                .with("cookie", "b=2; c=3"),
        };
        let answer = pairing.call(&proxy, &ask, b"");
        // RFC 9113 8.2.3; RFC 6265 5.4: one field over HTTP/1.1.
        let cookies = service.last().fields.all("cookie");
        assert_eq!(cookies.join("; "), "a=1; b=2; c=3");
        assert!(pairing.endpoint == Protocol::Http2 || cookies.len() == 1, "{cookies:?}");
        assert_eq!(answer.fields.all("set-cookie"), ["a=1; Path=/", "b=2, c=3"]);
    });
}

/// Fields that are unusual and good.
fn unusual() -> Fields {
    let mut fields = Fields(vec![
        ("x-empty".to_owned(), Vec::new()),
        ("x-octets".to_owned(), (0x80..=0xff).collect()),
        ("x-inner-space".to_owned(), b"a  b\tc".to_vec()),
        ("x-marks".to_owned(), b"\"',;=()<>@:\\/[]?{}~!#$%^&*|`".to_vec()),
        ("x-list".to_owned(), b"1".to_vec()),
        ("x-list".to_owned(), b"2".to_vec()),
        ("!#$%&'*+-.^_`|~09az".to_owned(), b"token".to_vec()),
        ("x-long".to_owned(), vec![b'v'; 8000]),
        (format!("x-{}", "n".repeat(200)), b"1".to_vec()),
        ("authorization".to_owned(), b"Bearer abc".to_vec()),
    ]);
    fields
        .0
        .extend((0..50).map(|index| (format!("x-{index}"), index.to_string().into_bytes())));
    fields
}

fn assert_all_there(sent: &Fields, received: &Fields) {
    for (name, _) in &sent.0 {
        let of = |fields: &Fields| {
            let named = fields.0.iter().filter(|(other, _)| other == name);
            named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(sent), of(received), "{name}");
    }
}

#[test]
fn unusual_fields_pass_octet_by_octet() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.head_of(200, &unusual(), Length::Stated(0));
            call.channel.end();
        });
        let proxy = pairing.proxy(&service);
        let mut ask = Ask::get("/");
        ask.fields = unusual();
        let answer = pairing.call(&proxy, &ask, b"");
        assert_eq!(answer.status, 200);
        assert_all_there(&unusual(), &service.last().fields);
        assert_all_there(&unusual(), &answer.fields);
    });
}

#[test]
fn a_head_of_sixty_kibibytes_passes_and_an_endless_one_does_not() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let kibibytes: usize = call.request.target[1..].parse().expect("a number");
            let mut fields = Fields::default();
            fields
                .0
                .extend((0..kibibytes).map(|index| (format!("x-{index}"), vec![b'v'; 1000])));
            call.head_of(200, &fields, Length::Stated(2));
            call.channel.data(b"ok");
            call.channel.end();
        });
        let proxy = pairing.proxy(&service);
        let mut ask = Ask::get("/58");
        ask.fields
            .0
            .extend((0..58).map(|index| (format!("x-{index}"), vec![b'v'; 1000])));
        let answer = pairing.call(&proxy, &ask, b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_all_there(&ask.fields, &service.last().fields);
        assert_all_there(&ask.fields, &answer.fields);
        assert_eq!(pairing.call(&proxy, &Ask::get("/200"), b"").status, 502);
        assert_eq!(pairing.call(&proxy, &Ask::get("/1"), b"").status, 200);
    });
}
