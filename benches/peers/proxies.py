"""The proxies, each with one worker and told to do the same: forward everything to one endpoint over kept connections."""

import os
import re
import shutil
import subprocess

from process import Process, must_be_free

ENDPOINT = 18600

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.error error; {user}
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 3600s; proxy_max_temp_file_size 0;
  client_max_body_size 0; proxy_request_buffering off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4;
  scgi_temp_path {folder}/5;
  upstream endpoint {{ server 127.0.0.1:{endpoint}; keepalive 1024; keepalive_requests 100000000; }}
  ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl http2;
    location / {{
      proxy_pass http://endpoint; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""

NGINX_ENDPOINT = """
worker_processes 1; daemon off; pid {folder}/endpoint.pid; error_log {folder}/endpoint.error error; {user}
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 3600s; sendfile on;
  client_body_temp_path {folder}/6; proxy_temp_path {folder}/7; fastcgi_temp_path {folder}/8; uwsgi_temp_path {folder}/9;
  scgi_temp_path {folder}/10;
  server {{
    {listen} root {folder}/files;
    location = / {{ return 200 "{small}"; }}
    location = /slow {{ limit_rate 8k; }}
    location = /upload {{
      client_max_body_size 0; client_body_buffer_size 2m;
      proxy_pass http://127.0.0.1:{endpoint}/; proxy_pass_request_body off; proxy_set_header Content-Length "";
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout http-keep-alive 3600s
  timeout server 60s
  http-reuse always
frontend clients
  bind 127.0.0.1:{http}
  bind 127.0.0.1:{https} ssl crt {folder}/both.pem alpn h2,http/1.1
  default_backend endpoint
backend endpoint
  option forwardfor
  server one 127.0.0.1:{endpoint}
"""

FOREBAY = """
[process]
workers = 1
watch = false
[admin]
address = "127.0.0.1:{admin}"
[keep_alive]
idle_timeout = "1h"
[[listener]]
name = "http"
address = "127.0.0.1:{http}"
[[listener]]
name = "https"
address = "127.0.0.1:{https}"
tls = {{ certificates = [{{ chain = "{folder}/certificate.pem", key = "{folder}/key.pem" }}] }}
[[route]]
cluster = "endpoint"
[cluster.endpoint]
endpoints = ["127.0.0.1:{endpoint}"]
[cluster.endpoint.health]
probe = {{ path = "/" }}
"""

ENVOY_CHAIN = """
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          use_remote_address: true
          generate_request_id: false
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: endpoint}}}}]}}
"""
ENVOY_TLS = """
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {folder}/certificate.pem}}
              private_key: {{filename: {folder}/key.pem}}
"""
ENVOY = (
    "static_resources:\n  listeners:\n  - address: {{socket_address: {{address: 127.0.0.1, port_value: {http}}}}}\n"
    "    filter_chains:"
    + ENVOY_CHAIN
    + "  - address: {{socket_address: {{address: 127.0.0.1, port_value: {https}}}}}\n    filter_chains:"
    + ENVOY_CHAIN.rstrip("\n")
    + ENVOY_TLS
    + """  clusters:
  - name: endpoint
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {{thresholds: [{{max_connections: 16000, max_pending_requests: 16000, max_requests: 16000}}]}}
    load_assignment:
      cluster_name: endpoint
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {endpoint}}}}}}}
"""
)


class Proxy:
    """A program, its config and its ports. The program may be named by a variable: NGINX=/opt/nginx/sbin/nginx."""

    def __init__(self, name, place, file, config, command, version):
        self.name, self.file, self.config, self.command = name, file, config, command
        self.http, self.https, self.admin = (18610 + 3 * place + offset for offset in range(3))
        self.program = os.environ.get(name.upper()) or shutil.which(name)
        self.version_command = version
        self.process = None

    def is_there(self):
        return self.program is not None

    def version(self):
        ran = subprocess.run([self.program, self.version_command], capture_output=True, text=True)
        found = re.search(r"\d+\.\d+(\.\d+)?", ran.stdout + ran.stderr)
        return found[0] if found else "unknown"

    def start(self, folder, cores="0"):
        values = dict(
            folder=folder, http=self.http, https=self.https, admin=self.admin, endpoint=ENDPOINT, user=user_line()
        )
        path = os.path.join(folder, self.file)
        with open(path, "w") as config:
            config.write(self.config.format(**values))
        must_be_free((self.http, self.https, self.admin))
        command = [part.format(program=self.program, path=path, folder=folder) for part in self.command]
        self.process = Process(self.name, command, cores, os.path.join(folder, f"{self.name}.log"))
        for port in (self.http, self.https):
            self.process.wait_for_port(port)

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None


def user_line():
    return "user root;" if os.geteuid() == 0 else ""


def all_proxies(forebay):
    nginx = ["{program}", "-e", "{folder}/nginx.error", "-c", "{path}"]
    found = [
        Proxy("nginx", 0, "nginx.conf", NGINX, nginx, "-v"),
        Proxy("haproxy", 1, "haproxy.cfg", HAPROXY, ["{program}", "-f", "{path}"], "-v"),
        Proxy("envoy", 2, "envoy.yaml", ENVOY, ["{program}", "-c", "{path}", "--concurrency", "1", "-l", "error"], "--version"),
        Proxy("forebay", 3, "forebay.toml", FOREBAY, ["{program}", "run", "--config", "{path}"], "--version"),
    ]
    found[-1].program = forebay
    return found


def endpoint_address(number):
    """The first is 127.0.0.1; all are of 127/8."""
    return f"127.0.{number // 250}.{number % 250 + 1}:{ENDPOINT}"


def start_endpoint(folder, addresses=1):
    """A second nginx, which answers without a proxy's work: 128 bytes for `/`, a file of 1 MiB for `/large`,
    and 32 KiB within four seconds for `/slow`. For `/upload` it asks itself for `/`, since it answers by itself before it
    has read a request's body."""
    program = os.environ.get("NGINX") or shutil.which("nginx")
    os.makedirs(os.path.join(folder, "files"), exist_ok=True)
    for name, size in (("large", 1 << 20), ("slow", 1 << 15)):
        with open(os.path.join(folder, "files", name), "wb") as file:
            file.write(b"x" * size)
    path = os.path.join(folder, "endpoint.conf")
    with open(path, "w") as config:
        listen = " ".join(f"listen {endpoint_address(number)} backlog=4096;" for number in range(addresses))
        values = dict(folder=folder, listen=listen, small="x" * 128, endpoint=ENDPOINT, user=user_line())
        config.write(NGINX_ENDPOINT.format(**values))
    must_be_free((ENDPOINT,))
    command = [program, "-e", f"{folder}/endpoint.error", "-c", path]
    endpoint = Process("the endpoint", command, "1", os.path.join(folder, "endpoint.log"))
    endpoint.wait_for_port(ENDPOINT)
    return endpoint


def make_certificate(folder):
    certificate, key = (os.path.join(folder, name) for name in ("certificate.pem", "key.pem"))
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    with open(os.path.join(folder, "both.pem"), "w") as both:
        for part in (certificate, key):
            with open(part) as text:
                both.write(text.read())
