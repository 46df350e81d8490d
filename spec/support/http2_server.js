// An HTTP/2 server for specs, over TLS, with HTTP/1.1 for who has nothing else.
// Prints its port.
'use strict';
const fs = require('fs');
const http2 = require('http2');
const zlib = require('zlib');

const counts = {connections: 0, requests: 0, sent: 0};
const log = [];

function note(what, path) {
  log.push([what, path, Number(process.hrtime.bigint() / 1000n)]);
}

const routes = {
  '/hello': (req, res) => res.end('hello ' + req.httpVersion),
  '/gzip': (req, res) => {
    res.writeHead(200, {'content-encoding': 'gzip'});
    res.end(zlib.gzipSync('z'.repeat(100000)));
  },
  '/stall': (req, res) => {
    res.write('data: first\n\n');
    note('stalls', '/stall');
    res.on('close', () => note('gone', '/stall'));
  },
  '/reset': (req, res) => {
    res.write('some');
    setTimeout(() => res.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
               20);
  },
  '/big': (req, res) => {
    let left = Number(new URL(req.url, 'https://x').searchParams.get('n'));
    const piece = Buffer.alloc(65536, 'x');
    const more = () => {
      while (left > 0) {
        const n = Math.min(left, piece.length);
        left -= n;
        counts.sent += n;
        if (!res.write(piece.subarray(0, n))) {
          res.once('drain', more);
          return;
        }
      }
      res.end();
    };
    more();
  },
  '/ticks': (req, res) => {
    let i = 0;
    const timer = setInterval(() => {
      res.write(`data: ${i++}\n\n`);
      if (i === 10) {
        clearInterval(timer);
        res.end();
      }
    }, 10);
  },
  '/log': (req, res) => res.end(JSON.stringify({counts, log})),
};

const server = http2.createSecureServer({
  cert: fs.readFileSync(process.argv[2]),
  key: fs.readFileSync(process.argv[3]),
  allowHTTP1: true,
}, (req, res) => {
  counts.requests++;
  routes[req.url.split('?')[0]](req, res);
});
server.on('secureConnection', () => counts.connections++);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
