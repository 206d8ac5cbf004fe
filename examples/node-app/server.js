'use strict';

// A server as Gestor likes them: it listens on PORT, tells its health, and ends requests before itself.
const http = require('node:http');

const port = Number(process.env.PORT || 3000);
const host = process.env.HOST || '127.0.0.1';
const startedAt = new Date();
let stopping = false;

function page() {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>node-app</title>
<style>body{font:18px/1.5 system-ui;max-width:36rem;margin:4rem auto;padding:0 1rem}</style>
<h1>It runs.</h1>
<p>Commit <code>${escape(process.env.GESTOR_COMMIT || 'unknown')}</code>, node ${process.version},
up since ${startedAt.toISOString()}.</p>
</html>
`;
}

function escape(text) {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

function answer(req, res) {
  if (stopping) res.setHeader('Connection', 'close');
  const { pathname } = new URL(req.url, 'http://localhost');
  if (pathname === '/health') {
    res.writeHead(200, { 'Content-Type': 'application/json' });
    return res.end(JSON.stringify({ status: 'ok', uptime: process.uptime() }));
  }
  if (pathname === '/') {
    res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    return res.end(page());
  }
  res.writeHead(404, { 'Content-Type': 'text/plain' });
  return res.end('not found\n');
}

const server = http.createServer(answer);

function stop(signal) {
  if (stopping) return;
  stopping = true;
  console.log(`${signal}: no new connections, ending what is under way`);
  server.close(() => process.exit(0));
  server.closeIdleConnections();
}

process.on('SIGTERM', () => stop('SIGTERM'));
process.on('SIGINT', () => stop('SIGINT'));

server.listen(port, host, () => console.log(`listening on ${host}:${port}`));
