// By require, from CommonJS.
const assert = require('node:assert');
const { MemoryStore, TokenManager } = require('tokensession');

const ENTRIES = {
  express: ['sessionMiddleware', 'requireUser', 'requireRecentLogin', 'safeReturnTo'],
  koa: ['sessionMiddleware', 'requireUser', 'requireRecentLogin', 'safeReturnTo'],
  fastify: ['sessionPlugin', 'requireUser', 'requireRecentLogin', 'safeReturnTo'],
  hono: ['sessionMiddleware', 'requireUser', 'requireRecentLogin', 'safeReturnTo'],
  fetch: ['sessionOpener', 'requireUser', 'requireRecentLogin', 'safeReturnTo'],
  live: ['authenticator'],
  node: ['sessionOpener', 'requireUser', 'requireRecentLogin', 'sendError', 'safeReturnTo'],
};

async function main() {
  for (const [name, members] of Object.entries(ENTRIES)) {
    const entry = require(`tokensession/${name}`);
    for (const member of members) assert.equal(typeof entry[member], 'function', `${name}: ${member}`);
  }
  // None of them loads a framework.
  const loaded = Object.keys(require.cache).map((path) => /.*node_modules[\\/]([^\\/]+)/.exec(path)?.[1]);
  for (const name of ['express', 'koa', 'fastify', 'hono']) assert(!loaded.includes(name), `${name} is loaded`);
  const sessions = new TokenManager({
    store: new MemoryStore(),
    secret: 'a secret for tests, long enough to sign with',
  });
  assert.equal((await sessions.checkToken(await sessions.setToken('ada'))).user.id, 'ada');
  await sessions.close();
  console.log('require works');
}

main();
