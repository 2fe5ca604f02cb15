import type { RedisTarget } from 'tokensession';
import { useEveryConnection } from './every-connection';

/* Uses every connection to each of some Redises, for what only a whole process can be given: authorities that Node trusts. */
async function main(): Promise<void> {
  const targets = JSON.parse(process.env.REDIS_TARGETS ?? '[]') as RedisTarget[];
  console.log(JSON.stringify(await Promise.all(targets.map((target) => useEveryConnection(target)))));
}

void main();
