import type { RedisTarget } from 'tokensession';
import { useEveryConnection } from '../every-connection';

/* Uses every connection to each of some Redises. Only a whole process can be given other authorities to trust. */
async function main(): Promise<void> {
  const targets = JSON.parse(process.env.REDIS_TARGETS ?? '[]') as RedisTarget[];
  console.log(JSON.stringify(await Promise.all(targets.map((target) => useEveryConnection(target)))));
}

void main();
