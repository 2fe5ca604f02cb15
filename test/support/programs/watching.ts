import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore, TokenManager } from 'tokensession';
import { SECRET } from '../stores';

/* Adds many listeners to one signal of a watched session. Jest hides the warnings of Node: only a program shows them. */
async function main(): Promise<void> {
  const sessions = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const signal = sessions.watch(await sessions.setToken('ada'));
  for (let i = 0; i < 100; i++) signal.addEventListener('abort', () => undefined);
  await sleep(20);
  await sessions.close();
  console.log('closed');
}

void main();
