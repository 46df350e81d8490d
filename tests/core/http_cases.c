#include "http_cases.h"

#include "aw_error.h"

#define HOST "Host: example.com\r\n"
#define REST                                                                   \
  "Upgrade: websocket\r\nConnection: Upgrade\r\n"                              \
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " HTTP_CASE_KEY "\r\n"
#define LINE "GET /chat HTTP/1.1\r\n"
#define VALID LINE HOST REST

#define ASK(name, text, status)                                                \
  { name, text "\r\n", sizeof text "\r\n" - 1, status, "/chat" }
#define ASK_FOR(name, target, status, seen)                                    \
  {                                                                            \
    name, "GET " target " HTTP/1.1\r\n" HOST REST "\r\n",                      \
        sizeof "GET " target " HTTP/1.1\r\n" HOST REST "\r\n" - 1, status,     \
        seen                                                                   \
  }
#define ASK_HOST(name, host, status)                                           \
  ASK(name, LINE "Host: " host "\r\n" REST, status)

const http_request_case http_request_cases[] = {
    ASK("a plain request", VALID, 101),
    /* RFC 9112 section 2.2 */
    ASK("an empty line before it", "\r\n" VALID, 101),
    ASK("two empty lines before it", "\r\n\r\n" VALID, 101),
    ASK("bare LF as line ends",
        "GET /chat HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: upgrade\n"
        "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: " HTTP_CASE_KEY "\n",
        101),
    ASK("a bare CR in the request line", "GET /chat\r HTTP/1.1\r\n" HOST REST,
        400),
    ASK("a bare CR in a header", VALID "X: a\rb\r\n", 400),
    ASK("NUL in a header", VALID "X: a\0b\r\n", 400),
    ASK("NUL in the target", "GET /chat\0 HTTP/1.1\r\n" HOST REST, 400),
    ASK("white space before the first header", LINE " " HOST REST, 400),
    /* section 2.3, RFC 9110 sections 7.8 and 15.6.6 */
    ASK("HTTP/1.0", "GET /chat HTTP/1.0\r\n" HOST REST, 426),
    ASK("HTTP/1.2", "GET /chat HTTP/1.2\r\n" HOST REST, 101),
    ASK("HTTP/2.0", "GET /chat HTTP/2.0\r\n" HOST REST, 505),
    ASK("HTTP/3.0", "GET /chat HTTP/3.0\r\n" HOST REST, 505),
    ASK("HTTP/0.9", "GET /chat HTTP/0.9\r\n" HOST REST, 505),
    ASK("the preface of HTTP/2", "PRI * HTTP/2.0\r\n", 505),
    ASK("HTTP/2", "GET /chat HTTP/2\r\n" HOST REST, 400),
    ASK("HTTP/1.10", "GET /chat HTTP/1.10\r\n" HOST REST, 400),
    ASK("HTTP/11", "GET /chat HTTP/11\r\n" HOST REST, 400),
    ASK("http/1.1", "GET /chat http/1.1\r\n" HOST REST, 400),
    ASK("no version", "GET /chat\r\n" HOST REST, 400),
    /* section 3.1 */
    ASK("POST", "POST /chat HTTP/1.1\r\n" HOST REST, 405),
    ASK("get", "get /chat HTTP/1.1\r\n" HOST REST, 405),
    ASK("OPTIONS of the server", "OPTIONS * HTTP/1.1\r\n" HOST REST, 405),
    ASK("CONNECT", "CONNECT a:1 HTTP/1.1\r\n" HOST REST, 405),
    ASK("a method that is no token", "G@T /chat HTTP/1.1\r\n" HOST REST, 400),
    /* section 3.2: targets */
    ASK_FOR("a query", "/chat?a=b&c=%20/?", 101, "/chat?a=b&c=%20/?"),
    ASK_FOR("an empty query", "/chat?", 101, "/chat?"),
    ASK_FOR("a query as browsers send it", "/chat?a[0]={x|y}", 101,
            "/chat?a[0]={x|y}"),
    ASK_FOR("encoding that is not needed", "/%63h%61t", 101, "/chat"),
    ASK_FOR("absolute-form", "http://example.com/chat?x", 101, "/chat?x"),
    ASK_FOR("absolute-form of https", "HTTPS://example.com:8443/chat", 101,
            "/chat"),
    ASK_FOR("absolute-form with an address", "http://[::1]:80/%63hat", 101,
            "/chat"),
    ASK_FOR("absolute-form of another path", "http://example.com/admin", 404,
            NULL),
    ASK_FOR("absolute-form without a path", "http://example.com", 404, NULL),
    ASK_FOR("absolute-form with a user", "http://a@b/chat", 400, NULL),
    ASK_FOR("absolute-form without a host", "http:///chat", 400, NULL),
    ASK_FOR("absolute-form with a wrong port", "http://a:x/chat", 400, NULL),
    ASK_FOR("absolute-form of ws", "ws://example.com/chat", 400, NULL),
    ASK_FOR("absolute-form of ftp", "ftp://example.com/chat", 400, NULL),
    ASK_FOR("authority-form", "example.com:80", 400, NULL),
    ASK_FOR("a user and a path", "a@b/chat", 400, NULL),
    ASK_FOR("asterisk-form", "*", 400, NULL),
    ASK_FOR("a path without its slash", "chat", 400, NULL),
    ASK_FOR("a query alone", "?chat", 400, NULL),
    ASK_FOR("a fragment", "/chat#b", 400, NULL),
    ASK_FOR("a fragment after a query", "/chat?a#b", 400, NULL),
    ASK_FOR("a backslash", "/chat\\..", 400, NULL),
    ASK_FOR("a quote", "/chat\"", 400, NULL),
    ASK_FOR("angle brackets in a query", "/chat?<b>", 400, NULL),
    ASK_FOR("half an encoding", "/chat%4", 400, NULL),
    ASK_FOR("an encoding that is none", "/chat%zz", 400, NULL),
    ASK_FOR("a dot segment", "/./chat", 400, NULL),
    ASK_FOR("two dots", "/a/../chat", 400, NULL),
    ASK_FOR("two dots at the end", "/chat/..", 400, NULL),
    ASK_FOR("dots that are encoded", "/a/%2e%2E/chat", 400, NULL),
    ASK_FOR("dots of which one is encoded", "/a/.%2e/chat", 400, NULL),
    ASK_FOR("dots in a name", "/..chat", 404, NULL),
    ASK_FOR("an encoded slash", "/%2Fchat", 404, NULL),
    ASK_FOR("a doubled slash", "//chat", 404, NULL),
    ASK_FOR("a slash too many", "/chat/", 404, NULL),
    ASK_FOR("another case", "/Chat", 404, NULL),
    ASK_FOR("more than the path", "/chatter", 404, NULL),
    ASK_FOR("less than the path", "/cha", 404, NULL),
    ASK_FOR("the root", "/", 404, NULL),
    ASK("a blank too many", "GET  /chat HTTP/1.1\r\n" HOST REST, 400),
    ASK("a blank in the target", "GET /chat /x HTTP/1.1\r\n" HOST REST, 400),
    ASK("obs-text in the target", "GET /ch\xC3\xA4t HTTP/1.1\r\n" HOST REST,
        400),
    /* section 3.2: Host */
    ASK_HOST("Host with a port", "example.com:8080", 101),
    ASK_HOST("Host with an empty port", "example.com:", 101),
    ASK_HOST("Host in any case", "EXAMPLE.com", 101),
    ASK_HOST("Host as an IPv4 address", "127.0.0.1:1", 101),
    ASK_HOST("Host as an IPv6 address", "[2001:db8::1]:1", 101),
    ASK_HOST("Host with an encoded character", "a%20b", 101),
    ASK_HOST("an empty Host", "", 400),
    ASK_HOST("Host with a user", "a@b", 400),
    ASK_HOST("Host with a path", "a/b", 400),
    ASK_HOST("Host with a scheme", "http://a", 400),
    ASK_HOST("Host with a query", "a?b", 400),
    ASK_HOST("Host with a fragment", "a#b", 400),
    ASK_HOST("Host with a backslash", "a\\b", 400),
    ASK_HOST("Host with a blank", "a b", 400),
    ASK_HOST("two in one Host", "a, b", 400),
    ASK_HOST("Host with a port that is none", "a:b", 400),
    ASK_HOST("Host with a port too great", "a:65536", 400),
    ASK_HOST("Host with two ports", "a:1:2", 400),
    ASK_HOST("Host that is a port", ":80", 400),
    ASK_HOST("Host as IPv6 without brackets", "::1", 400),
    ASK_HOST("Host with a wrong IPv6 address", "[:::1]", 400),
    ASK_HOST("Host as IPv4 in brackets", "[127.0.0.1]", 400),
    ASK_HOST("Host with an open bracket", "[::1", 400),
    ASK_HOST("Host with text behind the bracket", "[::1]a", 400),
    ASK_HOST("Host with obs-text", "\xC3\xA4", 400),
    ASK_HOST("Host with half an encoding", "a%2", 400),
    ASK("no Host", LINE REST, 400),
    ASK("two Hosts", VALID HOST, 400),
    ASK("two different Hosts", VALID "host: other\r\n", 400),
    /* section 5 */
    ASK("white space before a colon", LINE "Host : a\r\n" REST, 400),
    ASK("a tab before a colon", LINE "Host\t: a\r\n" REST, 400),
    ASK("white space around a value", LINE "Host:\t a \t\r\n" REST, 101),
    ASK("no white space before a value", LINE "Host:a\r\n" REST, 101),
    ASK("a header without a colon", VALID "X\r\n", 400),
    ASK("a header without a name", VALID ": a\r\n", 400),
    ASK("a header's name that is no token", VALID "X(: a\r\n", 400),
    ASK("a folded header", VALID "X: a\r\n b\r\n", 400),
    ASK("a folded header that ends a line", VALID "X:\r\n\tb\r\n", 400),
    /* section 6 */
    ASK("Content-Length 0", VALID "Content-Length: 0\r\n", 101),
    ASK("Content-Length 00", VALID "Content-Length: 00\r\n", 101),
    ASK("a body", VALID "Content-Length: 5\r\n", 400),
    ASK("a malformed Content-Length", VALID "Content-Length: +0\r\n", 400),
    ASK("an empty Content-Length", VALID "Content-Length:\r\n", 400),
    ASK("two Content-Lengths",
        VALID "Content-Length: 0\r\nContent-Length: 5\r\n", 400),
    ASK("Transfer-Encoding", VALID "Transfer-Encoding: chunked\r\n", 400),
    ASK("Transfer-Encoding and Content-Length",
        VALID "Content-Length: 0\r\nTransfer-Encoding: identity\r\n", 400),
    /* RFC 6455 section 4.2.1 */
    ASK("Upgrade in a list",
        LINE HOST "Upgrade: h2c, WebSocket\r\nConnection: keep-alive, "
                  "UPGRADE\r\nSec-WebSocket-Version: "
                  "13\r\nSec-WebSocket-Key: " HTTP_CASE_KEY "\r\n",
        101),
    ASK("Connection in two lines",
        LINE HOST "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: "
                  "upgrade\r\nSec-WebSocket-Version: "
                  "13\r\nSec-WebSocket-Key: " HTTP_CASE_KEY "\r\n",
        101),
    ASK("no Upgrade", LINE HOST, 426),
    ASK("no Upgrade at another path", "GET /health HTTP/1.1\r\n" HOST, 404),
    ASK("Upgrade to something like it",
        LINE HOST "Upgrade: websocket2\r\nConnection: Upgrade\r\n", 426),
    ASK("Connection without Upgrade",
        LINE HOST "Upgrade: websocket\r\nConnection: close\r\n", 400),
    ASK("no Connection", LINE HOST "Upgrade: websocket\r\n", 400),
    ASK("version 8",
        LINE HOST
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " HTTP_CASE_KEY "\r\n",
        426),
    ASK("two versions", VALID "Sec-WebSocket-Version: 13\r\n", 400),
    ASK("two keys", VALID "Sec-WebSocket-Key: " HTTP_CASE_KEY "\r\n", 400),
    ASK("no key",
        LINE HOST "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Version: 13\r\n",
        400),
    ASK("a key that is too short",
        LINE HOST "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n",
        400),
    ASK("an extension", VALID "Sec-WebSocket-Extensions: x; y=\"z\"\r\n", 101),
    ASK("a subprotocol of ours", VALID "Sec-WebSocket-Protocol: makai.v1\r\n",
        101),
    ASK("a subprotocol that is not ours", VALID "Sec-WebSocket-Protocol: x\r\n",
        101),
    /* RFC 6454 section 7.3 */
    ASK("one Origin", VALID "Origin: http://a\r\n", 101),
    ASK("two Origins", VALID "Origin: http://a\r\norigin: http://b\r\n", 400),
};

const size_t http_request_case_count =
    sizeof http_request_cases / sizeof http_request_cases[0];

#define SWITCH "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: $\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: agentwire.v1\r\n"
#define OPEN SWITCH UPGRADE CONNECTION ACCEPT PROTOCOL

#define ANSWER(name, text, error, why)                                         \
  { name, text "\r\n", sizeof text "\r\n" - 1, error, why }
#define REFUSAL(name, text, why)                                               \
  { name, text, sizeof text - 1, AW_E_REFUSED, why }

const http_response_case http_response_cases[] = {
    ANSWER("a plain answer", OPEN, 0, ""),
    ANSWER("names and values in any case",
           SWITCH "upgrade: WebSocket\r\nCONNECTION: UPGRADE\r\n"
                  "sec-websocket-accept: $\r\n" PROTOCOL,
           0, ""),
    ANSWER("Connection in a list",
           SWITCH UPGRADE "Connection: keep-alive, Upgrade\r\n" ACCEPT PROTOCOL,
           0, ""),
    ANSWER("Connection in two lines",
           SWITCH UPGRADE
           "Connection: keep-alive\r\n" CONNECTION ACCEPT PROTOCOL,
           0, ""),
    ANSWER("no reason", "HTTP/1.1 101\r\n" UPGRADE CONNECTION ACCEPT PROTOCOL,
           0, ""),
    ANSWER("headers of proxies",
           OPEN "Via: 1.1 a\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n", 0, ""),
    ANSWER("a length that means nothing", OPEN "Content-Length: 5\r\n", 0, ""),
    /* RFC 9112 section 5.2: a client reads them */
    ANSWER("a folded header", OPEN "X: a\r\n b\r\n", 0, ""),
    ANSWER("a folded header that matters",
           SWITCH "Upgrade:\r\n websocket\r\n" CONNECTION ACCEPT
                  "Sec-WebSocket-Protocol:\r\n\tagentwire.v1\r\n",
           0, ""),
    ANSWER("white space before the first header",
           SWITCH " " UPGRADE CONNECTION ACCEPT PROTOCOL, AW_E_REFUSED,
           "folded"),
    ANSWER("white space before a colon", OPEN "X : a\r\n", AW_E_REFUSED,
           "name"),
    ANSWER("a bare CR", OPEN "X: a\rb\r\n", AW_E_REFUSED, "control character"),
    ANSWER("NUL", OPEN "X: a\0b\r\n", AW_E_REFUSED, "control character"),
    /* RFC 9110 section 15.2 */
    ANSWER("100 before it", "HTTP/1.1 100 Continue\r\n\r\n" OPEN, 0, ""),
    ANSWER("103 before it", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OPEN,
           0, ""),
    ANSWER("102 and 199 before it",
           "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 x\r\n\r\n" OPEN, 0, ""),
    ANSWER("100 before a refusal",
           "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\n"
           "Content-Length: 0\r\n",
           AW_E_REFUSED, "HTTP 403 No"),
    /* versions */
    ANSWER("HTTP/1.0", "HTTP/1.0 101 x\r\n" UPGRADE CONNECTION ACCEPT PROTOCOL,
           AW_E_REFUSED, "HTTP/1.1 is needed"),
    ANSWER("HTTP/2.0", "HTTP/2.0 101 x\r\n" UPGRADE CONNECTION ACCEPT PROTOCOL,
           AW_E_REFUSED, "HTTP/1.1 is needed"),
    ANSWER("HTTP/2", "HTTP/2 101 x\r\n" UPGRADE CONNECTION ACCEPT PROTOCOL,
           AW_E_REFUSED, "not HTTP/1.x"),
    ANSWER("another protocol", "SSH-2.0-OpenSSH_9\r\n", AW_E_REFUSED,
           "not HTTP"),
    ANSWER("TLS", "\x15\x03\x03\x01\x02\x02\x28", AW_E_REFUSED, "wss://"),
    /* RFC 6455 section 4.1 */
    ANSWER("Upgrade in a list",
           SWITCH "Upgrade: websocket, foo\r\n" CONNECTION ACCEPT PROTOCOL,
           AW_E_REFUSED, "Upgrade"),
    ANSWER("Upgrade twice", OPEN UPGRADE, AW_E_REFUSED, "Upgrade"),
    ANSWER("Upgrade to something else",
           SWITCH "Upgrade: h2c\r\n" CONNECTION ACCEPT PROTOCOL, AW_E_REFUSED,
           "Upgrade"),
    ANSWER("no Upgrade", SWITCH CONNECTION ACCEPT PROTOCOL, AW_E_REFUSED,
           "Upgrade"),
    ANSWER("no Connection", SWITCH UPGRADE ACCEPT PROTOCOL, AW_E_REFUSED,
           "Connection"),
    ANSWER("Connection that only begins so",
           SWITCH UPGRADE "Connection: Upgraded\r\n" ACCEPT PROTOCOL,
           AW_E_REFUSED, "Connection"),
    ANSWER("no accept value", SWITCH UPGRADE CONNECTION PROTOCOL, AW_E_REFUSED,
           "Accept"),
    ANSWER("two accept values", OPEN ACCEPT, AW_E_REFUSED, "Accept"),
    ANSWER("a wrong accept value",
           SWITCH UPGRADE CONNECTION
           "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n" PROTOCOL,
           AW_E_REFUSED, "Accept"),
    ANSWER("an extension", OPEN "Sec-WebSocket-Extensions: x\r\n", AW_E_REFUSED,
           "extension"),
    ANSWER("two subprotocols", OPEN "Sec-WebSocket-Protocol: makai.v1\r\n",
           AW_E_REFUSED, "protocol"),
    ANSWER("a subprotocol that was not offered",
           SWITCH UPGRADE CONNECTION ACCEPT "Sec-WebSocket-Protocol: chat\r\n",
           AW_E_REFUSED, "not"),
    /* refusals: what they say is told, in one line */
    REFUSAL("a refusal", "HTTP/1.1 403 Not you\r\nContent-Length: 0\r\n\r\n",
            "HTTP 403 Not you"),
    REFUSAL("a refusal with a body",
            "HTTP/1.1 401 No\r\nContent-Length: 11\r\n\r\nwho are\nyou",
            "HTTP 401 No: who are you"),
    REFUSAL("a refusal with chunks",
            "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n"
            "4;x=y\r\nwho \r\n7\r\nare you\r\n0\r\n\r\n",
            "HTTP 401 No: who are you"),
    REFUSAL("a refusal with a body that does not end",
            "HTTP/1.1 401 No\r\n\r\nwho are you", "HTTP 401 No: who are you"),
    REFUSAL("a body with control characters",
            "HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nab\x1B[31mcd",
            "HTTP 401 No: ab"),
    REFUSAL("a body that is not UTF-8",
            "HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nab\xFF"
            "cd",
            "HTTP 401 No: ab"),
    REFUSAL("a body that says the reason again",
            "HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nNo\n", "HTTP 401 No"),
    REFUSAL(
        "a redirect",
        "HTTP/1.1 301 Moved\r\nLocation: wss://u:pw@b.example/x?t=SECRET\r\n"
        "Content-Length: 0\r\n\r\n",
        "HTTP 301 Moved, it points to wss://b.example/x"),
    REFUSAL("a redirect to a path",
            "HTTP/1.1 307 T\r\nLocation: /login#SECRET\r\n"
            "Content-Length: 0\r\n\r\n",
            "HTTP 307 T, it points to /login"),
    REFUSAL("a page", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nWelcome!",
            "HTTP 200 OK: Welcome!"),
};

const size_t http_response_case_count =
    sizeof http_response_cases / sizeof http_response_cases[0];
