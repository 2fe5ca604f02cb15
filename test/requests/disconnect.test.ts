import { HOSTS } from '../support/hosts';
import { runProgram } from '../support/programs';

it('a client that disconnects during a successful or failing store call ends no process, gains no session and loses none', async () => {
  const { stdout, stderr } = await runProgram('disconnecting.ts', { NODE_OPTIONS: '' });
  const kept = { isKept: true, ownersTokens: [true, true] };
  const outcome = { hungUp: 16, answered: 504, orphans: 0, ...kept, status: 200, cookies: 1 };
  expect(JSON.parse(stdout)).toEqual(Object.fromEntries(Object.keys(HOSTS).map((name) => [name, outcome])));
  // @hono/node-server prints a warning when another listener has answered first.
  expect(stderr.replace(/^Error \[ERR_HTTP_HEADERS_SENT\][^{]*@hono\/node-server[^{]*\{[^}]*\}\n/, '')).toBe('');
});
