import { runProgram } from './support/programs';

it('a client that hangs up while the store is asked, or fails, ends neither process nor service, leaves no session that nobody has, and keeps the one it has', async () => {
  const { stdout, stderr } = await runProgram('disconnecting-program.ts', { NODE_OPTIONS: '' });
  const outcome = { hungUp: 16, answered: 504, orphans: 0, isKept: true, status: 200, cookies: 1 };
  expect(JSON.parse(stdout)).toEqual({
    'Express 5': outcome,
    'Express 4': outcome,
    'Koa 3': outcome,
    'Koa 2': outcome,
  });
  expect(stderr).toBe('');
});
