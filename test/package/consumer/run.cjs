// By require, from CommonJS.
const assert = require('node:assert');
const { MemoryStore, TokenManager } = require('tokensession');
const express = require('tokensession/express');
const koa = require('tokensession/koa');
const live = require('tokensession/live');

async function main() {
  assert.equal(typeof express.sessionMiddleware, 'function');
  assert.equal(typeof koa.requireUser, 'function');
  assert.equal(typeof live.authenticator, 'function');
  const sessions = new TokenManager({
    store: new MemoryStore(),
    secret: 'a secret for tests, long enough to sign with',
  });
  assert.equal((await sessions.checkToken(await sessions.setToken('ada'))).user.id, 'ada');
  await sessions.close();
  console.log('require works');
}

main();
