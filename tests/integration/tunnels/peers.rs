//! WebSockets of others through the proxy: what they say is heard, whole and in order.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
};

use tungstenite::{
    Message, WebSocket,
    protocol::{
        CloseFrame, WebSocketConfig,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use crate::support::{
    Proxy, pattern,
    tools::{self, Tool},
};

const LARGE: usize = 64 << 20;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(2 * LARGE))
        .max_frame_size(Some(2 * LARGE))
}

/// A server that sends every message back, and closes as it is told to.
fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let Ok(mut socket) = tungstenite::accept_with_config(stream, Some(config())) else {
                    return;
                };
                while let Ok(message) = socket.read() {
                    if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn connect(proxy: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(proxy).expect("the proxy accepts");
    let url = format!("ws://{proxy}{path}");
    let (socket, response) = tungstenite::client::client_with_config(url, stream, Some(config())).expect("a handshake");
    assert_eq!(response.status(), 101);
    socket
}

fn ask(socket: &mut WebSocket<TcpStream>, message: Message) -> Message {
    socket.send(message).expect("it is taken");
    socket.read().expect("an answer comes")
}

#[test]
fn messages_of_every_kind() {
    let proxy = Proxy::to(&[echoing()]).start();
    let mut socket = connect(proxy.address(), "/");
    assert_eq!(ask(&mut socket, Message::text("grüße")), Message::text("grüße"));
    assert_eq!(
        ask(&mut socket, Message::binary(pattern(100_000))),
        Message::binary(pattern(100_000))
    );
    assert_eq!(ask(&mut socket, Message::text("")), Message::text(""));
    assert_eq!(
        ask(&mut socket, Message::Ping("are you there".into())),
        Message::Pong("are you there".into())
    );
    for (index, part) in ["one, ", "two, ", "three"].into_iter().enumerate() {
        let code = OpCode::Data(if index == 0 { Data::Text } else { Data::Continue });
        socket
            .send(Message::Frame(Frame::message(part, code, index == 2)))
            .expect("it is taken");
    }
    assert_eq!(socket.read().expect("an answer"), Message::text("one, two, three"));
    let frame = CloseFrame {
        code: CloseCode::Library(4711),
        reason: "enough".into(),
    };
    socket.close(Some(frame.clone())).expect("it is taken");
    assert_eq!(
        socket.read().expect("the close comes back"),
        Message::Close(Some(frame))
    );
    drop(socket);
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 0.0);
}

#[test]
fn a_large_message() {
    let proxy = Proxy::to(&[echoing()]).start();
    let before = proxy.memory();
    let mut socket = connect(proxy.address(), "/");
    let message = Message::binary(pattern(LARGE));
    // The echo begins only once all of it has come, so that nobody waits for nobody.
    assert!(ask(&mut socket, message.clone()) == message);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

#[test]
fn python_s_websockets_as_server() {
    let Some(python) = tools::python_with("websockets") else {
        return;
    };
    let script = "import asyncio, websockets\n\
        async def echo(socket, *rest):\n\
        \x20   async for message in socket:\n\
        \x20       await socket.send(message)\n\
        \x20   await socket.wait_closed()\n\
        async def main():\n\
        \x20   async with websockets.serve(echo, '127.0.0.1', 0, max_size=None, subprotocols=['chat']) as server:\n\
        \x20       print('port', server.sockets[0].getsockname()[1], flush=True)\n\
        \x20       await asyncio.Future()\n\
        asyncio.run(main())\n";
    let server = Tool::start(Command::new(python).args(["-c", script]));
    let proxy = Proxy::to(&[tools::announced(&server)]).start();
    let mut socket = connect(proxy.address(), "/chat");
    assert_eq!(ask(&mut socket, Message::text("hello")), Message::text("hello"));
    let large = Message::binary(pattern(3 << 20));
    assert!(ask(&mut socket, large.clone()) == large);
    socket.close(None).expect("it is taken");
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
}

#[test]
fn python_s_websockets_as_client() {
    let Some(python) = tools::python_with("websockets") else {
        return;
    };
    let proxy = Proxy::to(&[echoing()]).start();
    let script = "import asyncio, os, sys, websockets\n\
        async def main():\n\
        \x20   async with websockets.connect(sys.argv[1], max_size=None) as socket:\n\
        \x20       for message in ['hello', b'', os.urandom(2000000), ['in ', 'three ', 'parts']]:\n\
        \x20           await socket.send(message)\n\
        \x20           whole = ''.join(message) if isinstance(message, list) else message\n\
        \x20           assert await socket.recv() == whole\n\
        \x20       await (await socket.ping())\n\
        \x20       await socket.close(code=3001, reason='enough')\n\
        \x20       assert socket.close_code == 3001, socket.close_code\n\
        \x20   print('all well', flush=True)\n\
        asyncio.run(main())\n";
    let url = format!("ws://{}/", proxy.address());
    let mut client = Tool::start(Command::new(python).args(["-c", script, &url]));
    let status = client.wait();
    assert!(status.success(), "{:?}", client.stderr.all());
    assert_eq!(client.stdout.wait_for_end(), ["all well"]);
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 0.0);
}

/// Node speaks the frames of HTTP/2; those of the WebSocket are written by hand: one masked text, and what comes back.
#[test]
fn node_s_http_2_as_client() {
    if !tools::needs("node") {
        return;
    }
    let proxy = Proxy::to(&[echoing()]).start();
    let script = "const http2 = require('http2');\n\
        const session = http2.connect(process.argv[1]);\n\
        session.on('remoteSettings', settings => {\n\
          if (!settings.enableConnectProtocol) throw new Error('not offered');\n\
          const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat',\n\
            'sec-websocket-version': '13' }, { endStream: false });\n\
          let seen = Buffer.alloc(0);\n\
          stream.on('response', headers => {\n\
            console.log(headers[':status'], headers['upgrade'], headers['sec-websocket-accept']);\n\
            stream.write(Buffer.concat([Buffer.from([0x81, 0x85, 0, 0, 0, 0]), Buffer.from('hello')]));\n\
          });\n\
          stream.on('data', data => {\n\
            seen = Buffer.concat([seen, data]);\n\
            if (seen.length === 7) { console.log(seen.subarray(2).toString()); stream.end(); }\n\
          });\n\
          stream.on('close', () => { console.log('closed', stream.rstCode); session.close(); });\n\
        });\n";
    let url = format!("http://{}", proxy.address());
    let mut node = Tool::start(Command::new("node").args(["-e", script, &url]));
    assert!(node.wait().success(), "{:?}", node.stderr.all());
    assert_eq!(
        node.stdout.wait_for_end(),
        ["200 undefined undefined", "hello", "closed 0"]
    );
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 0.0);
}

/// CONNECT as curl does it for a tunnel, with a request to a server behind it.
#[test]
fn curl_s_proxy_tunnel() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = crate::support::Endpoint::start(|exchange| match exchange.head.method() {
        "CONNECT" => exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n"),
        _ => exchange.respond("behind the tunnel"),
    });
    let route = "[[route]]\nhost = \"inside.example\"\ncluster = \"main\"\nconnect = true\n";
    let proxy = Proxy::in_front_of(&endpoint).with(route).start();
    let through = format!("http://{}", proxy.address());
    let arguments = ["--proxy", &through, "--proxytunnel", "http://inside.example/page"];
    assert_eq!(tools::curl(&arguments), (0, "behind the tunnel".to_owned()));
    assert_eq!(endpoint.targets(), ["inside.example:80", "/page"]);
    assert_eq!(endpoint.opened(), 1);
}
