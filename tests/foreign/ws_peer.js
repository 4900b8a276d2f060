// A server made with node's ws; what its paths do is in real_peers.py.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');
const ws = require('ws');

const SUBPROTOCOLS = ['v2.feed', 'v1.feed'];

// What a connection with an identity has received, and how it ended.
class Seen {
  static byId = new Map();

  constructor() {
    this.messages = this.bytes = 0;
    this.digest = crypto.createHash('sha256');
    this.ended = new Promise((resolve) => { this.end = resolve; });
    this.going = new Promise((resolve) => { this.go = resolve; });
  }

  static of(id) {
    if (id === null) return new Seen();
    if (!Seen.byId.has(id)) Seen.byId.set(id, new Seen());
    return Seen.byId.get(id);
  }

  take(data) {
    this.messages += 1;
    this.bytes += data.length;
    this.digest.update(data);
  }

  report(code, reason) {
    const { messages, bytes } = this;
    this.end(JSON.stringify({ code, reason, messages, bytes, digest: this.digest.digest('hex') }));
  }
}

const sent = (socket, data, options = {}) =>
  new Promise((resolve) => socket.send(data, options, resolve));

async function burst(socket, count, size) {
  for (let number = 0; number < count && socket.readyState === ws.WebSocket.OPEN; number += 1) {
    const message = Buffer.alloc(size);
    message.writeBigUInt64BE(BigInt(number));
    await sent(socket, message);
  }
}

async function serve(socket, request) {
  const url = new URL(request.url, 'ws://localhost');
  const query = url.searchParams;
  const seen = Seen.of(query.get('id'));
  socket.on('error', (error) => console.error(error));
  if (url.pathname === '/ended') {
    await sent(socket, await seen.ended);
    socket.close();
    return;
  }
  if (url.pathname === '/go') {
    seen.go();
    socket.close();
    return;
  }
  socket.on('close', (code, reason) => seen.report(code, reason.toString()));
  switch (url.pathname) {
    case '/echo':
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
      break;
    case '/fragments':
      socket.on('message', (data, isBinary) => {
        const size = Number(query.get('size'));
        for (let at = 0; at < data.length; at += size) {
          socket.send(data.subarray(at, at + size), { binary: isBinary, fin: at + size >= data.length });
        }
      });
      break;
    case '/pings':
      socket.on('pong', (data) => socket.send(data.toString() === 'from the server' ? 'answered' : 'not answered'));
      socket.ping('from the server');
      break;
    case '/request': {
      const names = ['host', 'x-forwarded-proto', 'x-forwarded-for'];
      socket.send(JSON.stringify(Object.fromEntries(names.map((name) => [name, request.headers[name] ?? null]))));
      break;
    }
    case '/burst':
      await burst(socket, Number(query.get('count')), Number(query.get('size')));
      break;
    case '/goodbye':
      await burst(socket, Number(query.get('count')), Number(query.get('size')));
      socket.close(Number(query.get('code')), query.get('reason'));
      break;
    case '/sink':
      socket.on('message', (data) => seen.take(data));
      if (query.has('stalled')) {
        socket.pause();
        await seen.going;
        socket.resume();
      }
      break;
  }
}

function terms(deflate) {
  if (deflate === null) return false;
  return {
    serverNoContextTakeover: deflate.server_no_context_takeover,
    clientNoContextTakeover: deflate.client_no_context_takeover,
    serverMaxWindowBits: deflate.server_max_window_bits,
    clientMaxWindowBits: deflate.client_max_window_bits,
    threshold: deflate.threshold,
  };
}

const answer = (_request, response) => {
  response.writeHead(426, { 'Content-Type': 'text/plain' });
  response.end('a WebSocket is wanted');
};

for (const { port, pem, deflate, max_size: maxPayload } of JSON.parse(process.argv[2])) {
  const both = pem === null ? null : fs.readFileSync(pem);
  const server = both === null ? http.createServer(answer) : https.createServer({ key: both, cert: both }, answer);
  const choose = (offered) => SUBPROTOCOLS.find((one) => offered.has(one)) ?? false;
  const options = { server, perMessageDeflate: terms(deflate), handleProtocols: choose, maxPayload: maxPayload ?? 0 };
  new ws.WebSocketServer(options).on('connection', serve);
  server.listen(port, '127.0.0.1');
}
